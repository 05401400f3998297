"""One optimizer step over several batches, that several processes agree on and that no NaN survives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from metaf2n_arch.models.model_options import SafetyOptions
from metaf2n_arch.utils.checks import TrainingDiverged


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


def trained_by(*optimizers: torch.optim.Optimizer) -> list[Tensor]:
    """The parameters that optimizers train, in the order of their groups."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group['params']]


class Accumulation:
    """The mean of the gradients of several batches, so that one step learns from all of them.

    Each batch's loss counts alike: where losses are means over images (or tasks), the gradient is that of one batch
    with all the images. What compares the images of a batch with each other still sees one batch at a time.

    Args:
        number: batches for each step.

    Attributes:
        position: batches taken in since the last step.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.position = 0
        self._sums: list[Tensor | None] = []

    def complete(self, params: Sequence[Tensor]) -> bool:
        """Takes the ``.grad`` of a batch in; returns whether ``.grad`` now holds the mean of a step."""
        if self.number == 1:
            return True
        if self.position == 0:
            self._sums = [None] * len(params)
        for i, p in enumerate(params):
            if p.grad is not None:
                share = p.grad / self.number
                before = self._sums[i]
                self._sums[i] = share if before is None else before.add_(share)
        self.position = (self.position + 1) % self.number
        if self.position:
            return False
        for p, total in zip(params, self._sums):
            p.grad = total
        self._sums = []
        return True

    def state_dict(self) -> dict[str, Any]:
        """Empty between steps; else with the gradients so far, of this process."""
        if not self.position:
            return {}
        return {'position': self.position, 'sums': [None if g is None else g.cpu() for g in self._sums]}

    def load_state_dict(self, state: Mapping[str, Any], params: Sequence[Tensor]) -> None:
        """Takes the gradients back, unless they belong to another number of batches or other parameters."""
        sums = state.get('sums', [])
        if state.get('position', 0) >= self.number or len(sums) != len(params):
            return
        self.position = state['position']
        self._sums = [None if g is None else g.to(p.device) for p, g in zip(params, sums)]


class GuardedStep:
    """Steps an optimizer unless a gradient is not finite.

    Args:
        options: clipping norm, and how many bad steps in a row end the training.
        distributed: whether gradients are averaged over processes first.
        scaler: what scales losses for float16 gradients. An overflow lowers its scale, and is no bad step unless the
            scale has come down to 1.

    Attributes:
        skipped: bad steps so far; `in_a_row`: bad steps since the last good one.
    """

    def __init__(
        self, options: SafetyOptions, distributed: bool = False, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        self.options = options
        self.distributed = distributed
        self.scaler = scaler
        self.skipped = 0
        self.in_a_row = 0

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to differentiate in place of `loss`."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def __call__(self, optimizer: torch.optim.Optimizer, current_iter: int) -> bool:
        """Averages, checks, clips and steps; returns whether the step was taken.

        Raises:
            TrainingDiverged: after `max_bad_steps` bad steps in a row.
        """
        params = trained_by(optimizer)
        if self.distributed:
            average_gradients(params)
        scaler = self.scaler if any(p.grad is not None for p in params) else None
        if scaler is not None:
            scaler.unscale_(optimizer)
        limit = self.options.clip_grad_norm or float('inf')
        norm = torch.nn.utils.clip_grad_norm_(params, limit)
        if not torch.isfinite(norm):
            if scaler is None or scaler.get_scale() <= 1:
                self._count_bad_step(current_iter)
            if scaler is not None:
                scaler.update()
            return False
        self.in_a_row = 0
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        return True

    def state_dict(self) -> dict[str, Any]:
        scaling = {} if self.scaler is None else {'scaler': self.scaler.state_dict()}
        return {'skipped': self.skipped, 'in_a_row': self.in_a_row, **scaling}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.skipped, self.in_a_row = state['skipped'], state['in_a_row']
        if self.scaler is not None and 'scaler' in state:
            self.scaler.load_state_dict(state['scaler'])

    def _count_bad_step(self, current_iter: int) -> None:
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row >= self.options.max_bad_steps:
            raise TrainingDiverged(
                f'iteration {current_iter}: the gradient was not finite for {self.in_a_row} steps in a row; '
                'they changed no weight. Lower the learning rate or inner_lr, or set train.safety.clip_grad_norm.'
            )
