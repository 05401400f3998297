"""Trainable networks of spandrel: built by name, for inputs of any size, with the tensor names of their own files.

spandrel has about forty super-resolution architectures, for running trained weights. This module makes them trainable
and adaptable: each accepts inputs of any size and several images at once, and all operations can be differentiated,
also in evaluation mode. Tensors keep their names, so that other programs that use spandrel can load weights trained
here.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaf2n_arch.utils.checks import DataError, OptionError, nearest

# Modules that in evaluation mode overwrite their inputs or merged weights, or accept one image only. In training mode
# they compute the same values by differentiable operations, so they always stay in training mode.
SAME_IN_TRAINING = ('Conv3XC', 'PLKConv2d', 'RectSparsePLKConv2d', 'SparsePLKConv2d', 'MoELayer')

REFUSED = {'IPT': 'takes patches of one size and joins them by itself'}


@dataclass(frozen=True)
class Needs:
    """Requirements of an architecture on its inputs, its scale and its call."""

    scale: int
    """Scale: side of an output / side of its input."""
    multiple: int
    """Number that divides the sides of an input."""
    least: int
    """Shortest side of an input, a multiple of `multiple`."""
    square: bool
    """Whether inputs must be square."""
    call: Callable[[Any, Tensor], Tensor]
    """spandrel's call of the network: some networks need a noise map, some return more than the image."""
    one_by_one: bool
    """Whether `call` was written for this architecture; it may then accept one image only."""


@functools.cache
def architectures() -> dict[str, tuple[Any, type[nn.Module]]]:
    """Returns spandrel's architectures and their networks, by the networks' names: ``SPAN``, ``RealPLKSR``, ``HAT``."""
    import spandrel

    found: dict[str, tuple[Any, type[nn.Module]]] = {}
    for support in spandrel.MAIN_REGISTRY.architectures():
        architecture = support.architecture
        module = importlib.import_module(type(architecture).__module__)
        for name, part in vars(module).items():
            if inspect.isclass(part) and issubclass(part, nn.Module):
                found[name] = (architecture, part)
    return found


def check_network(options: Mapping[str, Any], where: str) -> None:
    """Checks ``{type: Spandrel, arch: SPAN, ...}`` without building anything.

    Raises:
        OptionError: the network or an argument is unknown, or an argument is missing; the line names the nearest name.
    """
    known = architectures()
    name = options.get('arch')
    if name not in known:
        hint = nearest(str(name), known) or f' Known: {", ".join(sorted(known))}.'
        raise OptionError(f'{where}.arch is {name!r}, expected a network of spandrel.{hint}')
    if name in REFUSED:
        raise OptionError(f'{where}.arch is {name!r}, which {REFUSED[name]}; use another network of spandrel.')
    parameters = inspect.signature(known[str(name)][1]).parameters
    taken = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    open_ended = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    for key in options:
        if key not in ('type', 'arch', *taken) and not open_ended:
            hint = nearest(key, taken) or f' Known keys: {", ".join(taken)}.'
            raise OptionError(f'{where}.{key}: unknown key of {name}.{hint}')
    for key in taken:
        if parameters[key].default is inspect.Parameter.empty and key not in options:
            raise OptionError(f'{where}.{key}: missing; {name} needs it.')


def build_spandrel(arch: str, **hyperparameters: Any) -> nn.Module:
    """Builds a network of spandrel, ready to be trained.

    Args:
        arch: its name, one of `architectures`.
        hyperparameters: arguments of its constructor, by its own names.

    Raises:
        OptionError: see `check_network`, or values with which the network cannot be built.
    """
    check_network({'arch': arch, **hyperparameters}, 'Spandrel')
    architecture, kind = architectures()[arch]
    try:
        net = kind(**hyperparameters)
        described = architecture.load({name: x.clone() for name, x in net.state_dict().items()})
    except Exception as error:  # each network of spandrel fails in its own way on values that do not fit
        reason = (str(error).splitlines() or [''])[0][:160] or type(error).__name__
        raise OptionError(f'Spandrel: {arch} cannot be built with {hyperparameters}: {reason}.') from None
    return made_trainable(net, described)


def made_trainable(net: nn.Module, described: Any) -> nn.Module:
    """Changes a network of spandrel so that its `forward` accepts any size, and returns it.

    Args:
        net: the network.
        described: its `spandrel.ImageModelDescriptor`, or that of another network with the same options.

    Raises:
        OptionError: it does not map images to images.
    """
    import spandrel

    if not isinstance(described, spandrel.ImageModelDescriptor):
        raise OptionError(f'{type(net).__name__} does not map images to images; use another network.')
    sizes = described.size_requirements
    kind: Any = type(net)
    made: Any = net
    made.__class__ = _trainable(kind)
    call = described._call_fn
    own = not call.__module__.endswith('model_descriptor')
    made.needs = Needs(described.scale, sizes.multiple_of, max(1, sizes.minimum), sizes.square, call, own)
    made.architecture = described.architecture
    return net.train(net.training)


@functools.cache
def _trainable(kind: Any) -> Any:
    return type(kind.__name__, (_Trainable, kind), {'__module__': kind.__module__, '__doc__': kind.__doc__})


class _Trainable(nn.Module):
    """First base class of a trainable network of spandrel, see `made_trainable`."""

    needs: Needs
    architecture: Any

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) in [0, 1] -> (B, C, s·h, s·w), for any h and w."""
        height, width = image.shape[-2:]
        bare = _Bare(self, super().forward)
        given = self.padded(image)
        given = given.clone() if given is image else given  # RCAN writes into its input
        if self.needs.one_by_one:
            output = torch.cat([self.needs.call(bare, one) for one in given.split(1)])
        else:
            output = self.needs.call(bare, given)
        return output[..., : height * self.needs.scale, : width * self.needs.scale]

    def padded(self, image: Tensor) -> Tensor:
        """Pads images to a size that the network accepts: mirrored at bottom and right, or repeated if too small."""
        needs = self.needs
        if needs.multiple == needs.least == 1 and not needs.square:
            return image
        height, width = image.shape[-2:]
        down, right = (max(needs.least, -(-side // needs.multiple) * needs.multiple) for side in (height, width))
        if needs.square:
            down = right = max(down, right)
        down, right = down - height, right - width
        if not down and not right:
            return image
        mirrored = down < height and right < width
        return F.pad(image, (0, right, 0, down), mode='reflect' if mirrored else 'replicate')

    def train(self, mode: bool = True) -> _Trainable:
        super().train(mode)
        for module in self.modules():
            if type(module).__name__ in SAME_IN_TRAINING:
                module.training = True
        return self

    def in_own_names(self, state: Mapping[str, Tensor], path: object = 'the file') -> dict[str, Tensor]:
        """The tensors of a file that spandrel recognises, with the names that this network has for them.

        Raises:
            DataError: the file holds another architecture.
        """
        own = self.state_dict()
        if state.keys() == own.keys():
            return dict(state)
        import spandrel

        try:
            found = spandrel.ModelLoader(device='cpu').load_from_state_dict(dict(state))
        except Exception:  # not recognised: loading the tensors then reports which are missing
            return dict(state)
        if found.architecture.id != self.architecture.id:
            mine = self.architecture.name
            raise DataError(f'{path} holds a {found.architecture.name}, but the option file names a network of {mine}.')
        return dict(found.model.state_dict())


class _Bare:
    """A network as spandrel's own call expects it: its attributes, and its original `forward`."""

    def __init__(self, net: nn.Module, forward: Callable[..., Any]) -> None:
        self._net = net
        self._forward = forward

    def __call__(self, *inputs: Any) -> Any:
        return self._forward(*inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._net, name)


def scale_of(net: nn.Module) -> int | None:
    """The scale of a network of spandrel; None for any other network."""
    needs = getattr(net, 'needs', None)
    return needs.scale if isinstance(needs, Needs) else None
