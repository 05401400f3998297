"""`metaf2n evaluate`: metrics of folders of results, written by any program."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metaf2n_arch.cli.progress import bar

if TYPE_CHECKING:
    from rich.table import Table

    from metaf2n_arch.report.evaluation import Evaluation


def evaluate(
    folders: Annotated[list[Path], typer.Argument(help='Folders of results, then the folder of the truth (GT).')],
    metrics: Annotated[
        str,
        typer.Option(
            help='Metrics, separated by commas: psnr, ssim, lpips, dists, niqe, brisque, fid, spectrum, psnr_rgb, '
            'ssim_rgb, or any of pyiqa (topiq_nr, musiq, ...).'
        ),
    ] = 'psnr,ssim',
    crop_border: Annotated[int, typer.Option(min=0, help='Pixels left out at each border by PSNR, SSIM, NIQE.')] = 4,
    option_file: Annotated[
        Path | None, typer.Option('--opt', help='Take the metrics of an option file (val.metrics) instead.')
    ] = None,
    no_reference: Annotated[
        bool, typer.Option('--no-reference', help='All folders hold results; there is no truth to compare with.')
    ] = False,
    mod_crop: Annotated[int, typer.Option(min=1, help='Crop the truth to a multiple of this number of pixels.')] = 1,
    allow_missing: Annotated[
        bool, typer.Option('--allow-missing', help='Leave out metrics whose weights are not on this machine.')
    ] = False,
    json: Annotated[Path | None, typer.Option(help='Write the values of all images to this JSON file.')] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help='I/N: measure the I-th of N shares of the images, each into its own --json file; by default the share '
            'of this process under torchrun, srun, ...'
        ),
    ] = None,
) -> None:
    """Measure folders of results against their truth, several side by side, by the same code as `basicsr.test`.

    Each result has the name of its reference, or <name>_<suffix> with the same suffix in the whole folder.
    """
    from rich.console import Console

    from metaf2n_arch.models.evaluation import write_json
    from metaf2n_arch.report.evaluation import entries_of_option_file, metric_entries
    from metaf2n_arch.report.evaluation import evaluate as evaluate_folders
    from metaf2n_arch.report.shares import join_shares, share_file
    from metaf2n_arch.utils.checks import OptionError, make_folder
    from metaf2n_arch.utils.shard import shard_of

    share = shard_of(shard)
    if share.count > 1 and json is None:
        raise OptionError(f'share {share} ({share.source}) needs --json FILE, in which all shares are joined.')

    if not no_reference and len(folders) < 2:
        raise OptionError('one folder is given; expected folders of results and then the truth, or --no-reference.')
    if json is not None:
        if json.is_dir():
            raise OptionError(f'--json {json} is a folder; give a file.')
        make_folder(json.parent)
    results, reference = (folders, None) if no_reference else (folders[:-1], folders[-1])
    names = [name.strip() for name in metrics.split(',') if name.strip()]
    if not names:
        raise OptionError('--metrics names no metric; give at least one of those that --help lists.')
    entries = metric_entries(names, crop_border) if option_file is None else entries_of_option_file(option_file)
    tell = partial(typer.echo, err=True) if allow_missing else None
    evaluation = evaluate_folders(results, reference, entries, mod_crop, bar, share, tell)
    Console().print(_table(evaluation))
    if json is not None:
        target = share_file(json, share)
        write_json(target, {'reference': None if reference is None else str(reference), **evaluation.to_dict()})
        typer.echo(f'Written: {target}')
        if share.count > 1 and join_shares(json, share.count):
            typer.echo(f'Written: {json}, all {share.count} shares')


def _table(evaluation: Evaluation) -> Table:
    from rich.table import Table

    arrows = {'higher': ' ↑', 'lower': ' ↓'}
    heads = [name + arrows.get(entry.get('better', ''), '') for name, entry in evaluation.metrics.items()]
    ranges = evaluation.ranges()
    caption = '; '.join(f'{name} from {span}' for name, span in ranges.items()).replace(', ', ' to ') or None
    table = Table('results', *heads, title=f'{evaluation.count} images', caption=caption)
    best = {metric: evaluation.best(metric) for metric in evaluation.metrics}
    for folder, means in evaluation.mean.items():
        cells = []
        for metric in evaluation.metrics:  # in this order; in `means`, set-level metrics come last
            value = means[metric]
            values = evaluation.images.get(folder, {}).get(metric, {}).values()
            absent = sum(math.isnan(v) for v in values)
            number = f'{round(value, 4) + 0.0:.4f}'  # never -0.0000
            text = 'missing' if math.isnan(value) else number + (f' ({absent} missing)' if absent else '')
            cells.append(f'[bold]{text}[/bold]' if best[metric] == folder else text)
        table.add_row(folder, *cells)
    return table
