"""300 option files with something wrong in each: a run that cannot be is one line, never a traceback, and never hangs.

A value anywhere in a good file is replaced by something else, a key is taken out, or one is put in; the file is read,
checked, and what it describes is built, as the runner does before its first iteration.
"""

from __future__ import annotations

import copy
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_training
import yaml

from metaf2n_arch.utils.checks import DataError, OptionError

COUNT = 300
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**70, -(2**40), 0.5, -0.5, 1e308, float('inf'), float('nan'), '', 'x', '1e-4', '~',
    [], 'y' * 400, [1], [[1]], [None], ['x'], [{}], {}, {'type': 'L1Loss'}, {'type': None}, {'type': [1]}, {1: 2},
    {None: None},    'a\x1bb', 'x' * 5000, ['a', 1, None], '2026-01-01', {'x': {'y': {'z': 1}}}, [True, False],
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key path of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(options: dict[str, Any], draw: random.Random) -> tuple[dict[str, Any], str]:
    """A copy with one to three things changed, and what they are."""
    options = copy.deepcopy(options)
    told = []
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        place = draw.choice(list(places(options)))
        parent: Any = options
        for key in place[:-1]:
            parent = parent[key]
        kind = draw.choice(['replace'] * 6 + ['remove', 'add'])
        name = ':'.join(map(str, place))
        if kind == 'remove':
            del parent[place[-1]]
            told.append(f'without {name}')
        elif kind == 'add' and isinstance(parent, dict):
            key = draw.choice(['oops', 5, None, 'type', 'name', 'scale', 'phase'])
            parent[key] = draw.choice(ODD)
            told.append(f'{key!r} beside {name}: {parent[key]!r:.40}')
        else:
            parent[place[-1]] = draw.choice(ODD)
            told.append(f'{name}: {parent[place[-1]]!r:.40}')
    return options, '; '.join(told)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Reads and checks an option file and builds what it describes."""
    from basicsr.data import build_dataset
    from basicsr.models import build_model

    from metaf2n_arch.config.command_line import read_options
    from metaf2n_arch.run import folders

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'fuzzed.yml'])

    def build(options: dict[str, Any]) -> None:
        Path('fuzzed.yml').write_text(yaml.safe_dump(options), encoding='utf-8')
        opt, _ = read_options(is_train=True)
        opt.update(rank=0, world_size=1, root_path='.')
        folders.name_folders(opt, tmp_path, True)
        for phase in opt['datasets'].values():
            build_dataset(copy.deepcopy(phase))
        model = build_model(opt)
        model.update_learning_rate(1, warmup_iter=opt['train'].get('warmup_iter', -1))

    return build


def hangs(number: int, frame: Any) -> None:
    raise AssertionError('took longer than 20 s')


@pytest.mark.parametrize('seed', [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_every_wrong_option_file_is_one_line(photos, build, seed):
    good = small_training.options(photos)
    build(good)
    draw = random.Random(seed)
    ends: dict[str, int] = {}
    wrong = []
    before = signal.signal(signal.SIGALRM, hangs)
    try:
        for number in range(COUNT):
            options, told = mutated(good, draw)
            signal.alarm(20)
            try:
                build(options)
                end = 'fine'
            except (OptionError, DataError) as error:
                end = 'refused'
                if not str(error).strip() or any(len(line) > 1000 for line in str(error).splitlines()):
                    wrong.append(f'{number} [{told}]: message of {len(str(error))} characters')
                if not str(error).isprintable() and '\n' not in str(error):
                    wrong.append(f'{number} [{told}]: unprintable message')
            except BaseException as error:
                end = type(error).__name__
                wrong.append(f'{number} [{told}]: {end}: {str(error)[:150]}')
            finally:
                signal.alarm(0)
            ends[end] = ends.get(end, 0) + 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not wrong, f'{len(wrong)} of {COUNT} ({ends}):\n' + '\n'.join(wrong)
    assert ends['refused'] > COUNT / 2
