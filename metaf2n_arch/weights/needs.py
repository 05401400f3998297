"""Weights files that an option file needs: of its networks, restorer, losses and metrics, by their published names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaf2n_arch.utils.registries import PREFIX
from metaf2n_arch.weights.published import DETECTORS, RESTORERS

Block = Mapping[str, Any]


@dataclass
class Needs:
    """Weights files of a run: what `locate` takes -> the key that asks for it.

    Attributes:
        required: the run does not begin without them.
        optional: a metric that is left out without them, or a loss of the host's that fetches them by itself.
    """

    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Both, the required ones first."""
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
        opt: an option file's content; wrong blocks are passed over, which is for the checks to tell.

    >>> needs_of({'train': {'losses': [{'type': 'LPIPSLoss'}]}}).required
    {'lpips_alex': 'train.losses.0'}
    """
    needs = Needs()
    path = opt.get('path')
    for key, value in path.items() if isinstance(path, Mapping) else ():
        # Addresses are the host's to fetch.
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
    """The weights of a face restorer's block, or of its plain name; None where it needs none, or none is known."""
    block = _as_block(restorer)
    return block.get('weights') or RESTORERS.get((str(block.get('type')), block.get('size') or 512))


def detector_weights(detector: Any) -> str | None:
    """The weights of a face detector's block, or of its plain name; None where it needs none."""
    block = _as_block(detector)
    kind = block.get('type', 'retinaface_resnet50')
    return block.get('weights') or (kind if kind in DETECTORS else None)


def needs_of_photos(generator: Any, mask: Any, detector: Any, restorer: Any) -> dict[str, str]:
    """The weights files that restoring photos needs -> what needs each.

    Args:
        generator, mask: file or name; None where there is none.
        detector, restorer: block or plain name; None where there is none, or a ready one.
    """
    wanted = {
        'the generator': generator,
        'MaskNet': mask,
        'the face detector': detector and detector_weights(detector),
        'the face restorer': restorer and restorer_weights(restorer),
    }
    return {str(name): what for what, name in wanted.items() if name is not None}


def _as_block(part: Any) -> Block:
    """An option block, whether it was read from YAML, parsed already, or is a plain name."""
    return part if isinstance(part, Mapping) else vars(part) if hasattr(part, 'type') else {'type': part}


def _add(group: dict[str, str], where: str, block: Block) -> None:
    needed = PARTS.get(str(block['type']).removeprefix(PREFIX))
    for name in needed(block) if needed is not None else ():
        group.setdefault(name, where)


def _blocks(value: Any, where: str) -> Iterator[tuple[str, Block]]:
    """All mappings with a `type`, however deep: a loss may hold another one."""
    items: Any = ()
    if isinstance(value, Mapping):
        if 'type' in value:
            yield where, value
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield from _blocks(inner, f'{where}.{key}')
