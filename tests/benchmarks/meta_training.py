"""Meta-training at a small scale: six ways to continue training a generator, on the same tasks, on a CPU.

    python tests/benchmarks/meta_training.py WEIGHTS FACES NATURALS OUT --steps 90 [--arms second first ...]

FACES is a folder of aligned portraits, of which the last `HELD_OUT_FACES` by name are not used; NATURALS is a folder of
photographs. In each step all arms have the same degradation and patches; half of the faces are true, half erring.
Weights of each arm are written to OUT every `--save` steps; `adaptation_outputs.py` and `meta_training_table.py`
measure them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from adaptation_material import SCALE, erring, images_of, put_low_back, square
from torch import Tensor

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.degradation import DegradationConfig, apply
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.meta.outer import meta_gradient
from metaf2n_arch.meta.params import Params, functional
from metaf2n_arch.meta.support import crop, weighted_l1
from metaf2n_arch.models.model_options import PerformanceOptions
from metaf2n_arch.models.performance import Performance
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import load_generator

HELD_OUT_FACES = 10
MARGIN = 4
"""Width of the border around a patch that is degraded with it, in pixels of the LQ."""


@dataclass(frozen=True)
class Arm:
    """A way of training.

    Attributes:
        mode: mode of the meta-gradient; None: fine-tuning without an inner loop.
        color_fix: whether the colour fix is part of the generator.
        unadapted_weight: weight of the outer loss without adaptation.
    """

    mode: str | None
    color_fix: bool = False
    unadapted_weight: float = 0.0


ARMS = {
    'finetune': Arm(None),
    'second': Arm('second'),
    'finetune_colorfix': Arm(None, color_fix=True),
    'second_colorfix': Arm('second', color_fix=True),
    'first': Arm('first'),
    'second_unadapted': Arm('second', unadapted_weight=1.0),
}


@dataclass(frozen=True)
class Task:
    """Patches of faces (support) and natural images (query) with one degradation, (N, 3, h, w) and (N, 3, 4h, 4w)."""

    support_lq: Tensor
    support_hq: Tensor
    query_lq: Tensor
    query_gt: Tensor


class Tasks:
    """Tasks; number k is drawn from (seed, k): a degradation, N faces (half true, half erring), N natural images."""

    def __init__(self, faces: list[Tensor], naturals: list[Tensor], patches: int, face_side: int, side: int, seed: int):
        self.faces, self.naturals = faces, naturals
        self.patches, self.face_side, self.side, self.seed = patches, face_side, side, seed
        self.config = DegradationConfig(scale=SCALE)

    def __getitem__(self, step: int) -> Task:
        rng = numpy_generator(self.seed, step)
        params = self.config.sample(rng)

        def pair(image: Tensor, side: int, stream: int) -> tuple[Tensor, Tensor]:
            """A low-quality and a clean patch, cut from a larger degraded window, so that blur has a border."""
            whole = (side + 2 * MARGIN) * SCALE
            top, left = (int(rng.integers((size - whole) // SCALE + 1)) * SCALE for size in image.shape[-2:])
            large = crop(image, top, left, whole, whole)
            low = apply(large[None], params, stream)[0]
            inner = MARGIN * SCALE
            return crop(low, MARGIN, MARGIN, side, side), crop(large, inner, inner, side * SCALE, side * SCALE)

        support, query = [], []
        for number in range(self.patches):
            lq, hq = pair(self.faces[rng.integers(len(self.faces))], self.face_side, 2 * number)
            support.append((lq, hq if number % 2 else erring(hq, int(rng.integers(1 << 30)))))
            query.append(pair(self.naturals[rng.integers(len(self.naturals))], self.side, 2 * number + 1))
        return Task(*(torch.stack(images) for images in (*zip(*support), *zip(*query))))


class Learner:
    """One arm: the parameters of its generator and MaskNet, and their optimizer."""

    def __init__(
        self, name: str, call: Callable[..., Tensor], theta: Params, mask: MaskNet, rate: float, inner_lr: float
    ) -> None:
        self.name, self.arm, self.inner_lr = name, ARMS[name], inner_lr
        self.call, self.confide = call, functional(mask)
        self.theta = {key: value.detach().clone() for key, value in theta.items()}
        self.phi = {key: value.detach().clone() for key, value in mask.named_parameters()}
        self.optimizer = torch.optim.Adam([*self.theta.values(), *self.phi.values()], lr=rate, betas=(0.9, 0.99))
        self.seconds = 0.0

    def generate(self, theta: Params, lq: Tensor) -> Tensor:
        output = self.call(theta, lq)
        return put_low_back(output, lq) if self.arm.color_fix else output

    def step(self, task: Task) -> dict[str, float]:
        """One step of Adam; returns the outer loss and, with an inner loop, the inner loss before its step."""
        start = time.process_time()

        def outer(theta: Params, phi: Params = {}, step: int = 1) -> Tensor:  # noqa: B006  # read only
            return (self.generate(theta, task.query_lq) - task.query_gt).abs().mean()

        found: dict[str, float] = {}
        if self.arm.mode is None:
            loss, gradient = plain_gradient(outer, self.theta)
        else:
            inner = weighted_l1(self.generate, self.confide, task.support_lq, task.support_hq)
            meta = meta_gradient(self.theta, self.phi, inner, outer, inner_lr=self.inner_lr, mode=self.arm.mode)
            loss, gradient = meta.outer_losses[0], meta.theta
            found['inner'] = float(meta.inner_losses[0])
            for key, value in self.phi.items():
                value.grad = meta.phi[key]
        if weight := self.arm.unadapted_weight:
            unadapted, more = plain_gradient(outer, self.theta)
            gradient = {key: value + weight * more[key] for key, value in gradient.items()}
            found['unadapted'] = float(unadapted)
        for key, value in self.theta.items():
            value.grad = gradient[key]
        self.optimizer.step()
        self.seconds += time.process_time() - start
        return {'outer': float(loss), **found}

    def save(self, folder: Path, step: int) -> None:
        torch.save({'params': self.theta, 'step': step}, folder / f'{self.name}_{step}.pth')
        torch.save({'params': self.phi, 'step': step}, folder / f'{self.name}_{step}_mask.pth')


def plain_gradient(loss: Callable[[Params], Tensor], theta: Params) -> tuple[Tensor, Params]:
    leaves = {key: value.detach().requires_grad_() for key, value in theta.items()}
    with torch.enable_grad():
        value = loss(leaves)
    return value.detach(), dict(zip(leaves, torch.autograd.grad(value, list(leaves.values()))))


def train(args: argparse.Namespace) -> None:
    """Trains all chosen arms, one step each in turn, so that a stopped run leaves all at the same step."""
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    net = load_generator(args.weights).net
    theta = dict(net.named_parameters())
    mask = MaskNet(bias_last=1.0)
    autocast: Any = 'bf16' if args.bf16 else None
    performance = Performance(PerformanceOptions(autocast=autocast, channels_last=True), torch.device('cpu'))
    call = performance.pure(net)
    learners = [Learner(name, call, theta, mask, args.rate, args.inner_lr) for name in args.arms]
    files = images_of(args.faces)[:-HELD_OUT_FACES]
    faces = [square(to_tensor(read_image(file)), 256) for file in files]
    naturals = [to_tensor(read_image(file)) for file in images_of(args.naturals)]
    tasks = Tasks(faces, naturals, args.patches, args.face_side, args.side, args.seed)
    with open(args.out / f'log_{args.arms[0]}.jsonl', 'w', encoding='utf-8') as log:
        for step in range(1, args.steps + 1):
            task, line = tasks[step], {'step': step}
            for learner in learners:
                line[learner.name] = {k: round(v, 5) for k, v in learner.step(task).items()}
            line['cpu_s'] = {learner.name: round(learner.seconds, 1) for learner in learners}
            print(json.dumps(line), file=log, flush=True)
            if step % args.save == 0 or step == args.steps:
                for learner in learners:
                    learner.save(args.out, step)


def arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', type=Path, help='weights from which all arms start')
    parser.add_argument('faces', type=Path)
    parser.add_argument('naturals', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--arms', nargs='+', default=list(ARMS), choices=list(ARMS))
    parser.add_argument('--steps', type=int, default=120)
    parser.add_argument('--save', type=int, default=10)
    parser.add_argument('--patches', type=int, default=2, help='number N of faces and of natural images')
    parser.add_argument('--face-side', type=int, default=16, help='side of a face patch, in pixels of the LQ')
    parser.add_argument('--side', type=int, default=24, help='side of a natural patch, in pixels of the LQ')
    parser.add_argument('--rate', type=float, default=3e-5, help='learning rate of Adam')
    parser.add_argument('--inner-lr', type=float, default=1e-2)
    parser.add_argument('--bf16', action='store_true', help='compute networks in bfloat16, weights and sums in float32')
    parser.add_argument('--seed', type=int, default=0)
    return parser.parse_args()


if __name__ == '__main__':
    train(arguments())
