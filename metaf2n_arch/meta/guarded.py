"""Guarded inner step: adaptation to a photo that is tried on other patches first, and left out where it gains nothing.

A step on the faces of a photo can move its tones, or detail elsewhere, for the worse; the patches of the step cannot
see that. So each step size is tried on

- *held-out* patches of the same faces, which took no part in the step: their loss must fall, and
- *probes*, patches from all over the photo: their tones must not move away from those of the photo (`drift`). This
  needs no ground truth.

If a colour fix follows the generator, it undoes a change of tones, and would leave the rest of such a step. So the
inner loss can compare output and face behind it, see `Behind`: tones are then no part of the gradient.

The step size that lowers the held-out loss most is taken. If no step size meets both conditions, no step is taken.
Only what the decision needs is computed. Along the line of a step the loss falls and then rises, so that smaller steps
are not tried once one gains less than the larger one before it. Probes are computed for the best step size first, and
for the next one only if that is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaf2n_arch.meta.concatenation import saved_in_parts
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import Params, Rates, descend, detached, functional, names_to_adapt
from metaf2n_arch.meta.photo import FaceAdaptation, Gain, psnr
from metaf2n_arch.meta.support import Pair, crop, random_patches, weighted_l1

MOST_PATCHES = 32
"""Most patches of a photo in a step, spread over its faces, so that many faces cost little more than one."""

HELD_OUT = 8
"""Patches of a photo that take no part in the step."""

LEAST_GAIN = 0.002
"""Share of the held-out loss that a step must remove to be kept."""

DRIFT_GROWTH = 0.02
"""Share by which the drift of the probes may grow."""

FRACTIONS = (1.0, 0.3, 0.1)
"""Step sizes that are tried, as fractions of the first."""

PAPER_LR = 1e-2
"""Step size of the paper."""

UNTRAINED_LR = 3e-3
"""Largest step size that is tried for weights that were not meta-trained: a larger one smooths their results."""

PROBE = 32
"""Side of a probe in low-quality pixels."""

Finish = Callable[[Tensor, Tensor], Tensor]

Behind = Literal['neither', 'output', 'both']
"""Sides of the inner loss that pass `Guard.finish`. ``neither``: |hq - G(lq)|, the paper's. ``output``: |hq -
finish(G(lq))|, for a generator that was trained with it. ``both``: |finish(hq) - finish(G(lq))|, for a generator that
was not meta-trained."""


@dataclass(frozen=True)
class Guard:
    """Settings and probes of a guarded step.

    Attributes:
        probes: patches from all over the photo, (N, 3, h, w) RGB in [0, 1]; None: drift is not checked.
        drift: (outputs, probes) -> (N,), the distance of their tones.
        finish: (output, its patch) -> the finished output: processing behind the generator, such as a colour fix.
        behind: sides of the inner loss that pass `finish`; unless neither does, drift is measured behind it, too.
        fractions: fractions of the step size that are tried, from the largest on.
        force: keep the first fraction even if it gains nothing, as long as its loss is finite.
        before: the probes' outputs before any step; None computes them.
    """

    probes: Tensor | None
    drift: Callable[[Tensor, Tensor], Tensor]
    finish: Finish = lambda y, x: y
    behind: Behind = 'neither'
    fractions: Sequence[float] = FRACTIONS
    force: bool = False
    before: Tensor | None = None


@dataclass(frozen=True)
class Trial:
    """The result of one step size on the held-out patches."""

    fraction: float
    params: Params
    gain: Gain

    @property
    def gains(self) -> bool:
        """Whether the held-out loss falls by enough."""
        return self.gain.finite and self.gain.loss >= LEAST_GAIN


def spread(patches: int, faces: int, most: int = MOST_PATCHES) -> list[int]:
    """Numbers of patches of the faces: `patches` each, at most `most` in all, at least one for the first `most` faces.

    >>> spread(16, 1), spread(16, 3), sum(spread(16, 40))
    ([16], [11, 11, 10], 32)
    """
    if patches * faces <= most:
        return [patches] * faces
    return [most // faces + (number < most % faces) for number in range(faces)]


def spread_patches(faces: Sequence[Pair], patches: int, size: int, rng: np.random.Generator, most: int) -> Pair | None:
    """`random_patches` with at most `most` in all, spread over the faces that are not smaller than a patch."""
    large = [pair for pair in faces if min(pair[0].shape[-2:]) >= size]
    if not large:
        return random_patches(faces, patches, size, rng)
    if patches * len(large) <= most:
        return random_patches(large, patches, size, rng)
    order = rng.permutation(len(large))
    parts = []
    for count, index in zip(spread(patches, len(large), most), order):
        part = random_patches([large[index]], count, size, rng) if count else None
        parts += [] if part is None else [part]
    return torch.cat([lq for lq, _ in parts]), torch.cat([hq for _, hq in parts])


def adapt_guarded(
    net: nn.Module,
    mask: nn.Module | None,
    faces: Sequence[Pair],
    rng: np.random.Generator,
    guard: Guard,
    *,
    patches: int = 16,
    lq_patch_size: int = 16,
    inner_lr: Rates = 1e-2,
    inner_steps: int = 1,
    adapt_only: Collection[str] | None = None,
) -> FaceAdaptation | None:
    """Runs the inner loop as `adapt_to_faces` does, with the step size that `guard` finds best, if any.

    Args:
        net, mask, faces, rng, patches, lq_patch_size, inner_lr, inner_steps, adapt_only: see `adapt_to_faces`;
            `inner_lr` is the largest step size that is tried.
        guard: settings and probes.

    Returns:
        The adaptation: `kept` says whether to use it, `reason` why not. None without faces.
    """
    support = spread_patches(faces, patches, lq_patch_size, rng, MOST_PATCHES)
    if support is None:
        return None
    held = spread_patches(faces, HELD_OUT, lq_patch_size, rng, HELD_OUT)
    assert held is not None
    generate, theta = functional(net), detached(dict(net.named_parameters()))
    weight = _confidence(mask, support)
    lq, hq = support
    inner_loss = weighted_l1(
        generate if guard.behind == 'neither' else lambda params, x: guard.finish(generate(params, x), x),
        lambda *_: weight,
        lq,
        guard.finish(hq, lq) if guard.behind == 'both' else hq,
    )
    judge = Judge(generate, held, _confidence(mask, held), guard)
    with saved_in_parts():
        first = adapt(theta, {}, inner_loss, inner_lr=inner_lr, adapt_only=adapt_only, keep_gradients=True)
    names = names_to_adapt(theta, adapt_only)

    def step(fraction: float) -> Trial:
        rates: Rates = (
            {n: fraction * inner_lr[n] for n in names} if isinstance(inner_lr, dict) else fraction * float(inner_lr)
        )
        params = descend(theta, first.gradients[0], rates)
        if inner_steps > 1:
            with saved_in_parts():
                more = adapt(params, {}, inner_loss, inner_lr=rates, inner_steps=inner_steps - 1, adapt_only=adapt_only)
            params = more.fast_params
        return judge.trial(fraction, params)

    return chosen(map(step, guard.fractions), judge.keeps_tones, guard.force)


def chosen(trials: Iterable[Trial], keeps_tones: Callable[[Trial], bool], force: bool) -> FaceAdaptation:
    """Returns the trial that gains most and keeps the photo's tones; without one, a trial whose `kept` is False.

    Args:
        trials: at least one, from the largest step on; taken one by one, no more than needed.
        keeps_tones: whether a trial keeps the photo's tones.
        force: whether to keep the first trial, if its loss is finite, when no trial meets both conditions.
    """
    waiting, seen = iter(trials), list[Trial]()
    for some in (_to_the_peak(waiting), waiting):
        new = list(some)
        seen += new
        for trial in sorted((trial for trial in new if trial.gains), key=lambda trial: -trial.gain.loss):
            if keeps_tones(trial):
                return FaceAdaptation(trial.params, trial.gain, trial.fraction)
    first, gaining = seen[0], any(trial.gains for trial in seen)
    finite = [trial for trial in seen if trial.gain.finite]
    if not finite:
        return FaceAdaptation(first.params, first.gain, first.fraction, False, 'the loss diverged: lower inner_lr')
    if force and first.gain.finite:
        return FaceAdaptation(first.params, first.gain, first.fraction)
    best = max(finite, key=lambda trial: trial.gain.loss)
    reason = 'adaptation would shift the tones of the photo' if gaining else 'no gain on the faces'
    return FaceAdaptation(best.params, best.gain, best.fraction, False, reason)


def _to_the_peak(trials: Iterator[Trial]) -> Iterator[Trial]:
    """Trials up to the first one that gains less than the one before it."""
    before: Trial | None = None
    for trial in trials:
        yield trial
        if before is not None and before.gains and not trial.gain.loss >= before.gain.loss:
            return
        before = trial


class Judge:
    """Measures steps on the held-out patches and on the probes, against their values before any step."""

    def __init__(self, generate: Callable[[Params, Tensor], Tensor], held: Pair, weight: Tensor, guard: Guard) -> None:
        self.generate, self.guard = generate, guard
        self.lq, hq = held
        self.weight = weight
        # The colour fix changes the result, so held-out faces are compared behind it as well.
        self.hq = guard.finish(hq, self.lq).clamp(0, 1)
        self.loss_before, self.psnr_before = self._measure({})

    def trial(self, fraction: float, params: Params) -> Trial:
        """Measures one step on the held-out patches."""
        loss, decibels = self._measure(params)
        return Trial(fraction, params, Gain(self.loss_before, loss, self.psnr_before, decibels))

    def keeps_tones(self, trial: Trial) -> bool:
        """Whether the drift of the probes grows by `DRIFT_GROWTH` at most; True without probes."""
        if self.guard.probes is None:
            return True
        return self.drift(trial.params) <= self.drift_before * (1 + DRIFT_GROWTH) + 1e-4

    @cached_property
    def drift_before(self) -> float:
        """Drift of the probes before any step."""
        return self.drift({}, self.guard.before)

    @torch.no_grad()
    def drift(self, params: Params, output: Tensor | None = None) -> float:
        """Mean drift of the probes with `params`, or of their plain `output` if given; infinite if it is not finite."""
        assert self.guard.probes is not None
        output = self.generate(params, self.guard.probes) if output is None else output
        output = output.clamp(0, 1)
        if self.guard.behind != 'neither':
            output = self.guard.finish(output, self.guard.probes).clamp(0, 1)
        found = float(self.guard.drift(output, self.guard.probes).mean())
        return found if math.isfinite(found) else math.inf

    @torch.no_grad()
    def _measure(self, params: Params) -> tuple[float, float]:
        """Loss and PSNR on the held-out patches; NaN for what is no picture: further off than white is from black."""
        raw = self.generate(params, self.lq)
        if not float((self.hq - raw).abs().mean()) <= 1:  # also where a value is not finite
            return math.nan, math.nan
        output = self.guard.finish(raw.clamp(0, 1), self.lq).clamp(0, 1)
        return float((self.weight * (self.hq - output).abs()).mean()), psnr(output, self.hq)


def probes_of(photo: Tensor, size: int, count: int, rng: np.random.Generator) -> Tensor:
    """Patches from all over a photo (1, 3, H, W): one in each cell of a grid, at a random place; (N, 3, h, w).

    >>> probes_of(torch.rand(1, 3, 100, 60), 16, 6, np.random.default_rng(0)).shape
    torch.Size([6, 3, 16, 16])
    """
    height, width = photo.shape[-2:]
    high, wide = min(size, height), min(size, width)
    columns = max(1, min(count, round(math.sqrt(count * width / height))))
    rows = max(1, count // columns)
    patches = []
    for row in range(rows):
        for column in range(columns):
            top = (row + rng.random()) / rows * (height - high)
            left = (column + rng.random()) / columns * (width - wide)
            patches.append(crop(photo, int(top), int(left), high, wide))
    return torch.cat(patches)


@torch.no_grad()
def _confidence(mask: nn.Module | None, pair: Pair) -> Tensor:
    lq, hq = pair
    return hq.new_ones(1, 1, 1, 1) if mask is None else functional(mask)({}, lq, hq)
