"""What a checkpoint was made with: the options that decide the outcome, and what of them has changed on resuming."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator, Mapping
from typing import Any

import torch

logger = logging.getLogger('basicsr')

_DECIDING = ('model_type', 'scale', 'manual_seed', 'world_size', 'meta', 'face', 'performance', 'train')
_NOT_DECIDING = ('train.total_iter',)
# `run.schedules` compares these with the state itself, and says so.
_SAID_ELSEWHERE = ('train.scheduler.', 'train.optim_')
# What holds although the option file says otherwise.
_KEPT = {
    'manual_seed': 'the order of the data follows the option file, the random generators go on from the checkpoint',
    'train.ema_decay': 'the average itself goes on from the checkpoint, or begins at its weights if it has none',
    'world_size': 'the tasks go on where they were; each process has random numbers of its own',
    'datasets.train.batch_size_per_gpu': 'the data go on where they were',
}


def describe(opt: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says about the making: options, and versions of the programs."""
    import metaf2n_arch

    options = {key: value for key, value in opt.items() if key in _DECIDING or key.startswith('network_')}
    options['datasets'] = {'train': (opt.get('datasets') or {}).get('train')}
    versions = {'metaf2n_arch': metaf2n_arch.__version__, 'torch': torch.__version__}
    versions['python'] = platform.python_version()
    return {'options': json.loads(json.dumps(options, default=str)), 'versions': versions}


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """One line per option that `describe` gave otherwise then, and which value holds.

    >>> changes({'options': {'train': {'ema_decay': 0.9}}}, {'options': {'train': {'ema_decay': 0.5}}})[0][:60]
    'train.ema_decay is 0.9 in the option file and 0.5 in the che'
    """
    lines = []
    here, there = (dict(_flat(made.get('options', {}))) for made in (now, then))
    for key in [*here, *(k for k in there if k not in here)]:
        if here.get(key) == there.get(key) or key in _NOT_DECIDING or key.startswith(_SAID_ELSEWHERE):
            continue
        source = 'this run' if key == 'world_size' else 'the option file'
        line = f'{key} is {_shown(here, key)} in {source} and {_shown(there, key)} in the checkpoint'
        lines.append(f'{line}: {_KEPT.get(key, "the option file counts from here on")}.')
    return lines


def tell_changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Logs `changes`."""
    for line in changes(now, then):
        logger.warning(line)


def _flat(value: Any, place: str = '') -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield place, value
        return
    for key, item in items:
        yield from _flat(item, f'{place}.{key}' if place else str(key))


def _shown(options: Mapping[str, Any], key: str) -> str:
    return repr(options[key]) if key in options else 'not given'
