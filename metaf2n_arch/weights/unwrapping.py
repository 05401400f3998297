"""Unwrapping of checkpoints: finds the state dict of a generator in the files of many programs.

BasicSR writes it under ``params`` and ``params_ema``; other programs under ``state_dict``, ``model``, ``generator``,
``net_g``, ``g_ema``. Lightning adds the attribute of the network as a prefix to each name, DataParallel adds
``module.``, and `torch.compile` adds ``_orig_mod.``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaf2n_arch.utils.checks import DataError, nearest
from metaf2n_arch.weights.plain import first_names

State = dict[str, Tensor]

AVERAGES = ('params_ema', 'g_ema', 'net_g_ema', 'netG_ema', 'generator_ema', 'model_ema', 'state_dict_ema', 'ema')
GENERATORS = ('net_g', 'netG', 'generator', 'gen', 'G', 'g')
GENERAL = ('state_dict', 'model_state_dict', 'model', 'network', 'net', 'weights')
CRITICS = ('net_d', 'netD', 'discriminator', 'D', 'd')
RANKS: tuple[tuple[str, ...], ...] = (AVERAGES, ('params',), GENERATORS, GENERAL)
"""Keys of a generator, in the order of preference: moving averages of the weights come first."""

DEFAULTS = (None, 'params', 'params_ema')
"""Values of `param_key` that BasicSR passes by default. If the file lacks the key, the state dict is searched."""

DEEPEST = 4
_NO_NETWORK = ('optim', 'sched', 'hyper_parameters', 'callbacks', 'loops', 'metaf2n_training', 'options', 'inner_lr')


def unwrapped(content: Any, path: str | Path, param_key: str | None = None) -> State:
    """Returns the state dict in the content of a weights file, without prefixes of wrappers in its names.

    Args:
        content: result of `read_checkpoint`.
        path: the file, for messages.
        param_key: key of the state dict, several keys joined by dots, or a prefix of its names. A key of `DEFAULTS`
            may be absent.

    Raises:
        DataError: there is no state dict, none at `param_key`, or several of the same preference.
    """
    if not isinstance(content, Mapping) or not content:
        raise DataError(f'{path}: holds {type(content).__name__}, expected a state dict.')
    found = _at(content, param_key) if param_key is not None else None
    if found is None and param_key not in DEFAULTS:
        known = _keys(content)
        hint = nearest(str(param_key), known) or f' It has {first_names(known, 6)}.'
        raise DataError(f'{path}: has no {param_key!r}.{hint} {_advice(known)}')
    state = _search(content if found is None else found, path, empty=found is not None)
    if state is None:
        place = 'in it' if found is None else f"under '{param_key}'"
        raise DataError(
            f'{path}: no state dict {place}, only {first_names(content if found is None else found)}; '
            'give the weights file of a network.'
        )
    return plain_names(state)


def plain_names(state: Mapping[str, Tensor]) -> State:
    """Removes ``module.`` at the beginning of names and ``_orig_mod.`` anywhere in them.

    >>> list(plain_names({'module._orig_mod.body.0.weight': torch.zeros(1)}))
    ['body.0.weight']
    """
    names = {name: '.'.join(part for part in name.split('.') if part != '_orig_mod') for name in state}
    while any(name.startswith('module.') for name in names.values()):
        names = {old: new.removeprefix('module.') for old, new in names.items() if new != 'n_averaged'}
    return {new: state[old] for old, new in names.items()}


def without_prefix(state: Mapping[str, Tensor], wanted: Collection[str], path: str | Path) -> State:
    """Returns the tensors of one network from a state dict of several, in which names have a prefix per network.

    Args:
        state: with names such as ``net_g.conv_first.weight``, ``loss.vgg.0.weight``, ...
        wanted: names of the network's tensors without prefix. A state that has one of them is returned unchanged.
        path: the file, for messages.

    Raises:
        DataError: several networks match, and no prefix is preferred.
    """
    if not wanted or not state.keys().isdisjoint(wanted):
        return dict(state)
    sample = max(wanted, key=len)
    prefixes = {name.removesuffix(sample) for name in state if name.endswith(f'.{sample}')}
    fitting = [prefix for prefix in sorted(prefixes) if all(prefix + name in state for name in wanted)]
    if not fitting:
        return dict(state)
    prefix = _preferred(fitting, path)
    return {name: state[prefix + name] for name in wanted}


def variants(state: State) -> Iterator[tuple[str, State]]:
    """Yields (prefix, part) of a state dict: all of it with '', then the tensors of each prefix without the prefix.

    Prefixes have one or two parts, such as ``net_g`` or ``model.net_g``; preferred ones (`RANKS`) come first.
    """
    yield '', state
    for depth in (1, 2):
        heads = {'.'.join(name.split('.')[:depth]) for name in state if name.count('.') > depth}
        for head in sorted(heads, key=lambda head: (_rank(head), head)):
            if not head.rpartition('.')[2].isdigit():
                yield head, {n[len(head) + 1 :]: t for n, t in state.items() if n.startswith(f'{head}.')}


def _at(content: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The mapping at a key, at several keys joined by dots, or the tensors whose names have the key as a prefix."""
    for mapping in (content, *(value for value in content.values() if isinstance(value, Mapping))):
        if isinstance(mapping.get(key), Mapping):
            return mapping[key]
        part = {n[len(key) + 1 :]: v for n, v in mapping.items() if isinstance(n, str) and n.startswith(f'{key}.')}
        if part and any(isinstance(value, Tensor) for value in part.values()):
            return part
    first, _, rest = key.partition('.')
    inner = content.get(first)
    return _at(inner, rest) if rest and isinstance(inner, Mapping) else None


def _search(content: Any, path: str | Path, empty: bool = False, depth: int = 0) -> State | None:
    """The mapping itself if it is a state dict, otherwise the preferred state dict inside it; None if there is none."""
    if not isinstance(content, Mapping) or depth > DEEPEST:
        return None
    tensors = {n: v for n, v in content.items() if isinstance(v, Tensor) or str(n).endswith('_extra_state')}
    others = [value for name, value in content.items() if isinstance(value, Mapping) and name not in tensors]
    if (tensors or (empty and not content)) and not others and all(isinstance(name, str) for name in tensors):
        return tensors
    unknown = [n for n in content if isinstance(n, str) and not any(n in rank for rank in (*RANKS, CRITICS))]
    unknown = [n for n in unknown if not any(word in n.lower() for word in _NO_NETWORK)]
    for keys in (*RANKS, unknown, CRITICS):
        found = {key: _search(content[key], path, depth=depth + 1) for key in keys if key in content}
        states = {key: state for key, state in found.items() if state}
        if len(states) > 1 and not _same(states.values()):
            raise DataError(f'{path}: holds several networks ({first_names(states, 6)}). {_advice(list(states))}')
        if states:
            return next(iter(states.values()))
    return None


def _same(states: Iterable[State]) -> bool:
    first, *others = states
    return all(other.keys() == first.keys() and all(other[n] is first[n] for n in first) for other in others)


def _preferred(prefixes: list[str], path: str | Path) -> str:
    ranks = [_rank(prefix.rstrip('.')) for prefix in prefixes]
    if ranks.count(min(ranks)) > 1:
        names = [prefix.rstrip('.') for prefix in prefixes]
        raise DataError(f'{path}: holds several such networks ({first_names(names, 6)}). {_advice(names)}')
    return prefixes[ranks.index(min(ranks))]


def _rank(head: str) -> int:
    last = head.rpartition('.')[2]
    return next((number for number, rank in enumerate(RANKS) if last in rank), len(RANKS))


def _keys(content: Mapping[str, Any]) -> list[str]:
    inner = [(key, value) for key, value in content.items() if isinstance(value, Mapping)]
    return [str(key)[:60] for key, _ in inner] or sorted({str(name)[:60].partition('.')[0] for name in content})


def _advice(known: list[str]) -> str:
    example = known[0] if known else 'params'
    return f'Say which: --param-key {example}, or in an option file param_key_g: {example}.'


def check_stored(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises `DataError` if a tensor has more elements than the file stores for it.

    A few stored bytes can be expanded to a tensor of any size. A network of that size would fill the memory.
    """
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise DataError(
                f'{path}: {first_names([name])} repeats what is stored once; save its tensors contiguously.'
            )


def check_finite(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Raises `DataError` if a value is NaN or infinite, as after a training that has diverged."""
    bad = [n for n, t in state.items() if isinstance(t, Tensor) and t.is_floating_point() and not _finite(t)]
    if bad:
        raise DataError(
            f'{path}: {len(bad)} of {len(state)} tensors hold NaN or infinity ({first_names(bad)}), probably because '
            'the training has diverged; use an earlier checkpoint.'
        )


def _finite(tensor: Tensor) -> bool:
    # Fast check first: the sum of finite weights is finite, except if it overflows; then each value is checked.
    return bool(torch.isfinite(tensor.float().sum())) or bool(torch.isfinite(tensor).all())
