"""Outputs of one generator on the cases of the adaptation studies, without and with a step of adaptation.

    python tests/benchmarks/adaptation_outputs.py WEIGHTS OUT --portraits FOLDER ... --set14 SET14/GT [--steps auto]

Writes one file of float16 outputs per case and arm into OUT. Existing files are skipped, so a stopped run can be
started again. `adaptation_study.py` and `meta_training_table.py` measure these outputs. Outputs are computed in
float32, the gradient of the fixed step in bfloat16 (autocast), or with `--exact` in float32, which is slower. The
guarded step of `metaf2n restore` (`--steps auto`) is all in float32: bfloat16 would be misleading, because its rounding
changes the outputs more than such a step does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adaptation_material import FAMILIES, SUPPORTS, Case, Photo, degraded, images_of, portraits, put_low_back, set14
from torch import Tensor, nn

from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.functional.low_frequency import SHARPEST, drift
from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.functional.traits import pooled_traits
from metaf2n_arch.meta.guarded import PROBE, UNTRAINED_LR, Guard, adapt_guarded, probes_of
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import Params, functional
from metaf2n_arch.meta.support import random_patches, weighted_l1
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import load_generator, load_mask_net

INNER_LR = 1e-2
PATCHES, PATCH = 16, 16
"""Patches per face, and their side in pixels of the LQ, as in the paper."""
PROBES = 2
"""Number of probes, as in `metaf2n restore` for photos as small as these."""


def cases(photos: list[Photo], seeds: int, turns: bool = False) -> Iterator[Case]:
    """All photos with each family and seed. The outer loop is over seeds, so that a stopped run has complete seeds.

    With `turns` each photo has only one family: photos and seeds alternate between them.
    """
    for seed in range(seeds):
        for number, family in enumerate(FAMILIES):
            for position, photo in enumerate(photos):
                if not turns or (position + seed) % len(FAMILIES) == number:
                    yield degraded(photo, family, seed)


def step_direction(
    net: nn.Module, mask: nn.Module | None, case: Case, support: str, exact: bool, inside: bool
) -> Params:
    """The gradient of the inner loss on 16 patches of the face, by parameter; `inside`: behind `put_low_back`."""
    pair = random_patches([case.face(support)], PATCHES, PATCH, numpy_generator(case.seed))
    assert pair is not None
    lq, hq = pair
    with torch.no_grad():
        weight = hq.new_ones(1, 1, 1, 1) if mask is None else mask(lq, hq)
    call = functional(net, torch.channels_last)

    def generate(theta: Params, x: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16, enabled=not exact):
            output = call(theta, x).float()
        return put_low_back(output, x) if inside else output

    loss = weighted_l1(generate, lambda *_: weight, lq, hq)
    theta = dict(net.named_parameters())
    return adapt(theta, {}, loss, inner_lr=INNER_LR, keep_gradients=True).gradients[0]


def adapted(net: nn.Module, direction: Params, rate: float) -> Params:
    """θ - α · gradient."""
    return {name: p.detach() - rate * direction[name] for name, p in net.named_parameters()}


def guarded(net: nn.Module, mask: nn.Module | None, case: Case, support: str, color_fix: ColorFixName) -> Params:
    """The parameters after a step with `inner_lr: auto` and this colour fix; empty if no step is kept."""
    probes = probes_of(case.lq[None], PROBE, PROBES, numpy_generator(0))
    with torch.no_grad():
        before = functional(net, torch.channels_last)({}, probes).clamp(0, 1)
    finish = ColorFix(color_fix, traits=pooled_traits(before, probes))
    guard = Guard(probes, lambda y, x: drift(y, x, SHARPEST), finish, behind='both')
    rng = numpy_generator(case.seed)
    found = adapt_guarded(net, mask, [case.face(support)], rng, guard, inner_lr=UNTRAINED_LR)
    return found.fast_params if found is not None and found.kept else {}


def restored(net: nn.Module, theta: Params, lq: Tensor) -> np.ndarray:
    """G_θ(lq), (3, s·h, s·w) float16."""
    with torch.no_grad():
        return functional(net, torch.channels_last)(theta, lq[None])[0].numpy().astype(np.float16)


def file_of(out: Path, case: Case, arm: str) -> Path:
    """Path of the output of one case and arm."""
    return out / f'{case.photo.name}-{case.family}-{case.seed}-{arm.replace(" ", "_")}.npy'


def arms_of(case: Case, args: argparse.Namespace) -> list[str]:
    """Names of the arms of one case; a photo without a face has no arm with a step."""
    supports = args.supports if case.photo.face else []
    names = ['plain'] if 'none' in args.steps else []
    if '0.01' in args.steps:
        names += [f'0.01 {support}' for support in supports]
    if 'auto' in args.steps:
        names += [f'auto {kind} {support}' for kind in ('none', 'lowfreq') for support in supports]
    return names


def run(args: argparse.Namespace) -> None:
    """Computes the outputs that do not exist yet."""
    args.out.mkdir(parents=True, exist_ok=True)
    net = load_generator(args.weights).net.to(memory_format=torch.channels_last)
    if args.trained:
        net.load_state_dict(torch.load(args.trained, weights_only=True)['params'])
    mask = load_mask_net(args.mask) if args.mask else None
    start = time.process_time()
    for case in cases(study_photos(args), args.seeds, args.turns):
        for arm in arms_of(case, args):
            file = file_of(args.out, case, arm)
            if file.exists():
                continue
            step, _, rest = arm.partition(' ')
            theta: Params = {}
            if step == '0.01':
                theta = adapted(net, step_direction(net, mask, case, rest, args.exact, args.inside), INNER_LR)
            elif step == 'auto':
                kind, _, support = rest.partition(' ')
                theta = guarded(net, mask, case, support, kind)
            np.save(file, restored(net, theta, case.lq))
        print(case.photo.name, case.family, case.seed, f'{time.process_time() - start:.0f} s', flush=True)


def study_photos(args: argparse.Namespace) -> list[Photo]:
    """The last `--each` portraits of each folder, by name, and Set14's photographs without a face."""
    files = [file for folder in args.portraits for file in images_of(folder)[-args.each :]]
    return [*portraits(files, args.side), *set14(args.set14, side=args.side)]


def parser(**options: Any) -> argparse.ArgumentParser:
    """Parser of the options that choose the cases, for this command and those that measure its outputs."""
    shared = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )
    shared.add_argument('--portraits', type=Path, nargs='+', required=True, help='folders of aligned portraits')
    shared.add_argument('--each', type=int, default=4, help='number of portraits from each folder, the last by name')
    shared.add_argument('--set14', type=Path, required=True, help="Set14's GT folder")
    shared.add_argument('--side', type=int, default=192, help='side of the clean photos, in pixels')
    shared.add_argument('--seeds', type=int, default=3)
    shared.add_argument('--turns', action='store_true', help='iid or ood in turn instead of both for each photo')
    shared.add_argument('--supports', nargs='+', default=list(SUPPORTS), choices=SUPPORTS)
    return shared


if __name__ == '__main__':
    command = parser()
    command.add_argument('weights', type=Path)
    command.add_argument('out', type=Path)
    command.add_argument('--trained', type=Path, help='weights that `meta_training.py` has trained from these')
    command.add_argument('--mask', type=Path, help='weights of MaskNet; without them W = 1 in every pixel')
    command.add_argument('--steps', nargs='+', default=['none', '0.01'], choices=('none', '0.01', 'auto'))
    command.add_argument('--inside', action='store_true', help='take the fixed step behind the colour fix of training')
    command.add_argument('--exact', action='store_true', help='compute the inner gradient in float32')
    run(command.parse_args())
