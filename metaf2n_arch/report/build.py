"""Report of one or several experiments: tables, curves, pictures, spectra, times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from metaf2n_arch.models.evaluation import RESULT, UNADAPTED
from metaf2n_arch.report.confidence import confidence_key, confidence_rows
from metaf2n_arch.report.curves import validation_curves
from metaf2n_arch.report.document import Block, Document, Grid, Heading, Paragraph, Picture
from metaf2n_arch.report.figures import loss_curves, side_by_side, spectra_plot
from metaf2n_arch.report.panels import picture_row, spread
from metaf2n_arch.report.published import FAMILIES, Family
from metaf2n_arch.report.runs import Run, read_run
from metaf2n_arch.report.spectra import mean_spectrum
from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.utils.numbers import rounded

LABELS = {
    'psnr': 'PSNR ↑', 'ssim': 'SSIM ↑', 'lpips': 'LPIPS ↓', 'dists': 'DISTS ↓', 'fid': 'FID ↓', 'niqe': 'NIQE ↓',
    'brisque': 'BRISQUE ↓', 'spectrum': 'spectrum ↓',
}  # fmt: skip
DIGITS = {'psnr': 2, 'fid': 2, 'niqe': 2, 'brisque': 2, 'spectrum': 5}
SPECTRUM_IMAGES = 100
"""Largest number of images of a data set whose spectra are computed; they are spread evenly over the set."""


def build_report(
    experiments: Sequence[str | Path], out: Path, panels: int = 3, published: bool | None = None
) -> list[Path]:
    """Writes ``report.md``, ``report.html`` and ``figures/``, which compare experiments.

    Args:
        experiments: names or folders, see `read_run`.
        out: folder to write.
        panels: number of images to show of each data set.
        published: whether published values are shown for data sets of the same name. None shows them only if the number
            of images is the published one, and the scale is 4.

    Returns:
        The two files.

    Raises:
        DataError: an experiment is missing, empty or given twice, or `out` cannot be written.
    """
    runs = [read_run(experiment) for experiment in experiments]
    names = [run.name for run in runs]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f'{doubles[0]} is given twice; give each experiment once.')
    document = Document(f'Report: {", ".join(names)}')
    figures = out / 'figures'
    make_folder(out)
    document.add(*_tables(runs, published))
    document.add(*validation_curves(runs, figures))
    for run in runs:
        document.add(*_training(run, figures))
    seen: set[object] = set()
    for dataset in _datasets(runs):
        document.add(*_pictures(runs, dataset, figures, panels), *_spectra(runs, dataset, figures))
        document.add(*_confidence(runs, dataset, figures, panels, seen))
    return [*document.write(out)]


def _datasets(runs: Iterable[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in sorted(run.measured)))


# tables ---------------------------------------------------------------------------------------------------------------


def _tables(runs: list[Run], published: bool | None) -> list[Block]:
    measured = _datasets(runs)
    if not measured:
        return [Heading('Results'), Paragraph('No metrics have been computed.')]
    blocks: list[Block] = [Heading('Results')]
    rest, others = list(measured), []
    for family in FAMILIES if published is not False else ():
        named = [name for name in family.rows if name in measured]
        shown = [name for name in named if published or _is_published(family, name, runs)]
        others += [name for name in named if name not in shown and family.rows[name]]
        if shown:
            blocks += _family(family, shown, runs)
            rest = [name for name in rest if name not in shown]
    if rest:
        title = 'Other sets' if len(blocks) > 1 else ''
        blocks += _family(Family(title, (), {name: {} for name in rest}), rest, runs)
    if others:
        text = f'Published values of {", ".join(others)} are left out: the images or the scale may not be the same'
        blocks.append(Paragraph(f'{text}; --published shows them.'))
    return [*blocks, *_how(runs)]


def _is_published(family: Family, dataset: str, runs: list[Run]) -> bool:
    """Whether a data set has the number of images of the published one, and the scale is 4."""
    counts = {len(run.measured[dataset].names) for run in runs if dataset in run.measured}
    return counts == {family.sizes.get(dataset)} and {_scale(run) for run in runs} == {4}


def _family(family: Family, datasets: list[str], runs: list[Run]) -> list[Block]:
    """One table: for each data set the published rows, then those measured here; a dash for each missing value."""
    ours = [m for run in runs for d in datasets if d in run.measured for v in run.measured[d].mean.values() for m in v]
    metrics = [*family.metrics, *dict.fromkeys(m for m in ours if m not in family.metrics)]
    rows: list[list[str]] = []
    marked: set[int] = set()
    for dataset in datasets:
        for model, values in family.rows.get(dataset, {}).items():
            cells = [value or '-' for value in values] + ['-'] * (len(metrics) - len(values))
            rows.append([dataset, model, *cells, 'published'])
        for run in runs:
            mean = run.measured[dataset].mean if dataset in run.measured else {}
            for variant in [variant for variant in (UNADAPTED, RESULT) if variant in mean]:
                means = mean[variant]
                marked.add(len(rows))
                cells = [_number(metric, means[metric]) if metric in means else '-' for metric in metrics]
                rows.append([dataset, _label(run, dataset, variant), *cells, 'measured here'])
    head = ['data set', 'model', *(LABELS.get(metric, metric) for metric in metrics), 'source']
    blocks: list[Block] = [Heading(family.title, 3)] if family.title else []
    note = [Paragraph(family.note)] if family.note else []
    return [*blocks, Grid(head, rows, frozenset(marked)), *note]


def _label(run: Run, dataset: str, variant: str) -> str:
    if variant == UNADAPTED:
        return f'{run.name}, not adapted'
    return f'{run.name}, adapted' if UNADAPTED in run.measured[dataset].mean else run.name


def _number(metric: str, value: float) -> str:
    digits = DIGITS.get(metric, 4)
    return f'{rounded(value, digits):.{digits}f}'


def _how(runs: list[Run]) -> list[Block]:
    """A paragraph on the values measured here: number of images, iteration, and options of each metric."""
    lines = []
    for run in runs:
        for name, measured in sorted(run.measured.items()):
            lines.append(f'{run.name} on {name}: {len(measured.names)} images, {run.trained_for(name)}')
    entries: dict[str, None] = {}
    for run in runs:
        for metric, options in (run.options.get('val', {}).get('metrics') or {}).items():
            if isinstance(options, dict):
                rest = ', '.join(f'{k} {v}' for k, v in options.items() if k not in ('type', 'better'))
                entries[f'{metric}: {options.get("type")}{f" ({rest})" if rest else ""}'] = None
    text = 'Measured here: ' + '; '.join(lines) + '.'
    if entries:
        text += ' Metrics: ' + '; '.join(entries) + '.'
    return [Paragraph(text + ' A dash means that there is no value.')]


# training -------------------------------------------------------------------------------------------------------------


def _training(run: Run, figures: Path) -> list[Block]:
    if not run.series:
        return []
    series = run.series
    outer = ['l_g_total_unadapted', 'l_g_total']
    inner = ['l_inner', 'l_inner_adapted']
    terms = [name for name in sorted(series) if name.startswith('l_g_') and name not in outer]
    terms = terms if len(terms) > 1 else []  # a single term is the loss itself
    critic = [name for name in sorted(series) if name.startswith(('l_d_', 'out_d_'))]
    title = 'loss before and after adaptation' if outer[0] in series else 'loss'
    groups = {title: outer, 'inner loss on the faces': inner, 'terms of the loss': terms, 'discriminator': critic}
    picture = loss_curves(series, groups, figures / f'{run.name}_losses.png')
    last = max(points[-1][0] for points in series.values())
    blocks: list[Block] = [
        Heading(f'Training of {run.name}'),
        Picture(picture, f'Loss curves of {run.name} over {last:,} iterations'),
    ]
    return [*blocks, *_times(run, outer)]


def _times(run: Run, losses: list[str]) -> list[Block]:
    """A table of time, memory and loss at a few iterations, as recorded in training."""
    times = dict(run.series.get('time', []))
    if not times:
        return []
    columns = [name for name in (*losses, 'peak_memory_gb') if name in run.series]
    values = {name: dict(run.series[name]) for name in columns}
    chosen = [int(i) for i in spread([str(i) for i in sorted(times)], 8)]
    heads = {'l_g_total_unadapted': 'loss before adaptation', 'l_g_total': 'loss', 'peak_memory_gb': 'peak memory, GB'}
    if 'l_g_total_unadapted' in columns:
        heads['l_g_total'] = 'loss after adaptation'
    rows = [
        [f'{i}', f'{100 * times[i]:.1f}', *(f'{values[n][i]:.4f}' if i in values[n] else '-' for n in columns)]
        for i in chosen
    ]
    return [Grid(['iteration', 'seconds per 100 iterations', *(heads[name] for name in columns)], rows)]


# pictures -------------------------------------------------------------------------------------------------------------


def _pictures(runs: list[Run], dataset: str, figures: Path, count: int) -> list[Block]:
    """Rows LQ | outputs | GT with the metrics of the whole image, for a few images spread evenly over the set."""
    having = _with_pictures(runs, dataset)
    names = having[0].measured[dataset].names if having else []
    names = [name for name in names if all(run.picture(dataset, name) for run in having)]
    rows = []
    for name in spread(names, count):
        outputs: dict[str, tuple[Path, str]] = {}
        for run in having:
            for variant in (UNADAPTED, RESULT):
                path = run.picture(dataset, name, variant)
                if path is not None:
                    values = run.measured[dataset].of_image(name, variant)
                    caption = '\n'.join(f'{metric} {_number(metric, value)}' for metric, value in values.items())
                    outputs[_label(run, dataset, variant)] = path, caption
        lq, gt = (having[0].source(dataset, name, side) for side in ('lq', 'gt'))
        rows.append(picture_row(lq, outputs, gt, _scale(having[0])))
    if not rows:
        return []
    target = side_by_side(rows, figures / f'{dataset}_pictures.png')
    shown = ', '.join(spread(names, count))
    return [Heading(f'Pictures of {dataset}'), Picture(target, f'{dataset}: {shown}; metrics of the whole images')]


def _with_pictures(runs: list[Run], dataset: str) -> list[Run]:
    """The runs that have saved pictures of a data set."""
    having = [run for run in runs if dataset in run.measured]
    return [run for run in having if any(run.picture(dataset, name) for name in run.measured[dataset].names)]


def _spectra(runs: list[Run], dataset: str, figures: Path) -> list[Block]:
    """Mean spectra of the input, the outputs and the truth, over the images that all runs have."""
    having = _with_pictures(runs, dataset)
    if not having:
        return []
    names = spread(having[0].measured[dataset].names, SPECTRUM_IMAGES)
    truth = {name: having[0].source(dataset, name, 'gt') for name in names}
    names = [name for name in names if truth[name] and all(run.picture(dataset, name) for run in having)]
    files: dict[str, list[Path | None]] = {'LQ, bicubic': [having[0].source(dataset, name, 'lq') for name in names]}
    for run in having:
        for variant in (UNADAPTED, RESULT):
            files[_label(run, dataset, variant)] = [run.picture(dataset, name, variant) for name in names]
    files['GT'] = [truth[name] for name in names]
    curves = {}
    for label, paths in files.items():
        present = [path for path in paths if path is not None]
        enlarge = _scale(having[0]) if label.startswith('LQ') else 1
        if present and len(present) == len(names) and (curve := mean_spectrum(present, enlarge)) is not None:
            curves[label] = curve
    if 'GT' not in curves or len(curves) < 2:
        return []
    target = spectra_plot(curves, figures / f'{dataset}_spectra.png')
    return [Picture(target, f'Mean 1D power spectra of the luminance, {len(names)} images of {dataset}')]


def _confidence(runs: list[Run], dataset: str, figures: Path, count: int, seen: set[object]) -> list[Block]:
    """Confidence maps, once for each pair of MaskNet weights and folder of faces, which several runs may share."""
    blocks: list[Block] = []
    for run in runs:
        key = confidence_key(run, dataset) if dataset in run.measured else None
        if key is None or key in seen:
            continue
        seen.add(key)
        if rows := confidence_rows(run, dataset, count):
            target = side_by_side(rows, figures / f'{run.name}_{dataset}_confidence.png')
            blocks.append(Picture(target, f'Confidence of {run.name} in restored faces of {dataset}; bright is high'))
    return blocks


def _scale(run: Run) -> int:
    return int(run.options.get('scale', 4))
