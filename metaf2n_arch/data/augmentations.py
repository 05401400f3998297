"""Augmentations that mix images of a batch (MixUp, CutMix, CutBlur, ResizeMix): the YAML list ``train.augmentations``.

A batch gets at most one of them, drawn with the given probabilities (mixture of augmentations, Yoo et al., CVPR 2020,
arXiv 2004.00448). Boxes are drawn on the low-quality pixel grid, so that both images of a pair are cut at the same
place. Below, s is the upscaling factor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from metaf2n_arch.functional.mixing import blend, draw_box, paste, paste_resized
from metaf2n_arch.utils.checks import OptionError, require_choice
from metaf2n_arch.utils.options import Strict, parse_block

Pair = tuple[Tensor, Tensor]


class Augmentation(Strict):
    """Base class of augmentations, with the option ``prob``."""

    keeps_degradation: ClassVar[bool] = False
    """Whether all low-quality images keep the common degradation of their task, as `MetaF2NModel` needs."""

    prob: float = Field(ge=0, le=1)
    """Probability that a batch gets this augmentation, 0 to 1; those of a list sum to at most 1."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        """Returns (lq, gt) augmented, of the same shapes.

        Args:
            lq: low-quality images, (B, C, h, w) in [0, 1].
            gt: ground truth, (B, C, s·h, s·w) in [0, 1], s an integer.
            rng: random generator of the draw.
        """
        raise NotImplementedError


class MixUp(Augmentation):
    """Convex combinations of two pairs, λ x + (1 - λ) y, λ ~ Beta(α, α) (Zhang et al., ICLR 2018, arXiv 1710.09412)."""

    alpha: float = Field(1.2, gt=0)
    """α of the Beta distribution; 1.2 in Yoo et al., 1 is uniform."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        share, shift = float(rng.beta(self.alpha, self.alpha)), _shift(lq, rng)
        return blend(lq, lq.roll(shift, 0), share), blend(gt, gt.roll(shift, 0), share)


class CutMix(Augmentation):
    """Pastes a box of another pair, 1 - λ of the area, λ ~ Beta(α, α) (Yun et al., ICCV 2019, arXiv 1905.04899)."""

    keeps_degradation = True

    alpha: float = Field(1.0, gt=0)
    """α of the Beta distribution; 1 draws the area uniformly."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        side, shift = math.sqrt(1 - rng.beta(self.alpha, self.alpha)), _shift(lq, rng)
        box = draw_box((lq.shape[-2], lq.shape[-1]), side, rng)
        return paste(lq, lq.roll(shift, 0), box), paste(gt, gt.roll(shift, 0), box.scaled(_scale(lq, gt)))


class CutBlur(Augmentation):
    """Replaces a box of the low-quality image, or all outside a box, by the downscaled ground truth (Yoo et al.).

    So the network learns where to restore and how much. The ground truth itself does not change. Downscaling is bicubic
    with antialiasing.
    """

    side: tuple[float, float] = (0.5, 0.9)
    """Range of the box's side over the image's side, drawn uniformly; 0.7 in the paper."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        box = draw_box((lq.shape[-2], lq.shape[-1]), float(rng.uniform(*self.side)), rng)
        good = F.interpolate(gt, size=lq.shape[-2:], mode='bicubic', antialias=True).clamp(0, 1)
        return paste(lq, good.to(lq.dtype), box, outside=bool(rng.random() < 0.5)), gt


class ResizeMix(Augmentation):
    """Pastes another pair, downscaled as a whole, into a box (Qin et al. 2020, arXiv 2012.11101).

    Low-quality image and ground truth are downscaled by the same factor, so the pasted part is less degraded than the
    rest.
    """

    side: tuple[float, float] = (0.1, 0.8)
    """Range of the box's side over the image's side, drawn uniformly; as in the paper."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        box, shift = draw_box((lq.shape[-2], lq.shape[-1]), float(rng.uniform(*self.side)), rng), _shift(lq, rng)
        scaled = box.scaled(_scale(lq, gt))
        return paste_resized(lq, lq.roll(shift, 0), box), paste_resized(gt, gt.roll(shift, 0), scaled)


KINDS: dict[str, type[Augmentation]] = {kind.__name__: kind for kind in (MixUp, CutMix, CutBlur, ResizeMix)}


class Augmentations:
    """At most one augmentation for each batch.

    Args:
        entries: the YAML list: ``type``, ``prob`` and the type's own options.
        where: key path of the list, for messages.
        degraded_alike: whether only augmentations with `keeps_degradation` are allowed.

    Raises:
        OptionError: an unknown type or option, an augmentation that is not allowed, or probabilities that sum to more
            than 1.
    """

    def __init__(
        self, entries: Sequence[Mapping[str, Any]], where: str = 'train.augmentations', degraded_alike: bool = False
    ) -> None:
        self.kinds = [_parsed(entry, f'{where}.{number}') for number, entry in enumerate(entries)]
        for number, kind in enumerate(self.kinds):
            if degraded_alike and not kind.keeps_degradation:
                raise OptionError(
                    f'{where}.{number}: {type(kind).__name__} changes how a task is degraded, but MetaF2NModel adapts '
                    'to one degradation per task; use CutMix, or the model GANSRModel.'
                )
        total = sum(kind.prob for kind in self.kinds)
        if total > 1 + 1e-9:
            raise OptionError(f'{where}: the probabilities sum to {total:g}, expected 1 at most; lower one of them.')

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        """Returns a batch (lq, gt), augmented or unchanged; see `Augmentation` for shapes and range."""
        chosen, passed = rng.random(), 0.0
        for kind in self.kinds:
            passed += kind.prob
            if chosen < passed:
                return kind(lq, gt, rng)
        return lq, gt


def _parsed(entry: Mapping[str, Any], where: str) -> Augmentation:
    if not isinstance(entry, Mapping) or 'type' not in entry:
        example = '{type: CutMix, prob: 0.5}'
        raise OptionError(f'{where} is {entry!r}, expected a mapping with a `type`, for example {example}.')
    require_choice(f'{where}.type', entry['type'], KINDS)
    kind = parse_block(KINDS[entry['type']], {k: v for k, v in entry.items() if k != 'type'}, where)
    side = getattr(kind, 'side', (0.0, 1.0))
    if not 0 <= side[0] <= side[1] <= 1:
        raise OptionError(f'{where}.side is {list(side)}, expected a range [low, high] inside 0 to 1.')
    return kind


def _shift(batch: Tensor, rng: np.random.Generator) -> int:
    """Number of places by which the batch is rolled to find partners; not 0, so that no image is mixed with itself."""
    return int(rng.integers(1, len(batch))) if len(batch) > 1 else 0


def _scale(lq: Tensor, gt: Tensor) -> int:
    return gt.shape[-1] // lq.shape[-1]
