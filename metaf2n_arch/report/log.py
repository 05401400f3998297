"""Reads the numbers of a run back from the log that BasicSR writes."""

from __future__ import annotations

import re
from pathlib import Path

from metaf2n_arch.utils.checks import DataError

Series = dict[str, list[tuple[int, float]]]

_ITERATION = re.compile(r'\[epoch:\s*\d+,\s*iter:\s*([\d,]+),\s*lr:\(([^)]*)\)\]')
_TIME = re.compile(r'time \(data\): ([\d.]+) \(([\d.]+)\)')
_VALUE = re.compile(r'(\w+): ([-+]?(?:\d+\.\d+e[-+]\d+|nan|inf))')


def newest_log(experiment: Path) -> Path:
    """Returns the training log written last in an experiment's folder.

    Raises:
        DataError: if there is none.
    """
    logs = sorted(experiment.glob('train_*.log'), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise DataError(f'{experiment} holds no training log (train_*.log); give the folder of an experiment.')
    return logs[-1]


def read_series(log: Path) -> Series:
    """Returns each logged quantity as (iteration, value) pairs, the learning rate of the first group as ``lr``, the
    seconds per iteration as ``time``.

    A line per print: ``[name..][epoch:  0, iter:     100, lr:(1.000e-04,)] [eta: ...] l_g_pix: 1.2345e-02 ...``.
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
