"""Measurement of time and memory of one variant in a separate process, so that variants share no heap or threads.

Time is the processor time of the process with one thread; on a shared machine it varies much less than wall-clock time.
Memory is the peak resident set (VmHWM), reset just before the first step; Linux only.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def conditions(threads: int | str | None = None) -> str:
    """Under what a table was made, in one line: commit, torch, Python, processor, threads, and the machine's load.

    Args:
        threads: of torch; None asks torch.
    """
    import torch

    threads = torch.get_num_threads() if threads is None else threads
    return (
        f'commit {commit()}, torch {torch.__version__}, Python {platform.python_version()}, {threads} thread'
        f'{"" if str(threads) == "1" else "s"} of {os.cpu_count()} cores ({processor()}), '
        f'load average {os.getloadavg()[0]:.1f} at this line'
    )


def commit() -> str:
    """The commit of this working tree, with a + where files differ from it."""
    command = ['git', '-C', str(ROOT), 'describe', '--always', '--exclude=*', '--abbrev=10', '--dirty=+']
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or 'unknown'


def processor() -> str:
    """What the processor calls itself."""
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else []
    names = [line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, and the least and the most of repeated measurements.

    >>> spread([2.0, 1.0, 4.0], 1)
    '2.0 (1.0 to 4.0)'
    """
    least, middle, most = (f'{value:.{digits}f}' for value in (min(values), statistics.median(values), max(values)))
    return f'{middle} ({least} to {most})'


def widest(found: Iterable[dict[str, float]]) -> str:
    """How far apart the rounds of one variant lie at most, in words; of results of `interleaved`."""
    share = max(numbers['most_cpu_s'] / numbers['cpu_s'] for numbers in found) - 1
    return f'rounds of one variant at most {100 * share:.0f} % apart'


def resident(field: str, process: int | str = 'self') -> float:
    """Memory in MiB: VmRSS (resident now) or VmHWM (peak since the last reset)."""
    for line in Path(f'/proc/{process}/status').read_text().splitlines():
        if line.startswith(field + ':'):
            return int(line.split()[1]) / 1024
    raise KeyError(field)


def reset_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def measure(step: Callable[[], object], repeats: int) -> dict[str, float]:
    """Runs `step`; returns the smallest times, the peak of the first step, and its rise over the memory before."""
    before = resident('VmRSS')
    reset_peak()
    seconds, walls, peak = [], [], 0.0
    for number in range(repeats):
        start, wall = time.process_time(), time.perf_counter()
        step()
        seconds.append(time.process_time() - start)
        walls.append(time.perf_counter() - wall)
        if number == 0:
            peak = resident('VmHWM')
    return {'cpu_s': min(seconds), 'wall_s': min(walls), 'peak_mib': peak, 'rise_mib': peak - before}


def in_own_process(script: str, arguments: Iterable[str]) -> dict[str, float]:
    """Runs ``script measure <arguments>`` and returns the JSON of its last line."""
    command = [sys.executable, '-W', 'ignore', script, 'measure', *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def interleaved(script: str, variants: Iterable[tuple[str, ...]], rounds: int) -> dict[tuple[str, ...], dict]:
    """Measures all variants in turn, `rounds` times; returns the smallest of each number, and ``most_cpu_s``."""
    best: dict[tuple[str, ...], dict[str, float]] = {}
    variants = list(variants)
    for _ in range(rounds):
        for variant in variants:
            found = in_own_process(script, variant)
            known = best.get(variant, found)
            most = max(found['cpu_s'], known.get('most_cpu_s', 0.0))
            best[variant] = {key: min(value, known[key]) for key, value in found.items()} | {'most_cpu_s': most}
            print(' '.join(variant), json.dumps(best[variant]), file=sys.stderr, flush=True)
    return best
