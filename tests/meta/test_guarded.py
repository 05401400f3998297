"""The guarded step: which trial is taken, against rules written out, and what a trial measures, against formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.functional.low_frequency import drift
from metaf2n_arch.meta.guarded import (
    LEAST_GAIN,
    Guard,
    Judge,
    Trial,
    adapt_guarded,
    chosen,
    probes_of,
    spread,
)
from metaf2n_arch.meta.params import functional
from metaf2n_arch.meta.photo import Gain


def trial(fraction: float, loss_after: float) -> Trial:
    return Trial(fraction, {'at': torch.tensor(fraction)}, Gain(1.0, loss_after, 20.0, 20.0))


ENOUGH = 1 - 2 * LEAST_GAIN


@pytest.mark.parametrize(
    ('losses', 'bad_tones', 'expected', 'asked', 'reason'),
    [
        # The largest gain of those that leave the tones alone; who gains less is not asked about tones.
        ({1: 0.5, 0.3: 0.8, 0.1: 0.9}, {1}, 0.3, [1, 0.3], None),
        ({1: 0.9, 0.3: 0.8}, set(), 0.3, [0.3], None),
        ({1: 1 - LEAST_GAIN / 2}, set(), None, [], 'no gain on the faces'),
        ({1: 1.1}, set(), None, [], 'no gain on the faces'),
        ({1: ENOUGH}, {1}, None, [1], 'adaptation would shift the tones of the photo'),
        ({1: math.nan}, set(), None, [], 'the loss diverged: lower inner_lr'),
        ({1: math.nan, 0.1: ENOUGH}, set(), 0.1, [0.1], None),
    ],
)
def test_the_trial_that_gains_most_and_keeps_the_tones_is_taken(losses, bad_tones, expected, asked, reason):
    seen = []
    found = chosen(
        [trial(*pair) for pair in losses.items()],
        lambda trial: seen.append(trial.fraction) or trial.fraction not in bad_tones,
        force=False,
    )
    assert found.kept == (expected is not None)
    assert found.reason == reason
    assert seen == asked
    if found.kept:
        assert found.fraction == expected
        assert found.fast_params['at'].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ('losses', 'bad_tones', 'tried'),
    [
        ({1: 0.7, 0.3: 0.8, 0.1: 0.9}, set(), [1, 0.3]),
        ({1: 0.9, 0.3: 0.8, 0.1: 0.9}, set(), [1, 0.3, 0.1]),
        ({1: 1.2, 0.3: 1.1, 0.1: 0.9}, set(), [1, 0.3, 0.1]),
        ({1: 0.7, 0.3: 0.8, 0.1: 0.9}, {1, 0.3}, [1, 0.3, 0.1]),
        ({1: 0.7, 0.3: math.nan, 0.1: 0.9}, set(), [1, 0.3]),
    ],
)
def test_smaller_steps_are_tried_only_where_they_can_gain_more_or_are_needed(losses, bad_tones, tried):
    """The choice is that among all trials, as long as the loss has one lowest point along the line of the step."""
    made = []
    found = chosen(
        (made.append(fraction) or trial(fraction, loss) for fraction, loss in losses.items()),
        lambda trial: trial.fraction not in bad_tones,
        force=False,
    )
    assert made == tried
    every = {fraction: loss for fraction, loss in losses.items() if fraction not in bad_tones and loss < 1}
    assert found.kept
    assert found.fraction == min(every, key=every.__getitem__)


def test_force_keeps_a_finite_step_and_no_other():
    assert chosen([trial(1, 1.1)], lambda trial: False, force=True).kept
    assert not chosen([trial(1, math.nan)], lambda trial: True, force=True).kept


class Shifting(nn.Module):
    """The enlarged photo plus a tone: its only detail is the photo's, so that a step can move tone alone."""

    def __init__(self) -> None:
        super().__init__()
        self.tone = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(x, scale_factor=4) + self.tone


@pytest.fixture(scope='module')
def face(astronaut_tensor):
    hq = astronaut_tensor[0, :, 0:160, 160:320]
    return nn.functional.avg_pool2d(hq, 4), hq


def guard_of(probes, **changes):
    return Guard(probes, lambda y, x: drift(y, x, 1.0), **changes)


def test_a_judge_measures_loss_and_drift_as_by_hand(face):
    lq, hq = face[0][None], face[1][None]
    net = Shifting()
    judge = Judge(functional(net), (lq, hq), torch.ones(1, 1, 1, 1), guard_of(lq))
    found = judge.trial(1.0, {'tone': torch.full((3, 1, 1), 0.05)})
    output = (nn.functional.interpolate(lq, scale_factor=4) + 0.05).clamp(0, 1)
    assert found.gain.loss_after == pytest.approx(float((output - hq).abs().mean()), rel=1e-5)
    assert judge.drift(found.params) == pytest.approx(float(drift(output, lq, 1.0)), rel=1e-5)
    assert judge.drift_before < 1e-6
    assert not judge.keeps_tones(found)


def test_drift_is_that_of_the_result_where_the_step_is_taken_behind_the_fix(face):
    lq, hq = face[0][None], face[1][None]
    fix, net, tone = ColorFix('lowfreq'), Shifting(), {'tone': torch.full((3, 1, 1), 0.05)}
    output = (nn.functional.interpolate(lq, scale_factor=4) + 0.05).clamp(0, 1)
    for behind, seen in (('neither', output), ('output', fix(output, lq).clamp(0, 1))):
        guard = guard_of(lq, finish=fix, behind=behind)
        judge = Judge(functional(net), (lq, hq), torch.ones(1, 1, 1, 1), guard)
        assert judge.drift(tone) == pytest.approx(float(drift(seen, lq, 1.0)), rel=1e-5)


def test_outputs_that_are_known_are_not_computed_again(face):
    """One gradient; held-out patches before and after each step; probes after each step that gains."""
    lq, hq = face
    net, sizes = Shifting(), []
    net.register_forward_hook(lambda module, given, output: sizes.append(len(given[0])))
    probes = lq[None].repeat(3, 1, 1, 1)
    guard = guard_of(probes, before=nn.functional.interpolate(probes, scale_factor=4))
    found = adapt_guarded(net, None, [(lq, (hq + 0.1).clamp(0, 1))], np.random.default_rng(0), guard, lq_patch_size=12)
    assert not found.kept
    assert sizes == [8, 16, 8, 8, 3, 3, 8, 3]  # the smallest step only after the others are refused


@pytest.mark.parametrize('cast', [0.0, 0.1])
def test_a_cast_of_the_restorer_is_learned_only_where_nobody_looks_at_the_photo(face, cast):
    """The probes refuse the step; without them it is taken, because the held-out patches have the cast, too."""
    lq, hq = face
    pair = lq, (hq + cast).clamp(0, 1)
    results = {}
    for name, probes in (('seen', lq[None]), ('blind', None)):
        rng = np.random.default_rng(0)
        results[name] = adapt_guarded(Shifting(), None, [pair], rng, guard_of(probes), inner_lr=0.3, lq_patch_size=12)
    assert not results['seen'].kept
    assert results['blind'].kept == bool(cast)


@pytest.mark.parametrize('behind', ['neither', 'output', 'both'])
def test_the_step_compares_output_and_face_behind_the_fix_as_asked(face, behind):
    """The inner loss written out, on a net that moves tone and detail; the one patch is the whole face."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(3, 3, 3, padding=1))
    lq, hq = (side[None] for side in face)
    fix = ColorFix('lowfreq')
    guard = guard_of(None, finish=fix, behind=behind, fractions=(1.0,), force=True)
    options = {'patches': 1, 'lq_patch_size': lq.shape[-1], 'inner_lr': 0.02}
    found = adapt_guarded(net, None, [face], np.random.default_rng(0), guard, **options)
    output = net(lq) if behind == 'neither' else fix(net(lq), lq)
    target = fix(hq, lq) if behind == 'both' else hq
    gradients = torch.autograd.grad((output - target).abs().mean(), list(net.parameters()))
    for (name, p), g in zip(net.named_parameters(), gradients):
        torch.testing.assert_close(found.fast_params[name], p.detach() - 0.02 * g, rtol=1e-4, atol=1e-6)


def test_a_step_behind_the_fix_does_not_learn_the_restorers_cast(face):
    """A net of tone alone has nothing to gain there, with or without a cast; compared plainly, it takes the cast."""
    lq, hq = face
    moved = {}
    for behind in ('neither', 'both'):
        guard = guard_of(None, finish=ColorFix('lowfreq'), behind=behind, fractions=(1.0,), force=True)
        rng = np.random.default_rng(0)
        pair = lq, (hq + 0.1).clamp(0, 1)
        found = adapt_guarded(Shifting(), None, [pair], rng, guard, inner_lr=0.3, lq_patch_size=40)
        moved[behind] = float(found.fast_params['tone'].mean())
    assert moved['neither'] > 0.05
    assert abs(moved['both']) < 0.1 * moved['neither']


def test_patches_are_shared_out_and_probes_lie_all_over():
    for faces in (1, 2, 3, 7, 40):
        counts = spread(16, faces)
        assert sum(counts) == min(16 * faces, 32)
        assert max(counts) - min(counts) <= 1
    place = torch.arange(100.0).expand(1, 1, 60, 100)
    found = probes_of(torch.cat([place, place.new_zeros(place.shape)], 1), 16, 6, np.random.default_rng(0))
    assert len({float(patch[0, 0, 0]) // 34 for patch in found}) == 3
