"""`metaf2n options`: JSON schema of option files, check of an option file, and explanation of an option."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help='Option files: their JSON schema, a check, and what each option means.', no_args_is_help=True)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option('--out', '-o', help='File to write; printed if not given.')] = None,
) -> None:
    """Print the JSON schema of option files, with all installed networks, losses, metrics, data sets and so on.

    An editor with a YAML language server checks and explains a file that begins with
    "# yaml-language-server: $schema=options.schema.json".
    """
    from metaf2n_arch.config.schema import schema_text
    from metaf2n_arch.utils.files import write_whole

    if out is None:
        typer.echo(schema_text(), nl=False)
        return
    write_whole(out, schema_text())
    typer.echo(f'Written: {out}')


@app.command()
def check(
    file: Annotated[str, typer.Argument(help='Option file, or the name of a shipped one.')],
    force_yml: Annotated[
        list[str] | None, typer.Option('--force_yml', help='Change an option, as in training: train:ema_decay=0.999.')
    ] = None,
    files: Annotated[bool, typer.Option('--files', help='Also check that images and weights exist.')] = False,
) -> None:
    """Check an option file as training and testing do before they start; each mistake is one line."""
    from metaf2n_arch.config.command_line import check_alone
    from metaf2n_arch.config.schema import load_parts

    load_parts()
    typer.echo(f'{file}: valid, for python -m {check_alone(file, force_yml or (), files)}.')


@app.command()
def explain(
    key: Annotated[
        str, typer.Argument(help='An option (train.ema_decay, gt_size), or a type of network, loss, ... (SSLLoss).')
    ],
) -> None:
    """Say what an option means, which values it takes, and its default."""
    from metaf2n_arch.config.explain import explain as explained

    for option in explained(key):
        for line in option.lines():
            typer.echo(line)
