"""Meta-batch: gradients of many tasks, one task in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from metaf2n_arch.meta.outer import MetaGradient
from metaf2n_arch.meta.params import Params


def accumulate(gradients: Iterable[MetaGradient]) -> MetaGradient:
    """Averages the gradients and losses of the tasks of a meta-batch.

    Pass a Python generator: each task is then computed, added and freed before the next begins, so that memory does not
    grow with the number of tasks. `fast_params`, which belong to one task, are not kept.

    Raises:
        ValueError: there is no task.

    >>> import torch
    >>> def task(x):
    ...     return MetaGradient({'w': torch.tensor(x)}, {}, None, [torch.tensor(x)], [torch.tensor(x)], {})
    >>> accumulate(task(x) for x in (1.0, 3.0)).theta['w']
    tensor(2.)
    """
    total, count = None, 0
    for gradient in gradients:
        total = _sum(total, gradient)
        count += 1
        del gradient
    if total is None:
        raise ValueError('There is no task to accumulate; expected at least one.')
    return MetaGradient(
        theta=_divided(total.theta, count),
        phi=_divided(total.phi, count),
        inner_lr=None if total.inner_lr is None else _divided(total.inner_lr, count),
        outer_losses=[loss / count for loss in total.outer_losses],
        inner_losses=[loss / count for loss in total.inner_losses],
        fast_params={},
    )


def assign_gradients(parameters: Mapping[str, Tensor], gradients: Params) -> None:
    """Writes each gradient to the parameter's ``.grad``, which the optimizer reads; `None` for those without one."""
    for name, parameter in parameters.items():
        gradient = gradients.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.dtype)


def _sum(total: MetaGradient | None, more: MetaGradient) -> MetaGradient:
    """The sum of both; `total`, a copy of the first task made here, is changed in place."""
    if total is None:
        return MetaGradient(
            theta=_copied(more.theta),
            phi=_copied(more.phi),
            inner_lr=None if more.inner_lr is None else _copied(more.inner_lr),
            outer_losses=[loss.clone() for loss in more.outer_losses],
            inner_losses=[loss.clone() for loss in more.inner_losses],
            fast_params={},
        )
    pairs = [(total.theta, more.theta), (total.phi, more.phi), (total.inner_lr or {}, more.inner_lr or {})]
    for ours, theirs in pairs:
        for name, value in theirs.items():
            ours[name].add_(value)
    for mine, its in ((total.outer_losses, more.outer_losses), (total.inner_losses, more.inner_losses)):
        for loss, value in zip(mine, its):
            loss.add_(value)
    return total


def _copied(params: Params) -> Params:
    return {name: p.clone() for name, p in params.items()}


def _divided(params: Params, count: int) -> Params:
    return {name: p / count for name, p in params.items()}
