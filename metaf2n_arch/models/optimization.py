"""Optimizer steps: gradients averaged over batches and processes, checked to be finite, clipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from metaf2n_arch.models.model_options import SafetyOptions
from metaf2n_arch.utils.checks import TrainingDiverged


def broadcast_from_first(net: nn.Module) -> None:
    """Copies the parameters and buffers of rank 0 to every process."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            dist.broadcast(tensor, src=0)


def average_gradients(params: Iterable[Tensor]) -> None:
    """Replaces each ``.grad`` by its mean over all processes, in one collective call.

    `DistributedDataParallel` averages in hooks of ``backward``, which `torch.autograd.grad` does not run. A missing
    gradient of one process counts as zero. If no process has a gradient of a tensor it stays None, because an optimizer
    would take a step on zeros too.
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
    """Returns the parameters of optimizers, in the order of their groups."""
    return [p for optimizer in optimizers for group in optimizer.param_groups for p in group['params']]


class Accumulation:
    """Gradient accumulation: the mean of the gradients of several batches, for one optimizer step.

    All batches have the same weight. If the losses are means over images (or tasks), the gradient equals that of one
    batch with all images. Losses and layers that compare the images of a batch still see one batch at a time.

    Args:
        number: batches per step.

    Attributes:
        position: batches added since the last step.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.position = 0
        self._sums: list[Tensor | None] = []

    def complete(self, params: Sequence[Tensor]) -> bool:
        """Adds the ``.grad`` of a batch; returns True if ``.grad`` now holds the mean for a step."""
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
        """Returns the accumulated gradients of this process; empty directly after a step."""
        if not self.position:
            return {}
        return {'position': self.position, 'sums': [None if g is None else g.cpu() for g in self._sums]}

    def load_state_dict(self, state: Mapping[str, Any], params: Sequence[Tensor]) -> None:
        """Restores the gradients; ignores them if the number of batches or the parameters have changed."""
        sums = state.get('sums', [])
        if state.get('position', 0) >= self.number or len(sums) != len(params):
            return
        self.position = state['position']
        self._sums = [None if g is None else g.to(p.device) for p, g in zip(params, sums)]


class GuardedStep:
    """Steps an optimizer, or skips the step if a gradient is not finite (a bad step).

    Args:
        options: clipping norm, and the number of bad steps in a row that ends the training.
        distributed: whether gradients are averaged over processes first.
        scaler: loss scaler for float16 gradients. An overflow lowers its scale; it counts as a bad step only once the
            scale is down to 1.

    Attributes:
        skipped: bad steps so far.
        in_a_row: bad steps since the last good one.
    """

    def __init__(
        self, options: SafetyOptions, distributed: bool = False, scaler: torch.amp.GradScaler | None = None
    ) -> None:
        self.options = options
        self.distributed = distributed
        self.scaler = scaler
        self.skipped = 0
        self.in_a_row = 0

    @property
    def scale(self) -> float:
        """The factor of losses; 1 without a scaler."""
        return 1.0 if self.scaler is None else self.scaler.get_scale()

    def scaled(self, loss: Tensor) -> Tensor:
        """Returns the loss to differentiate, or a gradient of it: multiplied by the scale if there is a scaler."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def __call__(self, optimizer: torch.optim.Optimizer, current_iter: int) -> bool:
        """Averages, checks and clips the gradients, and steps; returns whether the step was taken.

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
                'they were skipped. Lower the learning rate or inner_lr, or set train.safety.clip_grad_norm.'
            )
