"""Generators and MaskNets, loaded from weights files: with a given architecture, or recognised from the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaf2n_arch.images.arrays import pad_to_multiple
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.registries import build
from metaf2n_arch.weights.files import load_state_dict, load_strictly, read_checkpoint, with_recorded
from metaf2n_arch.weights.layouts import in_names_of
from metaf2n_arch.weights.recognising import recognise
from metaf2n_arch.weights.records import TrainingRecord, record_in, training_record
from metaf2n_arch.weights.search import locate
from metaf2n_arch.weights.unwrapping import unwrapped

# Numbers of which the sides of an input may have to be multiples, because of attention windows or pixel-unshuffling.
MULTIPLES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Generator:
    """A super-resolution network of RGB images in [0, 1], frozen, in evaluation mode.

    Attributes:
        net: (B, 3, h, w) -> (B, 3, s·h, s·w).
        scale: s.
        record: training record, if its file has one.
        architecture: its option block as in BasicSR's option files; for a network recognised by spandrel,
            ``{type: <its name in spandrel>}``.
    """

    net: nn.Module
    scale: int
    record: TrainingRecord | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)


class AnySize(nn.Module):
    """Wrapper that lets a network take inputs of any size: pads them at bottom and right, and crops the output.

    Args:
        net: (B, 3, h, w) -> (B, 3, s·h, s·w).
        scale: s.
        multiple: number of which h and w must be multiples.
    """

    def __init__(self, net: nn.Module, scale: int, multiple: int) -> None:
        super().__init__()
        self.net = net
        self.scale = scale
        self.multiple = multiple

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        output = self.net(pad_to_multiple(image, self.multiple))
        return output[..., : height * self.scale, : width * self.scale]


def load_generator(
    weights: str | Path, architecture: Mapping[str, Any] | None = None, param_key: str | None = None
) -> Generator:
    """Loads a generator from a file on this machine.

    Args:
        weights: a file, or a name from ``metaf2n weights list``.
        architecture: option block of a registered network, ``{type: RRDBNet, num_in_ch: 3, ...}``; None recognises the
            network from its tensors.
        param_key: key of the network in the file; None prefers `params_ema` to `params`, see `unwrapped`.

    Raises:
        DataError: there is no such file, or its weights belong to another network or are not finite.
        OptionError: the architecture or its arguments are wrong, or the network does not map RGB images to RGB images.
    """
    path = locate(weights)
    content = read_checkpoint(path)
    state = unwrapped(content, path, param_key)
    record = training_record(path) if path.suffix == '.safetensors' else record_in(content, path)
    if architecture is None:
        found = recognise(state, path)
        generator = _generator(found.net, found.scale, found.multiple, record)
        return replace(generator, architecture=found.architecture)
    net = build_registered(architecture)
    load_strictly(net, in_names_of(net, state, path), path)
    net.requires_grad_(False).eval()
    return replace(_tried(net, str(architecture['type']), record), architecture=architecture)


def load_mask_net(weights: str | Path, architecture: Mapping[str, Any] | None = None) -> nn.Module:
    """Loads a MaskNet from a file on this machine.

    Args:
        weights: a file, or a name from ``metaf2n weights list``.
        architecture: options that neither the shapes of the tensors nor the record in the file show.

    Raises:
        DataError: there is no such file, or its weights belong to another network.
        OptionError: the options are wrong, or differ from those that the file records.
    """
    path = locate(weights)
    state = load_state_dict(path)
    convs = [name for name in state if name.startswith('conv') and name.endswith('.weight')]
    first = state.get('conv1.weight')
    if first is None or first.ndim != 4 or len(convs) < 2:
        raise DataError(f'{path} holds no MaskNet (conv1.weight, conv2.weight, ...) but {sorted(state)[:3]}.')
    sizes = {'type': 'MaskNet', 'num_in_ch': first.shape[1], 'num_feat': first.shape[0], 'num_conv': len(convs)}
    net = build_registered({**sizes, **with_recorded(architecture or {}, path, 'mask_architecture')})
    load_strictly(net, state, path)
    return net.requires_grad_(False).eval()


def build_registered(architecture: Mapping[str, Any]) -> nn.Module:
    """Builds a network from BasicSR's registry, which contains the networks of this package, too.

    Raises:
        OptionError: the type or an argument is unknown.
    """
    import basicsr.archs  # noqa: F401  (registers the host's networks)
    from basicsr.utils.registry import ARCH_REGISTRY

    import metaf2n_arch.archs.mask_net_arch  # noqa: F401  (where no bridge is installed)

    return build(ARCH_REGISTRY, architecture, 'architecture')


def _generator(net: nn.Module, scale: int, multiple: int, record: TrainingRecord | None) -> Generator:
    return Generator(net if multiple == 1 else AnySize(net, scale, multiple).eval(), scale, record)


@torch.no_grad()
def _tried(net: nn.Module, kind: str, record: TrainingRecord | None) -> Generator:
    """Finds scale and allowed sizes of a network by trying small images: BasicSR's networks do not tell them."""
    reason = ''
    for multiple in MULTIPLES:
        side = multiple * max(3, 2 * (8 // multiple) + 1)
        try:
            output = net(torch.zeros(1, 3, side, side))
        except Exception as error:  # networks raise any exception for a size that they do not take
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            continue
        fits = isinstance(output, Tensor) and output.ndim == 4 and output.shape[:2] == (1, 3)
        if fits and output.shape[-1] == output.shape[-2] and output.shape[-1] % side == 0:
            return _generator(net, output.shape[-1] // side, multiple, record)
        reason = f'it makes {tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__}'
    raise OptionError(f'architecture: {kind} does not map (1, 3, h, w) to (1, 3, s·h, s·w): {reason}.')
