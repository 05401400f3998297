"""Needs of an option file: the weights files of its networks, face restorer, losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaf2n_arch.utils.registries import PREFIX
from metaf2n_arch.weights.published import DETECTORS, RESTORERS

Block = Mapping[str, Any]


@dataclass
class Needs:
    """Weights files of a run, as dictionaries: name or path for `locate` -> key path in the options that needs it.

    Attributes:
        required: files without which the run does not begin.
        optional: files of metrics, which are left out if the file is missing, and of losses of BasicSR that download
            the file themselves.
    """

    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Required and optional files, the required ones first."""
        return {**self.required, **{name: what for name, what in self.optional.items() if name not in self.required}}


def _lpips(block: Block) -> Sequence[str]:
    return () if block.get('trunk_path') else (f'lpips_{block.get("net", "alex")}',)


def _vgg(block: Block) -> Sequence[str]:
    return {'vgg19': ('vgg19',), 'vgg16': ('lpips_vgg',)}.get(str(block.get('vgg_type', 'vgg19')), ())


PARTS: Mapping[str, Callable[[Block], Sequence[str]]] = {
    'LPIPSLoss': _lpips,
    'calculate_lpips': _lpips,
    'DISTSLoss': lambda _: ('lpips_vgg', 'dists'),
    'calculate_dists': lambda _: ('lpips_vgg', 'dists'),
    'PerceptualLoss': _vgg,
    'FID': lambda _: ('inception',),
    'calculate_niqe_pyiqa': lambda _: ('niqe',),
    'calculate_brisque': lambda _: ('brisque',),
}
"""`type` of a loss or metric, without `PREFIX` -> the published files it needs, by its option block."""

FETCHES_ITSELF = ('PerceptualLoss',)


def needs_of(opt: Block) -> Needs:
    """Collects the weights files that a run of these options needs.

    Args:
        opt: content of an option file. Wrong blocks are ignored here; the checks of options report them.

    >>> needs_of({'train': {'losses': [{'type': 'LPIPSLoss'}]}}).required
    {'lpips_alex': 'train.losses.0'}
    """
    needs = Needs()
    path = opt.get('path')
    for key, value in path.items() if isinstance(path, Mapping) else ():
        # BasicSR downloads web addresses itself.
        if str(key).startswith('pretrain_network') and isinstance(value, str) and '://' not in value:
            needs.required.setdefault(value, f'path.{key}')
    if 'train' in opt:
        for where, block in _blocks(opt['train'], 'train'):
            group = needs.optional if block['type'] in FETCHES_ITSELF else needs.required
            _add(group, where, block)
        face = opt.get('face')
        if isinstance(face, Mapping) and face.get('restorer'):
            name = restorer_weights(face['restorer'])
            if name is not None:
                needs.required.setdefault(name, 'face.restorer')
    val = opt.get('val')
    if isinstance(val, Mapping):
        for where, block in _blocks(val.get('metrics'), 'val.metrics'):
            _add(needs.optional, where, block)
    return needs


def restorer_weights(restorer: Any) -> str | None:
    """The weights of a face restorer, given by its option block or type; None if it needs none or none are known."""
    block = _as_block(restorer)
    return block.get('weights') or RESTORERS.get((str(block.get('type')), block.get('size') or 512))


def detector_weights(detector: Any) -> str | None:
    """The weights of a face detector, given by its option block or type; None if it needs none."""
    block = _as_block(detector)
    kind = block.get('type', 'retinaface_resnet50')
    return block.get('weights') or (kind if kind in DETECTORS else None)


def needs_of_photos(generator: Any, mask: Any, detector: Any, restorer: Any) -> dict[str, str]:
    """The weights files for restoring photos: name or path -> what needs it, in words.

    Args:
        generator, mask: file or name; None if there is none.
        detector, restorer: option block or type; None if there is none, or if it is loaded already.
    """
    wanted = {
        'the generator': generator,
        'MaskNet': mask,
        'the face detector': detector and detector_weights(detector),
        'the face restorer': restorer and restorer_weights(restorer),
    }
    return {str(name): what for what, name in wanted.items() if name is not None}


def _as_block(part: Any) -> Block:
    """An option block as a mapping, from a mapping, a parsed block, or a type."""
    return part if isinstance(part, Mapping) else vars(part) if hasattr(part, 'type') else {'type': part}


def _add(group: dict[str, str], where: str, block: Block) -> None:
    needed = PARTS.get(str(block['type']).removeprefix(PREFIX))
    for name in needed(block) if needed is not None else ():
        group.setdefault(name, where)


def _blocks(value: Any, where: str) -> Iterator[tuple[str, Block]]:
    """All mappings with a `type`, at any depth, with their key paths: a loss may contain another loss."""
    items: Any = ()
    if isinstance(value, Mapping):
        if 'type' in value:
            yield where, value
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from _blocks(inner, f'{where}.{key}')
