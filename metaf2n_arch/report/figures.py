"""Figures: loss curves, metric curves, spectra, and images side by side with their metrics."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.report.log import Series
from metaf2n_arch.utils.files import write_whole


@dataclass(frozen=True)
class Panel:
    """One image of a row: (H, W, 3) uint8 RGB, with a title above and a caption below."""

    image: np.ndarray
    title: str
    caption: str = ''


def loss_curves(series: Series, groups: Mapping[str, Sequence[str]], target: Path, title: str = '') -> Path:
    """Draws logged quantities and their running means over iterations, one plot per group.

    Args:
        series: as `series_of` returns it.
        groups: title of a plot -> names of its quantities; names that are not in `series` are left out.
        target: file to write, PNG, PDF or SVG by its suffix.
        title: of the whole figure.

    Returns:
        `target`.
    """
    present = {name: [k for k in keys if k in series] for name, keys in groups.items()}
    present = {name: keys for name, keys in present.items() if keys}
    figure, axes = _subplots(1, max(1, len(present)), (5 * max(1, len(present)), 3.4))
    for axis, (name, keys) in zip(axes[0], present.items()):
        for key in keys:
            iterations, values = (np.array(column) for column in zip(*series[key]))
            dots = 'o' if len(values) == 1 else None
            line = axis.plot(iterations, values, linewidth=0.8, alpha=0.35, marker=dots)[0]
            axis.plot(iterations, running_mean(values), label=key, linewidth=1.6, color=line.get_color())
        if _spans_decades([v for key in keys for _, v in series[key]]):
            axis.set_yscale('log')
        axis.set(title=name, xlabel='iteration')
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    if title:
        figure.suptitle(title)
    return _save(figure, target)


@dataclass(frozen=True)
class Curve:
    """Values over iterations, their standard deviations over seeds (0 for one run), and the index of the best value."""

    label: str
    iterations: Sequence[int]
    values: Sequence[float]
    spreads: Sequence[float]
    best: int | None


def metric_plots(plots: Mapping[str, Sequence[Curve]], target: Path) -> Path:
    """Draws one plot per metric: curves with a band of one standard deviation and a star at the best value."""
    figure, axes = _subplots(1, len(plots), (5 * len(plots), 3.4))
    for axis, (name, curves) in zip(axes[0], plots.items()):
        for curve in curves:
            line = axis.plot(curve.iterations, curve.values, label=curve.label, linewidth=1.4, marker='.')[0]
            low, high = ([v + sign * s for v, s in zip(curve.values, curve.spreads)] for sign in (-1, 1))
            if any(curve.spreads):
                axis.fill_between(curve.iterations, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
            if curve.best is not None:
                place = curve.iterations[curve.best], curve.values[curve.best]
                axis.plot(*place, marker='*', markersize=12, color=line.get_color())
        axis.set(title=name, xlabel='iteration')
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return _save(figure, target)


def side_by_side(rows: Sequence[Sequence[Panel]], target: Path, title: str = '') -> Path:
    """Draws rows of panels. All images are shown at the same size; small ones are enlarged by nearest neighbour."""
    columns = max(len(row) for row in rows)
    height, width = rows[0][-1].image.shape[:2]
    cell = 3.0
    lines = max((1 + panel.caption.count('\n') for row in rows for panel in row), default=1)
    text = 0.46 + 0.16 * lines
    figure, axes = _subplots(len(rows), columns, (cell * columns, (cell * height / width + text) * len(rows)))
    for axis in axes.flat:
        axis.axis('off')
    for row, line in zip(rows, axes):
        for panel, axis in zip(row, line):
            axis.imshow(panel.image, interpolation='nearest')
            axis.set_title(panel.title, fontsize=min(10, 300 / max(1, len(panel.title))))
            axis.text(0.5, -0.02, panel.caption, transform=axis.transAxes, ha='center', va='top', fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    return _save(figure, target)


def running_mean(values: np.ndarray, share: float = 0.15) -> np.ndarray:
    """Mean of each value and the values before it, in a window of `share` of all values: single values vary much."""
    window = max(1, round(share * len(values)))
    return np.array([values[max(0, i + 1 - window) : i + 1].mean() for i in range(len(values))])


def _spans_decades(values: Sequence[float]) -> bool:
    positive = [v for v in values if v > 0]
    return len(positive) == len(values) and max(positive) > 30 * min(positive)


def spectra_plot(curves: Mapping[str, np.ndarray], target: Path, title: str = '') -> Path:
    """Draws mean 1D power spectra, each (K,) in decades, over frequencies from 0 to half a cycle per pixel.

    The second plot shows their differences from the last curve, which is that of the truth.
    """
    figure, axes = _subplots(1, 2, (10, 3.6))
    reference = list(curves.values())[-1]
    for label, curve in curves.items():
        frequency = np.linspace(0, 0.5, len(curve))
        style = {'color': 'black', 'linestyle': '--'} if curve is reference else {}
        axes[0][0].plot(frequency, curve, label=label, linewidth=1.3, **style)
        axes[0][1].plot(frequency, curve - reference, label=label, linewidth=1.3, **style)
    axes[0][0].set(ylabel='log10 of power relative to frequency 0', xlabel='cycles per pixel')
    axes[0][1].set(ylabel=f'difference from {list(curves)[-1]}', xlabel='cycles per pixel')
    for axis in axes[0]:
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    if title:
        figure.suptitle(title, fontsize=11)
    return _save(figure, target)


def _subplots(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure without pyplot, so without display or global state; matplotlib is imported here, when it is needed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, target: Path) -> Path:
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=130, format=target.suffix.removeprefix('.'))
    write_whole(target, drawn.getvalue())
    return target
