"""Options that a checkpoint was made with, and a comparison with those of the run that resumes it."""

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
# `run.schedules` compares these with the state itself, and logs differences.
_SAID_ELSEWHERE = ('train.scheduler.', 'train.optim_')
# Options that do not simply take effect when they change, and what happens instead.
_KEPT = {
    'manual_seed': 'the order of the data follows the option file, the random generators continue from the checkpoint',
    'train.ema_decay': 'the average continues from the checkpoint, or starts at its weights if it has none',
    'world_size': 'the data continue where they were; each process has its own random numbers',
    'datasets.train.batch_size_per_gpu': 'the data continue where they were',
}


def describe(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entry ``made_with`` of a manifest: the options that decide the result, and the versions."""
    import metaf2n_arch

    options = {key: value for key, value in opt.items() if key in _DECIDING or key.startswith('network_')}
    options['datasets'] = {'train': (opt.get('datasets') or {}).get('train')}
    versions = {'metaf2n_arch': metaf2n_arch.__version__, 'torch': torch.__version__}
    versions['python'] = platform.python_version()
    return {'options': json.loads(json.dumps(options, default=str)), 'versions': versions}


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Returns one line per option that differs between two results of `describe`, with what happens.

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
        lines.append(f'{line}: {_KEPT.get(key, "the option file is used from here on")}.')
    return lines


def tell_changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> None:
    """Logs each line of `changes` as a warning."""
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
