"""Shares of a task among the processes of a launcher: torchrun, srun, and array jobs of Slurm and Grid Engine."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from metaf2n_arch.utils.checks import OptionError

T = TypeVar('T')


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count`, counted from 0.

    Attributes:
        source: where the share was found, for messages: ``--shard``, ``torchrun``, ...; empty if nowhere.
        local: number of this process on its machine, which chooses its GPU; None if it is unknown.
    """

    index: int = 0
    count: int = 1
    source: str = ''
    local: int | None = None

    def __str__(self) -> str:
        return f'{self.index + 1}/{self.count}'

    def of(self, things: Sequence[T]) -> Sequence[T]:
        """Every `count`-th thing from `index` on. The shares together are all things, and no two shares overlap.

        >>> Shard(1, 3).of('abcdefgh')
        'beh'
        """
        return things if self.count == 1 else things[self.index :: self.count]

    @property
    def suffix(self) -> str:
        """Suffix of the names of this share's files: ``.2-of-4``; empty if there is one share."""
        return '' if self.count == 1 else f'.{self.index + 1}-of-{self.count}'


def shard_of(text: str | None, environment: Mapping[str, str] | None = None) -> Shard:
    """Returns the share of ``--shard I/N``, I from 1 to N; without it, the share that the launcher gave this process.

    Raises:
        OptionError: `text` has another form, or I is not from 1 to N.

    >>> shard_of('2/4', {})
    Shard(index=1, count=4, source='--shard', local=None)
    >>> shard_of(None, {'RANK': '3', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'})
    Shard(index=3, count=8, source='torchrun', local=1)
    """
    launched = _launched(os.environ if environment is None else environment)
    if text is None:
        return launched
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise OptionError(f'--shard is {text!r}, expected I/N with I from 1 to N, for example 2/8.')
    return Shard(int(match[1]) - 1, int(match[2]), '--shard', launched.local)


def _launched(environment: Mapping[str, str]) -> Shard:
    """The share in the environment variables of a launcher.

    An array job may start several processes in each task. The share is then counted over all processes of all tasks.
    """

    def number(name: str) -> int | None:
        value = environment.get(name, '')
        return int(value) if re.fullmatch(r'\d+', value) else None

    rank, count, local, source = 0, 1, None, ''
    # Not SLURM_NTASKS: a batch script has it too, although it is a single process.
    for who, names in {
        'torchrun': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
        'srun': ('SLURM_PROCID', 'SLURM_STEP_NUM_TASKS', 'SLURM_LOCALID'),
        'mpirun': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
    }.items():
        found = number(names[0]), number(names[1])
        if found[0] is not None and found[1] is not None and found[0] < found[1] and found[1] > 1:
            rank, count, local, source = found[0], found[1], number(names[2]), who
            break
    for first, last, step, own in (
        ('SLURM_ARRAY_TASK_MIN', 'SLURM_ARRAY_TASK_MAX', 'SLURM_ARRAY_TASK_STEP', 'SLURM_ARRAY_TASK_ID'),
        ('SGE_TASK_FIRST', 'SGE_TASK_LAST', 'SGE_TASK_STEPSIZE', 'SGE_TASK_ID'),
    ):
        low, high, me, width = number(first), number(last), number(own), number(step) or 1
        if low is None or high is None or me is None or not low <= me <= high:
            continue
        tasks = (high - low) // width + 1
        # A list such as --array=1,5,9 has gaps; only the number of tasks shows them.
        if number('SLURM_ARRAY_TASK_COUNT') not in (None, tasks) or tasks == 1:
            continue
        return Shard(((me - low) // width) * count + rank, tasks * count, f'{source} in an array job'.strip(), local)
    return Shard(rank, count, source, local)
