"""`metaf2n doctor`: versions, devices, weights, and what is missing for each command, on one screen."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(help='A command, for example restore, or an option file: fail if it cannot run here.'),
    ] = None,
) -> None:
    """Show versions, devices, weights, and what is missing for each command; paste the text into an issue.

    The exit code is 1 if something is broken, or if a command that you named cannot run here.
    """
    from metaf2n_arch.doctor.commands import COMMANDS, of_option_file
    from metaf2n_arch.doctor.screen import examine
    from metaf2n_arch.utils.checks import OptionError, nearest

    known = {command.name: command for command in COMMANDS}
    named = []
    for name in wanted or ():
        if name.endswith(('.yml', '.yaml')):
            from metaf2n_arch.cli.blocks import option_file_content

            known[name] = of_option_file(name, option_file_content(name, 'doctor'))
        if name not in known:
            raise OptionError(f'doctor: {name} is neither a known command nor an option file.{nearest(name, known)}')
        named.append(known[name])
    lines = examine([command for command in named if command not in COMMANDS])
    well = False
    while True:
        try:
            typer.echo(next(lines))
        except StopIteration as end:
            well = end.value
            break
    if not well or any(command.remedies() for command in named):
        raise typer.Exit(1)
