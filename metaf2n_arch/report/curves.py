"""Validation curves: metrics over iterations, runs overlaid, several seeds as mean and standard deviation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaf2n_arch.models.evaluation import RESULT, better_of
from metaf2n_arch.report.document import Block, Grid, Heading, Picture
from metaf2n_arch.report.figures import Curve, metric_plots
from metaf2n_arch.report.runs import Run

Points = dict[int, float]
_OF_ITS_OWN = ('name', 'manual_seed', 'path', 'num_gpu', 'logger')


def validation_curves(runs: list[Run], figures: Path) -> list[Block]:
    """Curves, and a table of the best value of each metric; an empty list if no training has validated."""
    blocks: list[Block] = []
    for dataset in dict.fromkeys(name for run in runs for name in run.history):
        having = [run for run in runs if dataset in run.history]
        metrics = dict.fromkeys(m for run in having for _, mean in run.history[dataset] for m in mean.get(RESULT, {}))
        plots: dict[str, list[Curve]] = {}
        rows = []
        for metric in metrics:
            lower = _better(having[0], metric) == 'lower'
            plots[metric] = [_curve(group, dataset, metric, lower) for group in by_seed(having)]
            rows += [_row(metric, curve) for curve in plots[metric]]
        if rows:
            target = metric_plots(plots, figures / f'{dataset}_validations.png')
            blocks += [Heading(f'Validations of {dataset}'), Picture(target, f'Metrics of {dataset} over iterations')]
            blocks.append(Grid(['metric', 'run', 'best', 'iteration'], rows))
    return blocks


def by_seed(runs: list[Run]) -> list[list[Run]]:
    """Groups of runs whose options differ only in name, seeds, paths, number of GPUs and logger."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        shared = {key: value for key, value in run.options.items() if key not in _OF_ITS_OWN}
        key = json.dumps(_without_seeds(shared), sort_keys=True, default=str) if shared else run.name
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _without_seeds(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_seeds(item) for key, item in value.items() if key != 'seed'}


def _points(run: Run, dataset: str, metric: str) -> Points:
    found = {iteration: mean.get(RESULT, {}).get(metric) for iteration, mean in run.history[dataset]}
    return {iteration: value for iteration, value in found.items() if value is not None}


def _curve(group: list[Run], dataset: str, metric: str, lower: bool) -> Curve:
    """The values of one run, or the mean of several runs at the iterations that all of them have."""
    values = [_points(run, dataset, metric) for run in group]
    shared = sorted(set.intersection(*(set(points) for points in values)))
    means = [statistics.fmean(points[i] for points in values) for i in shared]
    spreads = [statistics.stdev(points[i] for points in values) if len(group) > 1 else 0.0 for i in shared]
    best = min(range(len(shared)), key=lambda i: means[i] if lower else -means[i], default=None)
    label = group[0].name if len(group) == 1 else f'{_common(group)} ({len(group)} seeds)'
    return Curve(label, shared, means, spreads, best)


def _common(group: list[Run]) -> str:
    """The common beginning of the names of runs, without a separator at its end."""
    names = [run.name for run in group]
    length = next((i for i, letters in enumerate(zip(*names)) if len(set(letters)) > 1), min(map(len, names)))
    return names[0][:length].rstrip('_-. ') or ', '.join(names)


def _row(metric: str, curve: Curve) -> list[str]:
    if curve.best is None:
        return [metric, curve.label, '-', '-']
    value, spread = curve.values[curve.best], curve.spreads[curve.best]
    shown = f'{value:.4f}' + (f' ± {spread:.4f}' if 'seeds)' in curve.label else '')
    return [metric, curve.label, shown, f'{curve.iterations[curve.best]:,}']


def _better(run: Run, metric: str) -> str:
    entry: Mapping[str, Any] = (run.options.get('val', {}).get('metrics') or {}).get(metric) or {}
    try:
        return better_of(entry)
    except (KeyError, ValueError):  # a metric of another package that is not installed here
        return 'higher'
