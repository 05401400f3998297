"""Super-resolution model for any list of losses, adversarial or not, on prepared pairs or on drawn degradations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from metaf2n_arch.degradation import apply_batch
from metaf2n_arch.models.base_gan_sr import BaseGANSRModel, Values
from metaf2n_arch.models.critic import SharedCritic
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.registries import register


@register(MODEL_REGISTRY)
class GANSRModel(BaseGANSRModel):
    """Training as of ESRGAN (Wang et al., ECCVW 2018) with the losses of the YAML list ``train.losses``.

    It takes pairs ``lq`` and ``gt`` of BasicSR's paired data sets, or ``gt`` and ``degradation`` of
    `DegradationDataset`; then the degradation is applied on the model's device. For a first phase with L1 only, give
    the other losses a `start_iter`. Without an adversarial loss there is no discriminator.
    """

    def init_training_settings(self) -> None:
        super().init_training_settings()
        if self.performance.options.compile is not None:
            self.net_g.compile(backend=self.performance.options.compile)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Takes a batch to the device, and applies its degradation if it has one.

        Args:
            data: ``lq`` (B, 3, h, w) and ``gt`` (B, 3, s·h, s·w), or ``gt`` and ``degradation``; optionally ``mask``
                (B, 1, s·h, s·w). RGB in [0, 1].

        Raises:
            DataError: a batch of `MetaF2NDataset`, or masks together with augmentations.
        """
        if 'face' in data:
            raise DataError(
                'GANSRModel got tasks of faces and images, which only MetaF2NModel can train on; for images without '
                'faces use the data set type DegradationDataset.'
            )
        self.gt: Tensor | None = data['gt'].to(self.device) if 'gt' in data else None
        self.mask = data['mask'].to(self.device) if 'mask' in data else None
        if self.mask is not None and self.is_train and self.augmentations:
            raise DataError(
                'train.augmentations mixes images, so the masks of the data set do not fit any more; remove the '
                'augmentations or the masks. Without masks a loss computes its own.'
            )
        if 'degradation' in data:
            self.lq = apply_batch(data['gt'].to(self.device), data['degradation'])
        else:
            self.lq = data['lq'].to(self.device)

    def compute_gradients(self, current_iter: int) -> Values:
        assert self.gt is not None, 'training needs ground truth'
        self.lq, self.gt = self.augmented(self.lq, self.gt, current_iter)
        pred = self.fixed(self.performance.faster(self.net_g)(self.lq), self.lq, training=True)
        self.doubts.output(pred, self.gt, current_iter)
        targets = self.targets(self.gt)
        critic = SharedCritic(self.critic) if self.net_d is not None else None
        data = {**targets, 'lq': self.lq, 'mask': self.mask}
        total, values = self.losses.generator(pred, data, critic, current_iter, influence=self.influence)
        if critic is not None:
            values.update(self.teach_critic(pred, targets, critic, current_iter))
        if total.requires_grad:  # false before the first start_iter
            self.step_g.scaled(total).backward(inputs=self.trained_parameters())
        return {**values, 'l_g_total': total.detach()}

    def test(self) -> None:
        """Restores the batch into `output`, (B, 3, s·h, s·w) RGB, without gradients."""
        with self.restoring() as net, torch.no_grad():
            self.output = self.fixed(net(self.lq), self.lq)

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """Returns ``lq``, ``result`` and, if there is one, ``gt``: RGB tensors on the CPU."""
        visuals = OrderedDict(lq=self.lq.detach().cpu(), result=self.output.detach().cpu())
        if self.gt is not None:
            visuals['gt'] = self.gt.cpu()
        return visuals
