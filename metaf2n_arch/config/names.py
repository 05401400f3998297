"""Names of parts in an option file: where they are, in which registry they are looked up, and whether they exist.

The runner and all commands check names with this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from basicsr.utils import registry
from basicsr.utils.registry import Registry

from metaf2n_arch.utils.checks import OptionError, nearest
from metaf2n_arch.utils.registries import find, names, require

# Arguments that BasicSR passes itself, by kind of part.
GIVEN = {'metric': ('img', 'img2', 'better'), 'scheduler': ('optimizer', 'last_epoch'), 'optimizer': ('params',)}
REGISTRIES: dict[str, Registry] = {
    'network': registry.ARCH_REGISTRY,
    'loss': registry.LOSS_REGISTRY,
    'metric': registry.METRIC_REGISTRY,
    'dataset': registry.DATASET_REGISTRY,
    'model': registry.MODEL_REGISTRY,
}


def is_ours(registry: Registry, name: Any) -> bool:
    """Whether `name` is the name of a part of this package."""
    part = find(registry, name)
    return part is not None and part.__module__.startswith('metaf2n_arch.')


def names_a_part_of_ours(opt: Mapping[str, Any]) -> bool:
    """Whether a run uses a part of this package; then its whole option file is checked."""
    return any(is_ours(REGISTRIES[kind], name) for kind, _, name in named_in(opt))


def check_names(opt: dict[str, Any], file: str) -> None:
    """Raises `OptionError` if the type of a network, loss, metric, data set or model is not registered.

    A model of another package may build its networks and losses without the registries; so for such a model these two
    are not checked.
    """
    own_builder = not _is_known(find(REGISTRIES['model'], opt['model_type']))
    for kind, place, name in named_in(opt):
        if own_builder and kind in ('network', 'loss'):
            continue
        if find(REGISTRIES[kind], name) is None:
            known = names(REGISTRIES[kind])
            hint = nearest(str(name), known) or f' Known: {", ".join(known)}.'
            raise OptionError(f'{file}: {place}: there is no {kind} {name!r}.{hint}')


def _is_known(model: Any) -> bool:
    """Whether a model belongs to BasicSR or this package, or is not registered."""
    return model is None or model.__module__.startswith(('basicsr.', 'metaf2n_arch.'))


def without_type(opt: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Returns the block at a key path such as ``train.losses.0``, without its key `type`."""
    block: Any = opt
    for key in place.split('.'):
        block = block[int(key)] if isinstance(block, list) else block[key]
    return {key: value for key, value in block.items() if key != 'type'}


def named_in(opt: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yields (kind, key path, name) for each name that the runner looks up in a registry."""
    yield 'model', 'model_type', opt.get('model_type')
    for key, block in opt.items():
        if str(key).startswith('network_') and isinstance(block, dict) and 'type' in block:
            yield 'network', f'{key}.type', block['type']
    for phase, block in _block(opt, 'datasets').items():
        if isinstance(block, dict):
            yield 'dataset', f'datasets.{phase}.type', block.get('type')
    for key, block in _block(_block(opt, 'val'), 'metrics').items():
        if isinstance(block, dict) and 'type' in block:
            yield 'metric', f'val.metrics.{key}.type', block['type']
    for key, block in _block(opt, 'train').items():
        # BasicSR has pixel_opt, perceptual_opt, gan_opt ...; this package has a list `losses`.
        if str(key).endswith('_opt') and isinstance(block, dict) and 'type' in block:
            yield 'loss', f'train.{key}.type', block['type']
        if key == 'losses' and isinstance(block, list):
            for i, item in enumerate(block):
                if isinstance(item, dict) and 'type' in item:
                    yield 'loss', f'train.losses.{i}.type', item['type']


def _block(options: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A block, or an empty one if the value is not a mapping: this runs before `check_shapes`."""
    block = options.get(key)
    return block if isinstance(block, Mapping) else {}


def check_part(registry: Registry, options: Any, where: str, kind: str) -> None:
    """Checks a block ``{type, ...}`` against a registry and the signature of the part.

    Raises:
        OptionError: the type is missing or unknown, or an argument is unknown or missing.
    """
    if not isinstance(options, Mapping) or 'type' not in options:
        raise OptionError(f'{where} is {options!r}, expected a mapping with a `type`.')
    part = require(registry, options['type'], f'{where}.type')
    check_arguments(part, options, where, kind)
    if hasattr(part, 'check_options'):  # what the signature cannot express
        part.check_options(options, where)


def check_arguments(part: Any, options: Mapping[str, Any], where: str, kind: str) -> None:
    """Raises `OptionError` for arguments that are unknown to `part` or missing.

    BasicSR's metrics and some optimizers accept ``**kwargs`` and ignore them; for these, unknown keys are errors too.
    """
    parameters = inspect.signature(part).parameters
    given = GIVEN.get(kind, ())
    named = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    known = [p.name for p in named if p.name not in given]
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values()) and kind not in ('metric', 'optimizer')
    for key in options:
        if key != 'type' and key not in known and not open_ended and key not in given:
            hint = nearest(key, known) or f' Known keys: {", ".join(known)}.'
            raise OptionError(f'{where}.{key}: unknown key of {options["type"]}.{hint}')
    for parameter in named:
        if parameter.default is parameter.empty and parameter.name not in options and parameter.name not in given:
            raise OptionError(f'{where}.{parameter.name}: missing; {options["type"]} needs it.')
