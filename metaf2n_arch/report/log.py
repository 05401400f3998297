"""Log of a run: reads the logged values from its record, or, for runs without a record, from BasicSR's log."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaf2n_arch.run import record

Series = dict[str, list[tuple[int, float]]]

_ITERATION = re.compile(r'\[epoch:\s*\d+,\s*iter:\s*([\d,]+),\s*lr:\(([^)]*)\)\]')
_TIME = re.compile(r'time \(data\): ([\d.]+) \(([\d.]+)\)')
_VALUE = re.compile(r'(\w+): ([-+]?(?:\d+\.\d+e[-+]\d+|nan|inf))')


def series_of(folders: Sequence[Path]) -> Series:
    """Returns each logged quantity of a run as (iteration, value) pairs; empty if there is neither record nor log.

    ``lr`` is the learning rate of the first parameter group, ``time`` the seconds per iteration.

    Args:
        folders: the folders of the experiment, in ``experiments/`` and ``results/``.
    """
    recorded: Series = {}
    for folder in folders:
        recorded = joined(recorded, read_values(folder / record.VALUES))
    starts = [start for folder in folders for start in record.read(folder).get('starts', [])]
    if recorded and starts and starts[0].get('from_iteration') == 0:
        return recorded
    # The training was begun by a version without a record, and perhaps resumed by a version with one.
    logged: Series = {}
    for log in sorted((log for f in folders for log in f.glob('train_*.log')), key=lambda log: log.stat().st_mtime_ns):
        logged = joined(logged, read_log(log))
    return joined(logged, recorded)


def joined(earlier: Series, later: Series) -> Series:
    """`earlier` up to the iteration at which `later` begins, then `later`."""
    first = min((points[0][0] for points in later.values()), default=math.inf)
    kept = {name: [point for point in points if point[0] < first] for name, points in earlier.items()}
    return {name: kept.get(name, []) + later.get(name, []) for name in {**kept, **later}}


def read_values(file: Path) -> Series:
    """Returns the series that `record.values` has written. Values from a resume on replace older ones."""
    series: Series = {}
    lines = file.read_text(encoding='utf-8', errors='replace').splitlines() if file.is_file() else []
    last = -1
    for line in lines:
        try:
            values: dict[str, Any] = json.loads(line)
            iteration = int(values.pop('iter'))
            lr, _, _ = values.pop('lrs')[0], values.pop('epoch', None), values.pop('data_time', None)
            found = {name: math.nan if x is None else float(x) for name, x in {'lr': lr, **values}.items()}
        except (ValueError, TypeError, LookupError, AttributeError):
            continue  # an incomplete line, left by a process that was killed
        new: Series = {name: [(iteration, value)] for name, value in found.items()}
        series = joined(series, new) if iteration <= last else _grown(series, new)
        last = iteration
    return series


def _grown(series: Series, new: Series) -> Series:
    for name, points in new.items():
        series.setdefault(name, []).extend(points)
    return series


def read_log(log: Path) -> Series:
    """Returns the series of one log of BasicSR, as `series_of` does.

    Its lines look like ``[name..][epoch:  0, iter:     100, lr:(1.000e-04,)] [eta: ...] l_g_pix: 1.2345e-02 ...``.
    """
    series: Series = {}
    for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
        head = _ITERATION.search(line)
        if head is None:
            continue
        iteration = int(head.group(1).replace(',', ''))
        series.setdefault('lr', []).append((iteration, float(head.group(2).split(',')[0])))
        if seconds := _TIME.search(line):
            series.setdefault('time', []).append((iteration, float(seconds.group(1))))
        for name, value in _VALUE.findall(line[head.end() :]):
            series.setdefault(name, []).append((iteration, float(value)))
    return series
