"""Discriminator outputs shared by the generator's and the discriminator's loss of one training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


class SharedCritic:
    """A discriminator that evaluates the same images only once.

    The generator's loss needs the logits of its outputs. The discriminator's loss needs the logits of the same outputs,
    detached. A relativistic loss needs those of the real images in both. The discriminator's weights do not change
    between the two losses, so the logits are the same, and are stored. The stored logits keep the graph through the
    generator; so take the gradient of the discriminator's loss with respect to the discriminator's weights only.

    Args:
        judge: images (B, 3, H, W) -> logits; its weights require gradients.
    """

    def __init__(self, judge: Callable[[Tensor], Any]) -> None:
        self.judge = judge
        self.judged: list[tuple[Tensor, int, Any]] = []

    def __call__(self, images: Tensor) -> Any:
        for seen, version, logits in self.judged:
            if version == images._version and _same(images, seen):
                return self._given(logits)
        with torch.enable_grad():
            logits = self.judge(images)
        self.judged.append((images, images._version, logits))
        return self._given(logits)

    @staticmethod
    def _given(logits: Any) -> Any:
        if torch.is_grad_enabled():
            return logits
        return tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, logits)


def _same(images: Tensor, seen: Tensor) -> bool:
    """Whether `images` is `seen` or its detached version; a tensor that requires gradients needs its own graph."""
    if images is seen:
        return True
    return (
        not images.requires_grad
        and images.data_ptr() == seen.data_ptr()
        and (images.shape, images.stride(), images.dtype) == (seen.shape, seen.stride(), seen.dtype)
    )


def mixes_images(*nets: nn.Module | None) -> bool:
    """Returns whether the outputs for an image depend on the other images of the batch (batch normalisation)."""
    modules = [module for net in nets if net is not None for module in net.modules()]
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in modules)
