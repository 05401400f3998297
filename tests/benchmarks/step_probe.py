"""What would make one step gain detail: which tensors move, how far, on how many patches, with which loss.

    python tests/benchmarks/step_probe.py measure WEIGHTS [--trained ARM --mask MASK] --name NAME CASES
    python tests/benchmarks/step_probe.py lost WEIGHTS --name NAME CASES
    python tests/benchmarks/step_probe.py table

CASES as for `adaptation_outputs.py`. Every gain is θ′ against θ with the colour fix on both sides, so that tone does
not count. As an upper bound the direction `oracle` knows the truth: the gradient of the whole photo's error behind the
colour fix; a blur without a step shows what smoothing is worth, which raises PSNR, too. `measure` adds rows to
results/step_probe.csv after each case and passes over those that are there; `lost` adds a step behind the colour fix
for each case in which a guarded step that compares plainly lost (in results/adaptation_study.csv); `table` makes
results/step_probe.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import adaptation_study as study
import torch
from adaptation_material import Case, blur, put_low_back
from adaptation_outputs import INNER_LR, PATCH, cases, parser, study_photos
from adaptation_rows import METRICS
from adaptation_rows import measure as quality
from adaptation_study import RESULTS, setting_of
from step_probe_rows import (
    BEHIND,
    BLUR,
    DIRECTIONS,
    FINE,
    NONE,
    ORACLE,
    PARTS,
    RATES,
    SIGMAS,
    WITH_PARTS,
    Probe,
    Variant,
    losses_of_auto,
    read,
    whole,
    write,
)
from torch import Tensor, nn

from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.meta.inner import adapt
from metaf2n_arch.meta.params import InnerLoss, InnerLosses, Params, functional, select
from metaf2n_arch.meta.support import Pair, random_patches, weighted_l1
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import load_generator, load_mask_net

ROWS, TABLE = RESULTS / 'step_probe.csv', RESULTS / 'step_probe.md'
BATCH = 16
"""Patches whose gradient is taken at once."""
Call = Callable[[Params, Tensor], Tensor]


def detail(generate: Call) -> Call:
    """What of the output is finer than `FINE` pixels."""

    def fine(p: Params, x: Tensor) -> Tensor:
        output = generate(p, x)
        return output - blur(output, FINE)

    return fine


def fixed(generate: Call) -> Call:
    """The output with the low frequencies of its photo."""
    return lambda p, x: put_low_back(generate(p, x), x)


LOSSES: dict[str, Callable[[Call], Call]] = {'l1': lambda generate: generate, 'fixed': fixed, 'detail': detail}
"""What of an output, and of the face, the inner L1 compares."""


def gradient(theta: Params, generate: Call, mask: nn.Module | None, pair: Pair, loss: str) -> Params:
    """The inner gradient on any number of patches: of the mean over batches of them."""
    batches = list(zip(pair[0].split(BATCH), pair[1].split(BATCH)))

    def inner_loss(lq: Tensor, hq: Tensor) -> InnerLoss:
        with torch.no_grad():
            weight = hq.new_ones(1, 1, 1, 1) if mask is None else mask(lq, hq)
        output, target = LOSSES[loss](generate), LOSSES[loss](lambda p, x: hq)({}, lq)
        whole = weighted_l1(output, lambda *_: weight, lq, target)
        return lambda p, phi: whole(p, phi) / len(batches)

    return direction_of([inner_loss(*batch) for batch in batches], theta)


def direction_of(losses: InnerLosses, theta: Params) -> Params:
    """The gradient of a loss, or of the sum of several, by parameter."""
    return adapt(theta, {}, losses, inner_lr=INNER_LR, keep_gradients=True).gradients[0]


def oracle(theta: Params, generate: Call, case: Case) -> Params:
    """The gradient of the whole photo's L1 error behind the colour fix: what no step can know."""
    fix = ColorFix('lowfreq')
    x, truth = case.lq[None], case.photo.image[None]

    def error(p: Params, _: Params) -> Tensor:
        return (fix(generate(p, x), x) - truth).abs().mean()

    return direction_of(error, theta)


def cosine(one: Params, other: Params, names: Sequence[str]) -> float:
    """Of two directions over some tensors."""
    a, b = (torch.cat([direction[name].flatten() for name in names]).double() for direction in (one, other))
    return float(a @ b / (a.norm() * b.norm()))


def probes(
    net: nn.Module,
    mask: nn.Module | None,
    case: Case,
    supports: Sequence[str],
    name: str,
    directions: Collection[str],
) -> Iterator[Probe]:
    """The steps of one case. Gradients in bfloat16, outputs in float32, as in the other studies."""
    call, theta = functional(net, torch.channels_last), dict(net.named_parameters())

    def half(p: Params, x: Tensor) -> Tensor:
        with torch.autocast('cpu', torch.bfloat16):
            return call(p, x).float()

    fix = ColorFix('lowfreq')

    def shown(p: Params) -> Tensor:
        with torch.no_grad():
            return fix(call(p, case.lq[None]), case.lq[None])[0]

    plain, known = shown({}), oracle(theta, half, case)
    before = quality(plain, case)

    def probe(output: Tensor, support: str, variant: Variant, alike: float = 0.0) -> Probe:
        after = quality(output, case)
        changes = (round(after[metric] - before[metric], 5) for metric in METRICS)
        return Probe(name, case.photo.name, case.family, case.seed, support, *variant, *changes, round(alike, 4))

    def steps(direction: Params, label: str, support: str) -> Iterator[Probe]:
        for part in PARTS if label in WITH_PARTS and ORACLE in directions else ('all',):
            names = select(list(theta), PARTS[part])
            alike = cosine(direction, known, names)
            for rate in RATES:
                moved = {key: theta[key].detach() - rate * direction[key] for key in names}
                yield probe(shown(moved), support, (label, part, rate), alike)

    for sigma in SIGMAS if BLUR in directions else ():
        yield probe(blur(plain, sigma), NONE, (BLUR, NONE, sigma))
    if ORACLE in directions:
        yield from steps(known, ORACLE, NONE)
    for support in supports:
        for label in (label for label in DIRECTIONS if label in directions):
            loss, patches = DIRECTIONS[label]
            pair = random_patches([case.face(support)], patches, PATCH, numpy_generator(case.seed))
            assert pair is not None
            yield from steps(gradient(theta, half, mask, pair, loss), label, support)


def measure(args: argparse.Namespace) -> None:
    """Adds the cases that are not there."""
    net = load_generator(args.weights).net.to(memory_format=torch.channels_last)
    if args.trained:
        net.load_state_dict(torch.load(args.trained, weights_only=True)['params'])
    mask = load_mask_net(args.mask) if args.mask else None
    rows = read(ROWS)
    lost = losses_of_auto(study.read(study.ROWS))
    done = {(row.weights, row.photo, row.family, row.seed) for row in rows}
    for case in cases(study_photos(args), args.seeds, args.turns):
        if not case.photo.face or (args.name, case.photo.name, case.family, case.seed) in done:
            continue
        supports, directions = args.supports, (*DIRECTIONS, ORACLE, BLUR)
        if args.part == 'lost':
            supports = [s for s in supports if (case.photo.name, case.family, case.seed, s) in lost]
            directions = (BEHIND,)
        if supports:
            rows += probes(net, mask, case, supports, args.name, directions)
            write(rows, ROWS)
            print(args.name, case.photo.name, case.family, case.seed, flush=True)


def document(rows: Sequence[Probe], setting: str) -> str:
    """The whole file, as the other studies make theirs."""
    return whole(rows, study.read(study.ROWS), setting)


def main() -> None:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = command.add_subparsers(dest='part', required=True)
    for name in ('measure', 'lost'):
        part = parts.add_parser(name, parents=[parser(add_help=False)])
        part.add_argument('weights', type=Path)
        part.add_argument('--name', required=True, help='of the weights in the table')
        part.add_argument('--trained', type=Path, help='weights that `meta_training.py` has trained from these')
        part.add_argument('--mask', type=Path, help='weights of MaskNet; without them W = 1 in every pixel')
    parts.add_parser('table')
    args = command.parse_args()
    if args.part != 'table':
        measure(args)
    TABLE.write_text(document(read(ROWS), setting_of(TABLE)), encoding='utf-8')


if __name__ == '__main__':
    main()
