"""One judgement of each image for both players of a training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


class SharedCritic:
    """A discriminator that judges the same images once, whoever asks.

    The generator's loss asks for the logits of its outputs, the discriminator's for those of the same outputs outside
    the graph; a relativistic loss asks for the real images' on both sides. The discriminator's weights do not change
    between the two, so neither do the logits. The logits of outputs keep their graph down to the generator: ask for
    the gradient of the discriminator's weights alone.

    Args:
        judge: images -> logits; its weights require gradients.
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
    """Whether `images` is `seen`, or the same memory outside the graph (a new leaf there wants a graph of its own)."""
    if images is seen:
        return True
    return (
        not images.requires_grad
        and images.data_ptr() == seen.data_ptr()
        and (images.shape, images.stride(), images.dtype) == (seen.shape, seen.stride(), seen.dtype)
    )


def mixes_images(*nets: nn.Module | None) -> bool:
    """Whether a network in training looks at all images of a batch together, as batch normalisation does."""
    modules = [module for net in nets if net is not None for module in net.modules()]
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in modules)
