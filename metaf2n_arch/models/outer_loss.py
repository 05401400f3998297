"""Outer loss of one task, computed image by image where the sum is the same; also trains the discriminator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metaf2n_arch.losses.terms import Shares
from metaf2n_arch.meta import OuterTerm, Params
from metaf2n_arch.models.base_gan_sr import Values
from metaf2n_arch.models.critic import SharedCritic, mixes_images
from metaf2n_arch.models.tasks import Task

if TYPE_CHECKING:
    from metaf2n_arch.models.metaf2n_model import MetaF2NModel


class OuterLoss:
    """The outer loss of a task as a sum of terms (θ', φ, step) -> scalar.

    There is one term for each query image, if every loss is a sum over images (`LossTerms.shares`) and no network mixes
    the images of a batch. Then only the graph of one image is in memory at a time. Otherwise there is one term for all
    images.

    Args:
        model: the model, with its networks, losses and options.
        task: its query images are restored and compared with their ground truth.
        current_iter: iteration, for losses that start later.

    Attributes:
        terms: the terms, as `meta_gradient` expects them. Step 0 is the loss without adaptation. After the last inner
            step they also add the discriminator's gradient, from the same outputs.
        values: values to log, recorded after the last inner step.
    """

    def __init__(self, model: MetaF2NModel, task: Task, current_iter: int) -> None:
        self.model = model
        self.task = task
        self.current_iter = current_iter
        self.targets = model.targets(task.query_gt)
        self.values: Values = {}
        everything = slice(0, len(task.query_gt))
        shares = None
        if not mixes_images(model.net_g, model.net_d):
            shares = model.losses.shares({**self.targets, 'lq': task.query_lq}, current_iter)
        if shares is None:
            self.terms: list[OuterTerm] = [partial(self._term, everything, None)]
        else:
            counting = [(i, of) for i, of in enumerate(shares) if any(isinstance(s, Tensor) or s for s in of.values())]
            self.terms = [partial(self._term, slice(i, i + 1), of) for i, of in counting]

    def _term(self, images: slice, shares: Shares | None, theta: Params, phi: Params, step: int) -> Tensor:
        model = self.model
        lq = self.task.query_lq[images]
        pred = self._generate(theta, lq)
        targets = {name: None if x is None else x[images] for name, x in self.targets.items()}
        data = {**targets, 'lq': lq, 'confidence': phi['confidence']}
        critic = SharedCritic(model.critic) if model.net_d is not None else None
        last = step == model.meta.inner_steps
        influence = model.influence if last and torch.is_grad_enabled() else None
        total, values = model.losses.generator(pred, data, critic, self.current_iter, shares, influence)
        if last:
            model.doubts.output(pred, self.task.query_gt[images], self.current_iter)
            if critic is not None:
                weight = 1 / model.num_tasks
                values.update(model.teach_critic(pred, targets, critic, self.current_iter, shares, weight))
            for name, value in values.items():
                self.values[name] = self.values.get(name, 0) + value
        return total

    def _generate(self, theta: Params, lq: Tensor) -> Tensor:
        generate = self.model.generate
        if not self.model.meta.checkpointing:
            return generate(theta, lq)
        return checkpoint(generate, theta, lq, use_reentrant=False)
