"""Adaptation of a network to one photo by the faces in it, and the gain on these faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from metaf2n_arch.meta.concatenation import saved_in_parts
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import Params, Rates, functional
from metaf2n_arch.meta.support import Pair, random_patches, weighted_l1


@dataclass(frozen=True)
class Gain:
    """Loss and PSNR on patches of the faces, before and after adaptation.

    Attributes:
        loss_before, loss_after: the inner loss mean(W · |Y - G(X)|).
        psnr_before, psnr_after: of G(X) against Y over these patches and all channels, in dB, values clamped to [0, 1].
    """

    loss_before: float
    loss_after: float
    psnr_before: float
    psnr_after: float

    @property
    def loss(self) -> float:
        """Share of the inner loss that adaptation removed; negative if it grew."""
        return 1 - self.loss_after / self.loss_before if self.loss_before > 0 else 0.0

    @property
    def psnr(self) -> float:
        """PSNR that adaptation gained, in dB; negative if it fell."""
        return self.psnr_after - self.psnr_before

    @property
    def finite(self) -> bool:
        """Whether both losses are finite; with a too large inner_lr they diverge."""
        return math.isfinite(self.loss_before) and math.isfinite(self.loss_after)

    @property
    def diverged(self) -> bool:
        """Whether it is the step that has left nothing finite."""
        return math.isfinite(self.loss_before) and not math.isfinite(self.loss_after)


@dataclass(frozen=True)
class FaceAdaptation:
    """The parameters after the inner loop on a photo's faces.

    Attributes:
        fast_params: the parameters.
        gain: their gain on patches of the faces; None if it was not measured.
        fraction: fraction of the given step size that was taken.
        kept: whether to use the parameters; False if a guarded step (`adapt_guarded`) found no gain.
        reason: why not, if `kept` is False.
    """

    fast_params: Params
    gain: Gain | None = None
    fraction: float = 1.0
    kept: bool = True
    reason: str | None = None


def adapt_to_faces(
    net: nn.Module,
    mask: nn.Module | None,
    faces: Sequence[Pair],
    rng: np.random.Generator,
    *,
    patches: int = 16,
    lq_patch_size: int = 16,
    inner_lr: Rates = 1e-2,
    inner_steps: int = 1,
    adapt_only: Collection[str] | None = None,
    measure: int = 0,
    finish: Callable[[Tensor, Tensor], Tensor] = lambda output, lq: output,
) -> FaceAdaptation | None:
    """Runs the inner loop of MetaF2N (Yin et al., ICCV 2023, section 3.2) on random patches of a photo's faces.

    The networks are not changed. But each call replaces their parameters for a moment, so no other thread may use
    `net` or `mask` at the same time.

    Args:
        net: G, the generator.
        mask: MaskNet; None weighs all pixels alike, W = 1.
        faces: (X, Y) per face, (3, h, w) and (3, s·h, s·w) RGB in [0, 1], on the network's device.
        rng: random generator for the positions of the patches.
        patches: number of patches per face.
        lq_patch_size: side of a patch in pixels of X.
        inner_lr: α, or a rate for each adapted tensor.
        inner_steps: K.
        adapt_only: names of the parameters that are adapted; None for all.
        measure: number of patches of each face on which the gain is measured, by one more forward pass; 0 for none.
        finish: (output, its input) -> the output that the loss compares, for processing behind the generator.

    Returns:
        The parameters, with their gain if `measure` is not 0; None without faces.

    >>> net, faces = nn.Upsample(scale_factor=4), []
    >>> adapt_to_faces(net, None, faces, np.random.default_rng(0)) is None
    True
    """
    pair = random_patches(faces, patches, lq_patch_size, rng)
    if pair is None:
        return None
    lq, hq = pair
    call = functional(net)
    generate = Remembering(lambda theta, x: finish(call(theta, x), x))
    weight = hq.new_ones(1, 1, 1, 1)
    if mask is not None:
        with torch.no_grad():  # once for all steps: φ and the patches do not change
            weight = functional(mask)({}, lq, hq)
    inner_loss = weighted_l1(generate, lambda *_: weight, lq, hq)
    theta: Params = dict(net.named_parameters())
    with saved_in_parts():
        result = adapt(theta, {}, inner_loss, inner_lr=inner_lr, inner_steps=inner_steps, adapt_only=adapt_only)
    if not measure:
        return FaceAdaptation(result.fast_params)
    # The patches of a face follow one another. If all faces are smaller than a patch, one face is the only patch.
    some = [i for i in range(len(lq)) if i % patches < measure]
    hq, weight = hq[some], weight.expand(len(lq), -1, -1, -1)[some]
    before = generate.first[some]
    with torch.no_grad():
        after = generate(result.fast_params, lq[some])
    loss_before, loss_after = (float((weight * (hq - output).abs()).mean()) for output in (before, after))
    return FaceAdaptation(result.fast_params, Gain(loss_before, loss_after, psnr(before, hq), psnr(after, hq)))


def psnr(pred: Tensor, target: Tensor) -> float:
    """PSNR in dB, ``-10 log10 mean((pred - target)²)`` of values clamped to [0, 1]; infinite for equal images."""
    error = float((pred.float().clamp(0, 1) - target.float().clamp(0, 1)).square().mean())
    return -10 * math.log10(error) if error > 0 else math.inf


class Remembering:
    """A generator that keeps its first output, without its graph."""

    def __init__(self, generate: Callable[[Params, Tensor], Tensor]) -> None:
        self.generate = generate
        self.first: Tensor

    def __call__(self, theta: Params, x: Tensor) -> Tensor:
        output = self.generate(theta, x)
        if not hasattr(self, 'first'):
            self.first = output.detach()
        return output
