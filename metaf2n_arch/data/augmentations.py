"""Augmentations that mix images of a batch (MixUp, CutMix, CutBlur, ResizeMix): the YAML list ``train.augmentations``.

A batch gets at most one of them, drawn with the probabilities given (the mixture of augmentations of Yoo et al., CVPR
2020, arXiv 2004.00448). Boxes lie on the low-quality grid, so that both images of a pair are cut at the same place.
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
    """What every augmentation has: how often it is used."""

    keeps_degradation: ClassVar[bool] = False
    """Whether the low-quality image is still degraded as its whole task is, as `MetaF2NModel` needs."""

    prob: float = Field(ge=0, le=1)
    """Share of the batches that get it, 0 to 1; those of a list sum to 1 at most."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        """Returns (lq, gt) augmented, of the same shapes.

        Args:
            lq: (B, C, h, w) in [0, 1].
            gt: (B, C, s h, s w) in [0, 1], s whole.
            rng: source of the draw.
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
    """A box of another pair with 1 - λ of the area, λ ~ Beta(α, α) (Yun et al., ICCV 2019, arXiv 1905.04899)."""

    keeps_degradation = True

    alpha: float = Field(1.0, gt=0)
    """α of the Beta distribution; 1 draws the area uniformly."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        side, shift = math.sqrt(1 - rng.beta(self.alpha, self.alpha)), _shift(lq, rng)
        box = draw_box((lq.shape[-2], lq.shape[-1]), side, rng)
        return paste(lq, lq.roll(shift, 0), box), paste(gt, gt.roll(shift, 0), box.scaled(_scale(lq, gt)))


class CutBlur(Augmentation):
    """A box of the low-quality image, or all but a box, made good: the truth shrunk in its place (Yoo et al.).

    The network learns where to restore and how much; the truth stays. Shrinking is bicubic with antialiasing.
    """

    side: tuple[float, float] = (0.5, 0.9)
    """Range of the box's sides over the image's, drawn uniformly; 0.7 in the paper."""

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        box = draw_box((lq.shape[-2], lq.shape[-1]), float(rng.uniform(*self.side)), rng)
        good = F.interpolate(gt, size=lq.shape[-2:], mode='bicubic', antialias=True).clamp(0, 1)
        return paste(lq, good.to(lq.dtype), box, outside=bool(rng.random() < 0.5)), gt


class ResizeMix(Augmentation):
    """Another pair, shrunk as a whole and pasted into a box (Qin et al. 2020, arXiv 2012.11101).

    Low-quality image and truth are shrunk alike, so that the pasted part is less degraded than the rest.
    """

    side: tuple[float, float] = (0.1, 0.8)
    """Range of the box's sides over the image's, drawn uniformly; the paper's."""

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
        degraded_alike: refuse those after which a low-quality image is not degraded as the rest of its task is.

    Raises:
        OptionError: an unknown type or option, or probabilities that sum to more than 1.
    """

    def __init__(
        self, entries: Sequence[Mapping[str, Any]], where: str = 'train.augmentations', degraded_alike: bool = False
    ) -> None:
        self.kinds = [_parsed(entry, f'{where}.{number}') for number, entry in enumerate(entries)]
        for number, kind in enumerate(self.kinds):
            if degraded_alike and not kind.keeps_degradation:
                raise OptionError(
                    f'{where}.{number}: {type(kind).__name__} changes how a task is degraded, to which MetaF2NModel is '
                    'to adapt; take CutMix, or GANSRModel.'
                )
        total = sum(kind.prob for kind in self.kinds)
        if total > 1 + 1e-9:
            raise OptionError(f'{where}: the probabilities sum to {total:g}, expected 1 at most: a batch gets one.')

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __call__(self, lq: Tensor, gt: Tensor, rng: np.random.Generator) -> Pair:
        """Returns a batch (lq, gt), augmented or as it is; the draw depends on `rng` alone, and is the first of it."""
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
    """By how many places the partners are rolled: never by none, so that no image is mixed with itself."""
    return int(rng.integers(1, len(batch))) if len(batch) > 1 else 0


def _scale(lq: Tensor, gt: Tensor) -> int:
    return gt.shape[-1] // lq.shape[-1]
