"""One optimizer step that several processes agree on and that no NaN survives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from metaf2n_arch.models.model_options import SafetyOptions
from metaf2n_arch.utils.checks import OptionError, TrainingDiverged, nearest

NOT_FROM_GRADIENTS = {
    'LBFGS': 'evaluates the loss several times in a step',
    'SparseAdam': 'takes sparse gradients alone',
}


def optimizer_class(name: object, where: str) -> type[torch.optim.Optimizer]:
    """Returns the class of ``torch.optim`` of that name.

    Raises:
        OptionError: there is none (with the nearest one), or it wants more than gradients.
    """
    classes = {n: c for n, c in vars(torch.optim).items() if isinstance(c, type)}
    known = {n: c for n, c in classes.items() if issubclass(c, torch.optim.Optimizer) and n != 'Optimizer'}
    if name not in known:
        raise OptionError(f'{where} is {name!r}, expected an optimizer of torch.optim.{nearest(str(name), known)}')
    if name in NOT_FROM_GRADIENTS:
        raise OptionError(f'{where} is {name!r}, which {NOT_FROM_GRADIENTS[name]}; take another of torch.optim.')
    return known[str(name)]


def build_optimizer(options: Mapping[str, Any], params: Iterable[Any], where: str) -> torch.optim.Optimizer:
    """Builds any optimizer of ``torch.optim`` by its class name.

    Raises:
        OptionError: for a name torch does not have (with the nearest one) or arguments the optimizer refuses.
    """
    arguments = dict(options)
    name = arguments.pop('type')
    kind = optimizer_class(name, f'{where}.type')
    try:
        return kind(params, **arguments)
    except (TypeError, ValueError) as error:
        raise OptionError(f'{where}: torch.optim.{name} refuses these options: {error}.') from None


def broadcast_from_first(net: nn.Module) -> None:
    """Gives every process the parameters and buffers of rank 0."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            dist.broadcast(tensor, src=0)


def average_gradients(params: Iterable[Tensor]) -> None:
    """Replaces each ``.grad`` by its mean over all processes, in one message.

    `DistributedDataParallel` averages in hooks of ``backward``, which gradients made by `torch.autograd.grad` never
    run. Where one process has no gradient of a tensor it counts as zero; where none has, there is none afterwards
    either, as an optimizer takes a step on zeros, too.
    """
    params = list(params)
    having = torch.tensor([p.grad is not None for p in params], dtype=params[0].dtype, device=params[0].device)
    sent = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
    flat = torch.cat([having, *(g.reshape(-1) for g in sent)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    having, *means = flat.split([len(params), *(p.numel() for p in params)])
    for p, g, share, mean in zip(params, sent, having.tolist(), means):
        p.grad = g.copy_(mean.view_as(g)) if share else None


class GuardedStep:
    """Steps an optimizer unless a gradient is not finite.

    Args:
        options: clipping norm, and how many bad steps in a row end the training.
        distributed: whether gradients are averaged over processes first.

    Attributes:
        skipped: bad steps so far; `in_a_row`: bad steps since the last good one.
    """

    def __init__(self, options: SafetyOptions, distributed: bool = False) -> None:
        self.options = options
        self.distributed = distributed
        self.skipped = 0
        self.in_a_row = 0

    def __call__(self, optimizer: torch.optim.Optimizer, current_iter: int) -> bool:
        """Averages, checks, clips and steps; returns whether the step was taken.

        Raises:
            TrainingDiverged: after `max_bad_steps` bad steps in a row.
        """
        params = [p for group in optimizer.param_groups for p in group['params']]
        if self.distributed:
            average_gradients(params)
        limit = self.options.clip_grad_norm or float('inf')
        norm = torch.nn.utils.clip_grad_norm_(params, limit)
        if not torch.isfinite(norm):
            self._count_bad_step(current_iter)
            return False
        self.in_a_row = 0
        optimizer.step()
        return True

    def state_dict(self) -> dict[str, int]:
        return {'skipped': self.skipped, 'in_a_row': self.in_a_row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.skipped, self.in_a_row = state['skipped'], state['in_a_row']

    def _count_bad_step(self, current_iter: int) -> None:
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.options.max_bad_steps:
            raise TrainingDiverged(
                f'iteration {current_iter}: the gradient was not finite for {self.in_a_row} steps in a row; '
                'they changed no weight. Lower the learning rate or inner_lr, or set train.safety.clip_grad_norm.'
            )
