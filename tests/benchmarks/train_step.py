"""Time and memory of a whole training step, beside the plain unrolled step, in one run.

    python tests/benchmarks/train_step.py run --output tests/benchmarks/results/train_step.md
    python tests/benchmarks/train_step.py measure ours-channels_last

One task: support 4 x 32² LQ, query 4 x 64² LQ; RRDBNet (64 features, 23 blocks), MaskNet, U-Net discriminator with
spectral norm; second order, one inner step; L1 + 0.1 GAN + 0.002 regulariser, no LPIPS; Adam for all three networks.

`plain` writes the authors' step in torch: one graph through both loops, then a discriminator step that adapts and
generates again with the new weights. `plain-once` reuses the outputs it has. `ours` takes the losses image by image,
makes the confidence map once, keeps the graph of the inner step, and takes the discriminator's gradient on the output
from the forward the generator's loss has made.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.archs.rrdbnet_arch import RRDBNet
from measuring import interleaved, measure
from meta_engine import photographs
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.meta import Params, assign_gradients, functional, meta_gradient

RATE, GAN_WEIGHT, MASK_WEIGHT = 1e-2, 0.1, 0.002
VARIANTS = (
    'plain',
    'plain-once',
    'ours',
    'ours-channels_last',
    'ours-kept-channels_last',
    'ours-bf16',
    'ours-bf16-channels_last',
)
HALVES = (slice(0, 2), slice(2, 4))


def real_or_fake(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


class Trainer:
    """The three networks, their optimizers and one task; `step` updates all and returns G's and MaskNet's gradient."""

    def __init__(self, blocks: int, layout: torch.memory_format | None, bf16: bool) -> None:
        torch.manual_seed(0)
        self.generator = RRDBNet(3, 3, scale=4, num_feat=64, num_block=blocks, num_grow_ch=32)
        self.mask, self.critic = MaskNet(bias_last=1.0), UNetDiscriminatorSN(3, 64)
        for net in (self.generator, self.mask, self.critic):
            if layout is not None:
                net.to(memory_format=layout)
        self.call, self.call_mask, self.judge = (
            functional(net, layout) for net in (self.generator, self.mask, self.critic)
        )
        self.adam_g = torch.optim.Adam([*self.generator.parameters(), *self.mask.parameters()], 3e-5)
        self.adam_d = torch.optim.Adam(self.critic.parameters(), 1e-4)
        self.face, self.natural = photographs(128), photographs(256)
        self.face_lq = F.interpolate(self.face, scale_factor=0.25, mode='area')
        self.natural_lq = F.interpolate(self.natural, scale_factor=0.25, mode='area')
        self.bf16 = bf16

    def precision(self) -> AbstractContextManager:
        return torch.autocast('cpu', torch.bfloat16) if self.bf16 else nullcontext()

    def parameters(self, net: nn.Module) -> Params:
        return dict(net.named_parameters())


class Plain(Trainer):
    """The step as one would write it first."""

    def __init__(self, blocks: int, again: bool) -> None:
        super().__init__(blocks, None, False)
        self.again = again

    def adapted(self, create_graph: bool) -> Params:
        theta = self.parameters(self.generator)
        confidence = self.mask(self.face_lq, self.face)
        loss = (confidence * (self.face - self.call(theta, self.face_lq)).abs()).mean()
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=create_graph)
        return {name: p - RATE * g for (name, p), g in zip(theta.items(), gradient)}

    def step(self) -> Params:
        output = self.call(self.adapted(create_graph=True), self.natural_lq)
        loss = F.l1_loss(output, self.natural) + GAN_WEIGHT * real_or_fake(self.judge({}, output), True)
        loss = loss + MASK_WEIGHT * (self.mask(self.face_lq, self.face) - 1).square().mean() / 2
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()
        del loss
        if self.again:
            fast = self.adapted(create_graph=False)
            with torch.no_grad():
                output = self.call(fast, self.natural_lq)
        self.adam_d.zero_grad()
        real_or_fake(self.critic(self.natural), True).backward()
        real_or_fake(self.critic(output.detach()), False).backward()
        self.adam_d.step()
        return {name: p.grad for net in (self.generator, self.mask) for name, p in net.named_parameters()}


class Ours(Trainer):
    """The same update by the engine."""

    def __init__(self, blocks: int, layout: torch.memory_format | None, bf16: bool, kept: bool) -> None:
        super().__init__(blocks, layout, bf16)
        self.kept = kept

    def confidence(self, i: int) -> Tensor:
        with self.precision():
            return self.call_mask(self.parameters(self.mask), self.face_lq[i : i + 1], self.face[i : i + 1]).float()

    def inner(self, images: slice, theta: Params, phi: Params) -> Tensor:
        with self.precision():
            output = self.call(theta, self.face_lq[images]).float()
        return (phi['confidence'][images] * (self.face[images] - output).abs()).sum() / self.face.numel()

    def outer(self, i: int, sums: list[Tensor], theta: Params, phi: Params, step: int) -> Tensor:
        weights = self.parameters(self.critic)
        with self.precision():
            output = self.call(theta, self.natural_lq[i : i + 1]).float()
            logits = self.judge(weights, output).float()
        # one forward of the critic serves both players: its own gradient is taken first, the generator's follows
        self.add(sums, torch.autograd.grad(real_or_fake(logits, False) / 4, list(weights.values()), retain_graph=True))
        regulariser = MASK_WEIGHT * (phi['confidence'][i : i + 1] - 1).square().mean() / 2
        loss = F.l1_loss(output, self.natural[i : i + 1]) + GAN_WEIGHT * real_or_fake(logits, True) + regulariser
        return loss / 4

    @staticmethod
    def add(sums: list[Tensor], gradient: tuple[Tensor, ...]) -> None:
        sums[:] = [s + g for s, g in zip(sums, gradient)] if sums else list(gradient)

    def step(self) -> Params:
        theta, mask, critic = (self.parameters(net) for net in (self.generator, self.mask, self.critic))
        by_critic: list[Tensor] = []
        with torch.no_grad():
            phi = {'confidence': torch.cat([self.confidence(i) for i in range(4)])}
        found = meta_gradient(
            theta,
            phi,
            [partial(self.inner, images) for images in HALVES],
            [partial(self.outer, i, by_critic) for i in range(4)],
            inner_lr=RATE,
            keep_graph=self.kept,
        )
        by_mask: list[Tensor] = []
        for i in range(4):
            pulled = found.phi['confidence'][i : i + 1]
            self.add(by_mask, torch.autograd.grad(self.confidence(i), list(mask.values()), pulled))
            with self.precision():
                logits = self.judge(critic, self.natural[i : i + 1]).float()
            self.add(by_critic, torch.autograd.grad(real_or_fake(logits, True) / 4, list(critic.values())))
        gradient = {**found.theta, **dict(zip(mask, by_mask))}
        assign_gradients(theta, found.theta)
        assign_gradients(mask, dict(zip(mask, by_mask)))
        assign_gradients(critic, dict(zip(critic, by_critic)))
        self.adam_g.step()
        self.adam_d.step()
        return gradient


def build(variant: str, blocks: int) -> Trainer:
    if variant.startswith('plain'):
        return Plain(blocks, again=variant == 'plain')
    layout = torch.channels_last if 'channels_last' in variant else None
    return Ours(blocks, layout, 'bf16' in variant, 'kept' in variant)


def run_variant(variant: str, blocks: int, save: Path | None) -> dict[str, float]:
    torch.set_num_threads(1)
    trainer = build(variant, blocks)
    first: list[Params] = []

    def step() -> None:
        gradient = trainer.step()
        if not first:
            first.append({name: g.detach().clone() for name, g in gradient.items()})

    found = measure(step, 1)
    if save:
        torch.save(first[0], save / f'{variant}.pt')
    return found


def difference(folder: Path, variant: str) -> tuple[float, float]:
    """Relative error and cosine of a variant's gradient against the plain step's."""
    wanted, found = (torch.load(folder / f'{name}.pt', weights_only=True) for name in ('plain', variant))
    a = torch.cat([g.flatten().double() for g in wanted.values()])
    b = torch.cat([found[name].flatten().double() for name in wanted])
    return ((a - b).norm() / a.norm()).item(), (a @ b / a.norm() / b.norm()).item()


def table(results: dict[str, dict[str, float]], folder: Path) -> str:
    rows = ['| step | CPU s | of plain | peak MiB | of plain | gradient: relative error | cosine |', '|---' * 7 + '|']
    plain = results['plain']
    for variant, r in results.items():
        error, cosine = difference(folder, variant)
        shares = r['cpu_s'] / plain['cpu_s'], r['peak_mib'] / plain['peak_mib']
        row = f'| {variant} | {r["cpu_s"]:.1f} | {shares[0]:.2f} | {r["peak_mib"]:.0f} | {shares[1]:.2f}'
        rows.append(f'{row} | {error:.1e} | {cosine:.6f} |')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    every = commands.add_parser('run', help='measure every variant, each in a process of its own')
    every.add_argument('--rounds', type=int, default=1)
    every.add_argument('--blocks', default='23')
    every.add_argument('--variants', nargs='*', default=list(VARIANTS), choices=VARIANTS)
    every.add_argument('--output', type=Path)
    one = commands.add_parser('measure', help='measure one variant in this process, print JSON')
    one.add_argument('variant', choices=VARIANTS)
    one.add_argument('blocks', type=int, nargs='?', default=23)
    one.add_argument('save', type=Path, nargs='?')
    arguments = parser.parse_args()
    if arguments.command == 'measure':
        print(json.dumps(run_variant(arguments.variant, arguments.blocks, arguments.save)))
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [(variant, arguments.blocks, folder) for variant in arguments.variants]
        results = {key[0]: value for key, value in interleaved(__file__, runs, arguments.rounds).items()}
        machine = f'{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread'
        text = f'{machine}, least of {arguments.rounds} rounds\n\n{table(results, Path(folder))}\n'
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
