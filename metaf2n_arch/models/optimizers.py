"""Optimizers by the name of their class: torch's, and those of schedulefree and pytorch_optimizer.

A schedule-free optimizer (Defazio et al., NeurIPS 2024, arXiv 2405.15682) computes gradients at a point y and is
evaluated at another point, the average x. Its methods `train()` and `eval()` switch between the two with rounding
errors, so that a validation would change the training after it. `at_average` restores y bitwise.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from metaf2n_arch.utils.checks import OptionError, nearest
from metaf2n_arch.utils.extras import install_command

MORE = ('schedulefree', 'pytorch_optimizer')
"""Libraries that are searched for an optimizer after ``torch.optim``, in this order."""
REFUSED = {
    'SparseAdam': 'takes sparse gradients only',
    'AliG': 'evaluates the loss in each step',
    'AdaHessian': 'differentiates the loss a second time',
    'SophiaH': 'differentiates the loss a second time',
}


def optimizer_class(name: object, where: str) -> type[Optimizer]:
    """Returns the optimizer class of that name, from ``torch.optim`` or one of the libraries `MORE`.

    Raises:
        OptionError: there is no such class (the message gives the nearest name), or it needs more than parameters and
            gradients.
    """
    found = _classes('torch.optim')
    missing = []
    for library in MORE:
        if name in found:
            break
        try:
            found = {**_classes(library), **found}
        except ImportError:
            missing.append(library)
    if not isinstance(name, str) or name not in found:
        remedy = f'; {" and ".join(missing)} (not installed) may have it: {install_command("optimizers")}'
        more = f'{remedy if missing else ""}.'
        also = ' or '.join(library for library in ('torch.optim', *MORE) if library not in missing)
        raise OptionError(f'{where} is {name!r}, expected an optimizer of {also}{more}{nearest(str(name), found)}')
    kind = found[name]
    reason = _why_not(name, kind)
    if reason:
        library = kind.__module__.partition('.')[0]
        library = 'torch.optim' if library == 'torch' else library
        raise OptionError(f'{where} is {name!r}, which {reason}; use another one of {library}.')
    return kind


def _classes(library: str) -> dict[str, type[Optimizer]]:
    module = importlib.import_module(library)
    classes = {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, Optimizer)}
    return {n: c for n, c in classes.items() if c is not Optimizer and n != 'BaseOptimizer'}


def _why_not(name: str, kind: type[Optimizer]) -> str | None:
    """Why an optimizer cannot work with given gradients alone; None if it can."""
    if name in REFUSED:
        return REFUSED[name]
    taken = list(inspect.signature(kind).parameters)
    if taken[0] != 'params' or 'base_optimizer' in taken:
        return 'wraps another optimizer or a model'
    closure = inspect.signature(kind.step).parameters.get('closure')
    if closure is not None and closure.default is inspect.Parameter.empty:
        return 'evaluates the loss several times in a step'
    return None


def build_optimizer(options: Mapping[str, Any], params: Iterable[Any], where: str) -> Optimizer:
    """Builds an optimizer from its block ``{type: ..., lr: ..., ...}``, in training mode.

    Raises:
        OptionError: the type or a key is unknown (the message gives the nearest one), or the optimizer rejects a value.
    """
    arguments = dict(options)
    name = arguments.pop('type')
    kind: Any = optimizer_class(name, f'{where}.type')
    for key in arguments:  # pytorch_optimizer ignores unknown arguments
        if key not in (known := own_options(kind)):
            raise OptionError(f'{where}.{key}: unknown key of {name}.{nearest(key, known)}')
    try:
        return in_training(kind(params, **arguments))
    except Exception as error:  # an optimizer may raise any exception for a wrong value
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip('.')
        raise OptionError(f'{where}: {name} rejects these options: {reason}.') from None


def own_options(kind: type[Optimizer]) -> set[str]:
    """Returns the names of an optimizer's options; its parameter groups may hold further, internal values."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name for p in parameters if p.kind != p.VAR_KEYWORD} - {'params'}


def in_training(optimizer: Optimizer) -> Optimizer:
    """Puts a schedule-free optimizer into training mode; returns any optimizer."""
    if switches(optimizer):
        optimizer.train()  # type: ignore[attr-defined]  # `switches` has checked it
    return optimizer


def switches(optimizer: Optimizer) -> bool:
    """Whether an optimizer is schedule-free: the weights to train at and the weights to use differ."""
    return callable(getattr(optimizer, 'train', None)) and callable(getattr(optimizer, 'eval', None))


def training_point(optimizer: Optimizer) -> list[Tensor]:
    """Returns copies of the parameters in training mode, in the order of the optimizer's groups."""
    return [p.detach().clone() for group in optimizer.param_groups for p in group['params']]


def back_to(optimizer: Optimizer, point: Sequence[Tensor]) -> None:
    """Restores the parameters from a `training_point`."""
    with torch.no_grad():
        for p, value in zip((p for group in optimizer.param_groups for p in group['params']), point):
            p.copy_(value)


@contextmanager
def at_average(optimizers: Iterable[Optimizer]) -> Iterator[None]:
    """Switches networks to the averaged weights, to validate and save, inside the block; then restores them bitwise."""
    away = [(optimizer, training_point(optimizer)) for optimizer in optimizers if switches(optimizer)]
    for optimizer, _ in away:
        optimizer.eval()  # type: ignore[attr-defined]  # `switches` has checked it
    try:
        yield
    finally:
        for optimizer, point in away:
            optimizer.train()  # type: ignore[attr-defined]  # as above
            back_to(optimizer, point)
