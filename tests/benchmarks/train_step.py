"""Training step of MetaF2NModel: time and memory, compared with the plain unrolled step, in one run.

    python tests/benchmarks/train_step.py run --rounds 2
    python tests/benchmarks/train_step.py measure model-bf16-channels_last

One task: support 4 x 32² LQ, query 4 x 64² LQ; RRDBNet (64 features, 23 blocks), MaskNet, U-Net discriminator with
spectral norm; second order, one inner step; L1 + 0.1 GAN + 0.002 regulariser, no LPIPS; Adam for all three networks.

`plain` is the authors' step in torch: one graph through both loops, then a discriminator step, for which the generator
adapts and restores again with the new weights. `plain-once` uses the outputs of the first step for it. `model` is
MetaF2NModel with its defaults; the words after it are options: `remade` (keep_graph: false), `whole` (concatenations:
whole), `channels_last`, `bf16`. `gan` is GANSRModel on the query only, `compiled` its generator by torch.compile
(inductor, which needs a C++ compiler; the first of the two steps compiles).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
from basicsr.archs.rrdbnet_arch import RRDBNet
from basicsr.models import build_model
from measuring import conditions, interleaved, measure, widest
from meta_engine import photographs
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.meta import Params, functional
from metaf2n_arch.models.tasks import Task

RATE, GAN_WEIGHT, MASK_WEIGHT = 1e-2, 0.1, 0.002
STEPS = 2
VARIANTS = (
    'plain',
    'plain-once',
    'model',
    'model-channels_last',
    'model-remade',
    'model-whole',
    'model-bf16',
    'model-bf16-channels_last',
    'gan',
    'gan-whole',
    'gan-channels_last',
    'gan-compiled',
    'gan-bf16-channels_last',
    'gan-bf16-channels_last-compiled',
)


def real_or_fake(logits: Tensor, real: bool) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def the_task() -> Task:
    """A task of four face crops and four natural crops, low quality by area averaging x4."""
    face, natural = photographs(128), photographs(256)
    return Task(*(half_twice(face), face, half_twice(natural), natural))


def half_twice(images: Tensor) -> Tensor:
    return F.interpolate(images, scale_factor=0.25, mode='area')


class Plain:
    """The plain step; `step` returns the gradients of the generator and MaskNet."""

    def __init__(self, blocks: int, again: bool) -> None:
        torch.manual_seed(0)
        self.generator = RRDBNet(3, 3, scale=4, num_feat=64, num_block=blocks, num_grow_ch=32)
        self.mask, self.critic = MaskNet(bias_last=1.0), UNetDiscriminatorSN(3, 64)
        self.call, self.judge = functional(self.generator), functional(self.critic)
        self.adam_g = torch.optim.Adam([*self.generator.parameters(), *self.mask.parameters()], 3e-5)
        self.adam_d = torch.optim.Adam(self.critic.parameters(), 1e-4)
        self.task = the_task()
        self.again = again

    def adapted(self, create_graph: bool) -> Params:
        theta = dict(self.generator.named_parameters())
        confidence = self.mask(self.task.support_lq, self.task.support_hq)
        loss = (confidence * (self.task.support_hq - self.call(theta, self.task.support_lq)).abs()).mean()
        gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=create_graph)
        return {name: p - RATE * g for (name, p), g in zip(theta.items(), gradient)}

    def step(self) -> Params:
        output = self.call(self.adapted(create_graph=True), self.task.query_lq)
        loss = F.l1_loss(output, self.task.query_gt) + GAN_WEIGHT * real_or_fake(self.judge({}, output), True)
        confidence = self.mask(self.task.support_lq, self.task.support_hq)
        loss = loss + MASK_WEIGHT * (confidence - 1).square().mean() / 2
        self.adam_g.zero_grad()
        loss.backward()
        self.adam_g.step()
        del loss
        if self.again:
            fast = self.adapted(create_graph=False)
            with torch.no_grad():
                output = self.call(fast, self.task.query_lq)
        self.adam_d.zero_grad()
        real_or_fake(self.critic(self.task.query_gt), True).backward()
        real_or_fake(self.critic(output.detach()), False).backward()
        self.adam_d.step()
        return gradients(self.generator, self.mask)


class Model:
    """The same step by MetaF2NModel."""

    def __init__(self, blocks: int, switches: list[str], folder: str) -> None:
        torch.manual_seed(0)
        self.model = build_model(options(blocks, switches, folder))
        self.task = the_task()

    def step(self) -> Params:
        self.model.tasks, self.model.num_tasks = iter([self.task]), 1
        self.model.optimize_parameters(1)
        return gradients(self.model.net_g, self.model.net_m)


class Gan(Model):
    """A step of GANSRModel on the query of the task."""

    def step(self) -> Params:
        self.model.feed_data({'gt': self.task.query_gt, 'lq': self.task.query_lq})
        self.model.optimize_parameters(1)
        return gradients(self.model.net_g)


def gradients(*nets: nn.Module) -> Params:
    return {name: p.grad for net in nets for name, p in net.named_parameters() if p.grad is not None}


def options(blocks: int, switches: list[str], folder: str) -> dict[str, Any]:
    """Options of the model, as BasicSR's runner passes them."""
    everything = {
        'name': 'benchmark',
        'model_type': 'MetaF2NModel',
        'scale': 4,
        'num_gpu': 0,
        'manual_seed': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'network_g': {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': blocks},
        'network_m': {'type': 'MaskNet', 'bias_last': 1.0},
        'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 64},
        'path': {'models': folder, 'training_states': folder, 'visualization': folder},
        'meta': {'inner_lr': RATE, 'keep_graph': 'remade' not in switches},
        'performance': {
            'autocast': 'bf16' if 'bf16' in switches else None,
            'channels_last': 'channels_last' in switches,
            'concatenations': 'whole' if 'whole' in switches else 'parts',
            'compile': 'inductor' if 'compiled' in switches else None,
        },
        'logger': {'print_freq': 100},
        'train': {
            'total_iter': 10,
            'optim_g': {'type': 'Adam', 'lr': 3e-5},
            'optim_d': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [100]},
            'losses': [
                {'type': 'L1Loss'},
                {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': GAN_WEIGHT},
                {'type': 'MaskRegularizerLoss', 'loss_weight': MASK_WEIGHT},
            ],
        },
    }
    if switches[0] == 'model':
        return everything
    everything['model_type'] = 'GANSRModel'
    del everything['train']['losses'][-1]
    return {key: block for key, block in everything.items() if key not in ('meta', 'network_m')}


def build(variant: str, blocks: int) -> Plain | Model:
    if variant.startswith('plain'):
        return Plain(blocks, again=variant == 'plain')
    kind = Gan if variant.startswith('gan') else Model
    return kind(blocks, variant.split('-'), tempfile.gettempdir())


def run_variant(variant: str, blocks: int, threads: int, save: Path | None) -> dict[str, float]:
    torch.set_num_threads(threads)
    trainer = build(variant, blocks)
    first: list[Params] = []

    def step() -> None:
        gradient = trainer.step()
        if not first:
            first.append({name: g.detach().clone() for name, g in gradient.items()})

    found = measure(step, STEPS)
    if save:
        torch.save(first[0], save / f'{variant}.pt')
    return found


def difference(folder: Path, variant: str, basis: str) -> tuple[float, float]:
    """Relative error and cosine of a variant's gradient compared with that of `basis`."""
    wanted, found = (torch.load(folder / f'{name}.pt', weights_only=True) for name in (basis, variant))
    a = torch.cat([g.flatten().double() for g in wanted.values()])
    b = torch.cat([found[name].flatten().double() for name in wanted])
    return ((a - b).norm() / a.norm()).item(), (a @ b / a.norm() / b.norm()).item()


def table(results: dict[str, dict[str, float]], folder: Path, basis: str) -> str:
    head = f'| step | CPU s | of {basis} | peak MiB | of {basis} | gradient: relative error | cosine |'
    rows = [head, '|---' * 7 + '|']
    for variant, r in results.items():
        error, cosine = difference(folder, variant, basis)
        shares = r['cpu_s'] / results[basis]['cpu_s'], r['peak_mib'] / results[basis]['peak_mib']
        row = f'| {variant} | {r["cpu_s"]:.1f} | {shares[0]:.2f} | {r["peak_mib"]:.0f} | {shares[1]:.2f}'
        rows.append(f'{row} | {error:.1e} | {cosine:.6f} |')
    return '\n'.join(rows)


def tables(results: dict[str, dict[str, float]], folder: Path) -> str:
    """One table for the meta-learning step and one for the GAN step."""
    gan = {variant: r for variant, r in results.items() if variant.startswith('gan')}
    meta = {variant: r for variant, r in results.items() if variant not in gan}
    return '\n\n'.join(table(part, folder, basis) for part, basis in ((meta, 'plain'), (gan, 'gan')) if basis in part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    every = commands.add_parser('run', help='measure every variant, each in a process of its own')
    every.add_argument('--rounds', type=int, default=1)
    every.add_argument('--blocks', default='23')
    every.add_argument('--threads', default='1')
    every.add_argument('--variants', nargs='*', default=list(VARIANTS), choices=VARIANTS)
    every.add_argument('--output', type=Path)
    one = commands.add_parser('measure', help='measure one variant in this process, print JSON')
    one.add_argument('variant', choices=VARIANTS)
    one.add_argument('blocks', type=int, nargs='?', default=23)
    one.add_argument('threads', type=int, nargs='?', default=1)
    one.add_argument('save', type=Path, nargs='?')
    arguments = parser.parse_args()
    if arguments.command == 'measure':
        print(json.dumps(run_variant(arguments.variant, arguments.blocks, arguments.threads, arguments.save)))
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [(variant, arguments.blocks, arguments.threads, folder) for variant in arguments.variants]
        machine = conditions(arguments.threads)
        results = {key[0]: value for key, value in interleaved(__file__, runs, arguments.rounds).items()}
        rounds = f'{arguments.rounds} round{"" if arguments.rounds == 1 else "s"}'
        how = f'{machine}, least of {STEPS} steps and {rounds}, {widest(results.values())}'
        text = f'{how}\n\n{tables(results, Path(folder))}\n'
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
