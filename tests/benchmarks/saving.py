"""Saving of checkpoints: time that training waits, without hashes (as before), with hashes, and in the background.

    python tests/benchmarks/saving.py [folder]

Before: `torch.save` into a temporary file, flushed to the disk, then renamed. The checkpoint is that of a generator of
60 MB with its moving average and Adam's moments. Medians of 15, measured in turn.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import conditions, spread

from metaf2n_arch.run.checkpoint_sets import SetFolders
from metaf2n_arch.run.saving import SetSaver

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
ROUNDS = 15


def contents() -> tuple[dict, dict]:
    """Networks and training state, as BasicSR saves them, on the device of the training."""

    def tensors(count: int) -> dict[str, torch.Tensor]:
        return {f'{i}.weight': torch.randn(64, 64, 3, 3, device=DEVICE) for i in range(count)}

    moments = {
        i: {'step': torch.tensor(1.0), 'exp_avg': a, 'exp_avg_sq': b}
        for i, (a, b) in enumerate(zip(tensors(400).values(), tensors(400).values()))
    }
    return {'params': tensors(400), 'params_ema': tensors(400)}, {'optimizers': [{'state': moments}]}


def before(content: dict, path: Path) -> None:
    temporary = path.with_name(f'.{path.name}.tmp')
    with open(temporary, 'wb') as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    descriptor = os.open(path.parent, os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def main() -> None:
    """Prints a table."""
    networks, state = contents()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        root = Path(folder)
        (root / 'models').mkdir()
        (root / 'training_states').mkdir()
        folders = SetFolders(root / 'models', root / 'training_states')
        savers = {'with hashes and a manifest': SetSaver(folders), 'in the background': SetSaver(folders, True)}

        def as_before() -> None:
            before({k: {n: t.cpu() for n, t in v.items()} for k, v in networks.items()}, root / 'models' / 'b.pth')
            before(state, root / 'training_states' / 'b.state')

        def save(saver: SetSaver) -> Callable[[], None]:
            def work() -> None:
                on_cpu = (
                    networks
                    if saver.background
                    else {k: {n: t.cpu() for n, t in v.items()} for k, v in networks.items()}
                )
                saver.network(8, on_cpu, folders.models / 'net_g_8.pth')
                saver.commit(8, 0, state, folders.states / '8.state', lambda: None)

            return work

        ways = {'as before': as_before, **{name: save(saver) for name, saver in savers.items()}}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                start = time.perf_counter()
                work()
                taken[name].append(time.perf_counter() - start)
                for saver in savers.values():
                    saver.wait()
        size = sum(f.stat().st_size for f in root.rglob('*_8.pth')) + (root / 'training_states/8.state').stat().st_size
    first = statistics.median(taken['as before'])
    print(f'{size / 1e6:.0f} MB, {conditions()}, {DEVICE}; training waits, seconds, median (least to most):')
    for name, values in taken.items():
        median = statistics.median(values)
        print(f'{name:28s} {spread(values)}  {round(100 * (median / first - 1)):+d} %')


if __name__ == '__main__':
    main()
