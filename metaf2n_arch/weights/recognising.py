"""Recognition of generators by names and shapes of their tensors: RRDBNet and SRVGGNetCompact here, others by spandrel.

spandrel recognises most published networks for super-resolution, but importing it takes as long as importing torch. So
the two networks that are used most are recognised without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.archs.published_networks import RRDB, Compact
from metaf2n_arch.archs.spandrel_networks import made_trainable
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.layouts import renamed_rrdb
from metaf2n_arch.weights.plain import first_names, shortened
from metaf2n_arch.weights.unwrapping import RANKS, State, check_finite, check_stored, variants


@dataclass(frozen=True)
class Recognised:
    """A network that was recognised from its weights, with these weights.

    Attributes:
        net: (B, 3, h, w) -> (B, 3, s·h, s·w), float32, on the CPU, in evaluation mode.
        scale: s.
        architecture: option block of the same network in BasicSR, ``{type: RRDBNet, ...}``; for a network recognised by
            spandrel, ``{type: <its id>}``.
        multiple: number of which h and w must be multiples; 1 for networks of spandrel, which pad by themselves.
    """

    net: nn.Module
    scale: int
    architecture: Mapping[str, Any]
    multiple: int = 1


def recognise(state: State, path: str | Path) -> Recognised:
    """Builds the network that a state dict belongs to. Names may have a prefix, such as ``net_g.``.

    Raises:
        DataError: the network is not known, or does not map RGB images to RGB images, or its weights are not finite.
    """
    state = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
    check_stored(state, path)
    found = _known_here(state, path)
    if found is None:
        return _by_spandrel(state, path)
    net, scale, multiple, architecture, weights = found
    weights = {name: tensor.float() for name, tensor in weights.items()}
    check_finite(weights, path)
    net.load_state_dict(weights, assign=True)
    return Recognised(net.requires_grad_(False).eval(), scale, architecture, multiple)


Found = tuple[nn.Module, int, int, dict[str, Any], State]


def _known_here(state: State, path: str | Path) -> Found | None:
    for head, part in variants(state):
        for form in (part, renamed_rrdb(part) or {}):
            built = _rrdb(form) or _compact(form)
            if built is None:
                continue
            net, scale, multiple, architecture = built
            shapes = {name: tensor.shape for name, tensor in net.state_dict().items()}
            if shapes == {name: tensor.shape for name, tensor in form.items()}:
                _refuse_doubles(state, head, len(form), path)
                return net, scale, multiple, architecture, form
    return None


def _refuse_doubles(state: State, head: str, size: int, path: str | Path) -> None:
    """Raises `DataError` if the file has several networks of this size, and none has a preferred name (`RANKS`)."""
    known = {word for rank in RANKS for word in rank}
    if not head or head.rpartition('.')[2] in known:
        return
    twins = [h for h, part in variants(state) if h and len(part) == size and h.rpartition('.')[2] not in known]
    if len(twins) > 1:
        raise DataError(
            f'{path}: holds several networks ({first_names(twins)}). Say which: --param-key {twins[0]}, in an option '
            f'file param_key_g: {twins[0]}.'
        )


Built = tuple[nn.Module, int, int, dict[str, Any]]


def _rrdb(state: State) -> Built | None:
    """An RRDBNet of the size that some shapes suggest, on the meta device; the caller compares all shapes."""
    first, grown = state.get('conv_first.weight'), state.get('body.0.rdb1.conv1.weight')
    scales = {3: 4, 12: 2, 48: 1}
    if first is None or grown is None or first.ndim != 4 or grown.ndim != 4 or first.shape[1] not in scales:
        return None
    scale, features, growth = scales[first.shape[1]], first.shape[0], grown.shape[0]
    blocks = 1 + max(int(match[1]) for name in state if (match := re.match(r'body\.(\d{1,4})\.', name)))
    if blocks > len(state):
        return None
    with torch.device('meta'):
        net = RRDB(scale, features, blocks, growth)
    sizes = {'num_in_ch': 3, 'num_out_ch': 3, 'scale': scale, 'num_feat': features, 'num_block': blocks}
    return net, scale, 4 // scale, {'type': 'RRDBNet', **sizes, 'num_grow_ch': growth}


def _compact(state: State) -> Built | None:
    """An SRVGGNetCompact with PReLU of the size that some shapes suggest, on the meta device, as `_rrdb`."""
    first, act = state.get('body.0.weight'), state.get('body.1.weight')
    numbers = [int(match[1]) for name in state if (match := re.fullmatch(r'body\.(\d{1,4})\.weight', name))]
    if first is None or act is None or first.ndim != 4 or act.ndim != 1 or max(numbers) % 2 or max(numbers) < 2:
        return None
    scale = math.isqrt(state[f'body.{max(numbers)}.weight'].shape[0] // 3)
    convolutions = max(numbers) // 2 - 1
    if scale < 1 or convolutions > len(state):
        return None
    with torch.device('meta'):
        net = Compact(scale, first.shape[0], convolutions)
    sizes = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': first.shape[0], 'num_conv': convolutions, 'upscale': scale}
    return net, scale, 1, {'type': 'SRVGGNetCompact', **sizes, 'act_type': 'prelu'}


def _by_spandrel(state: State, path: str | Path) -> Recognised:
    import spandrel

    words = {word for rank in RANKS for word in rank}
    reason = ''
    for head, part in variants(state):
        if head and head.rpartition('.')[2] not in words:
            continue
        try:
            found = spandrel.ModelLoader(device='cpu').load_from_state_dict(dict(part))
        except Exception as error:  # spandrel raises many kinds of exceptions for unknown state dicts
            reason = reason or (str(error).splitlines() or [''])[0][:120] or type(error).__name__
            continue
        colours = isinstance(found, spandrel.ImageModelDescriptor) and (found.input_channels, found.output_channels)
        if colours != (3, 3):
            raise DataError(
                f'{path} holds a {found.architecture.name}, which does not map RGB images to RGB images; give the'
                ' weights of a super-resolution network.'
            )
        # Makes it adaptable, and lets it take any size.
        net = made_trainable(found.model.float(), found).requires_grad_(False).eval()
        check_finite(dict(net.named_parameters()), path)
        return Recognised(net, found.scale, {'type': found.architecture.id})
    raise DataError(
        f'{path}: not recognised as a network ({shortened(reason, 120).strip(chr(39))}). Give its options, '
        'architecture {type: ..., ...} as in BasicSR option files; or, if it holds several networks, --param-key.'
    )
