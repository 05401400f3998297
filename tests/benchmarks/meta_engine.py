"""Meta-learning engine: time and peak memory, compared with the unrolled graph and TorchOpt, in one run.

    python tests/benchmarks/meta_engine.py run --output tests/benchmarks/results/meta_engine.md
    python tests/benchmarks/meta_engine.py measure second 1

RRDBNet (64 features, 6 blocks), one task of photographs: support 4 x 32² LR with a confidence map, query 4 x 64² LR,
L1. `pieces` gives the engine both losses as lists of terms, one per image, `outer` only the outer loss; `kept` keeps
the graph of the inner step; `parts` saves the parts of concatenations. `second-outer_kept_parts` is the call of
MetaF2NModel.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import torch
from basicsr.archs.rrdbnet_arch import RRDBNet
from measuring import conditions, interleaved, measure, widest
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.meta import Params, functional, meta_gradient
from metaf2n_arch.meta.concatenation import saved_in_parts

RATE = 1e-2
ENGINE = (
    'first',
    'first_mask',
    'first-parts',
    'first-outer_parts',
    'second',
    'second-reverse',
    'second-parts',
    'second-pieces',
    'second-kept',
    'second-outer_kept_parts',
)
UNROLLED = ('unrolled', 'unrolled-torchopt')
RUNS = [
    *((variant, '1') for variant in (*ENGINE, *UNROLLED)),
    ('first', '5'),
    ('second', '5'),
    ('second-outer_kept_parts', '5'),
    ('unrolled', '5'),
]


def photographs(side: int) -> Tensor:
    """Four crops of photographs that come with scikit-image, (4, 3, side, side) in [0, 1]."""
    from skimage import data

    photos = [data.astronaut(), data.coffee(), data.astronaut()[::-1].copy(), data.chelsea()]
    crops = [torch.from_numpy(photo[20 : 20 + side, 180 : 180 + side].copy()) for photo in photos]
    return torch.stack(crops).permute(0, 3, 1, 2).float() / 255


class Task:
    """Support and query of one task, and their losses for all images or for single ones."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.call = net, functional(net)
        self.support, self.query = photographs(128), photographs(256)
        self.support_lq, self.query_lq = (F.interpolate(x, scale_factor=0.25, mode='area') for x in self.pair)
        self.theta = {name: p.detach() for name, p in net.named_parameters()}
        self.phi = {'confidence': torch.rand(4, 1, 128, 128, generator=torch.Generator().manual_seed(1)) + 0.5}

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        return self.support, self.query

    def inner(self, theta: Params, phi: Params, images: slice = slice(None)) -> Tensor:
        error = (self.support[images] - self.call(theta, self.support_lq[images])).abs()
        return (phi['confidence'][images] * error).sum() / self.support.numel()

    def outer(self, theta: Params, phi: Params, step: int, images: slice = slice(None)) -> Tensor:
        error = (self.query[images] - self.call(theta, self.query_lq[images])).abs()
        return error.sum() / self.query.numel()

    def inner_of(self, i: int) -> Callable[[Params, Params], Tensor]:
        return lambda theta, phi: self.inner(theta, phi, slice(i, i + 1))

    def outer_of(self, i: int) -> Callable[[Params, Params, int], Tensor]:
        return lambda theta, phi, step: self.outer(theta, phi, step, slice(i, i + 1))


def engine_step(task: Task, variant: str, steps: int) -> Params:
    mode, _, option = variant.partition('-')
    inner = [task.inner_of(i) for i in range(4)] if 'pieces' in option else task.inner
    outer = [task.outer_of(i) for i in range(4)] if 'pieces' in option or 'outer' in option else task.outer
    with saved_in_parts() if 'parts' in option else nullcontext():
        found = meta_gradient(
            task.theta,
            task.phi,
            inner,
            outer,
            inner_lr=RATE,
            inner_steps=steps,
            mode=mode,
            curvature='reverse' if option == 'reverse' else 'auto',
            keep_graph='kept' in option,
        )
    return {**found.theta, **found.phi}


def unrolled_step(task: Task, steps: int) -> Params:
    """The usual implementation: updates with `create_graph`, one backward pass through all of them."""
    leaf = {name: p.detach().requires_grad_() for name, p in task.theta.items()}
    phi, current = {'confidence': task.phi['confidence'].detach().requires_grad_()}, dict(leaf)
    for _ in range(steps):
        gradient = torch.autograd.grad(task.inner(current, phi), list(current.values()), create_graph=True)
        current = {name: p - RATE * g for (name, p), g in zip(current.items(), gradient)}
    inputs = {**leaf, **phi}
    return dict(zip(inputs, torch.autograd.grad(task.outer(current, phi, steps), list(inputs.values()))))


def torchopt_step(task: Task, steps: int) -> Params:
    """The same with TorchOpt's differentiable SGD on the module itself."""
    import torchopt

    net, phi = task.net, {'confidence': task.phi['confidence'].detach().requires_grad_()}
    inputs, state = {**dict(net.named_parameters()), **phi}, torchopt.extract_state_dict(net, by='reference')
    optimizer = torchopt.MetaSGD(net, lr=RATE)
    for _ in range(steps):
        error = (task.support - net(task.support_lq)).abs()
        optimizer.step((phi['confidence'] * error).sum() / task.support.numel())
    loss = (task.query - net(task.query_lq)).abs().sum() / task.query.numel()
    gradient = torch.autograd.grad(loss, list(inputs.values()))
    torchopt.recover_state_dict(net, state)
    return dict(zip(inputs, gradient))


def run_variant(variant: str, steps: int, repeats: int, blocks: int) -> dict[str, float]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = Task(RRDBNet(3, 3, scale=4, num_feat=64, num_block=blocks, num_grow_ch=32))
    if variant == 'unrolled-torchopt':
        import torchopt  # noqa: F401  (imported here, so that its memory does not count for the step)
    steppers: dict[str, Callable[[], Params]] = {
        'unrolled': lambda: unrolled_step(task, steps),
        'unrolled-torchopt': lambda: torchopt_step(task, steps),
    }
    norms: list[float] = []

    def step() -> None:
        found = steppers[variant]() if variant in steppers else engine_step(task, variant, steps)
        norms.append(torch.stack([g.double().norm() for g in found.values()]).norm().item())

    return {**measure(step, repeats), 'norm': norms[0]}


def table(results: dict[tuple[str, ...], dict]) -> str:
    rows = [
        '| variant | inner steps | CPU s | peak MiB | of which the step | gradient norm |',
        '|---|---|---|---|---|---|',
    ]
    for (variant, steps), r in results.items():
        numbers = f'{r["cpu_s"]:.2f} | {r["peak_mib"]:.0f} | {r["rise_mib"]:.0f} | {r["norm"]:.7g}'
        rows.append(f'| {variant} | {steps} | {numbers} |')
    return '\n'.join(rows)


def ratios(results: dict[tuple[str, ...], dict]) -> str:
    model = 'second-outer_kept_parts'
    wanted = [
        ('time, second / first, 1 step', 'cpu_s', ('second', '1'), ('first', '1'), '1.70'),
        ('peak, second / first, 1 step', 'peak_mib', ('second', '1'), ('first', '1'), '1.10'),
        (
            'peak, second in parts / first in parts, 1 step',
            'peak_mib',
            ('second-parts', '1'),
            ('first-parts', '1'),
            '1.10',
        ),
        ('peak, second 5 steps / 1 step', 'peak_mib', ('second', '5'), ('second', '1'), '1.10'),
        *(
            (f'{what}, {name} / unrolled, {steps}', key, (variant, steps[0]), ('unrolled', steps[0]), '1.00')
            for name, variant in (('second', 'second'), ('as MetaF2NModel calls it', model))
            for what, key in (('time', 'cpu_s'), ('peak', 'peak_mib'))
            for steps in ('1 step', '5 steps')
        ),
        ('time, as MetaF2NModel calls it / first, 1 step', 'cpu_s', (model, '1'), ('first', '1'), '1.70'),
        ('peak, as MetaF2NModel calls it / first, 1 step', 'peak_mib', (model, '1'), ('first', '1'), '1.10'),
        ('peak, as MetaF2NModel calls it, 5 steps / 1 step', 'peak_mib', (model, '5'), (model, '1'), '1.10'),
    ]
    rows = ['| ratio | measured | wanted at most |', '|---|---|---|']
    for name, key, ours, other, limit in wanted:
        if ours in results and other in results:
            rows.append(f'| {name} | {results[ours][key] / results[other][key]:.2f} | {limit} |')
    return '\n'.join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest='command', required=True)
    run = commands.add_parser('run', help='measure every variant, each in a process of its own')
    run.add_argument('--rounds', type=int, default=2)
    run.add_argument('--blocks', default='6')
    run.add_argument('--without', nargs='*', default=[], help='variants to leave out')
    run.add_argument('--output', type=Path)
    one = commands.add_parser('measure', help='measure one variant in this process, print JSON')
    one.add_argument('variant', choices=[*ENGINE, *UNROLLED])
    one.add_argument('steps', type=int)
    one.add_argument('blocks', type=int, nargs='?', default=6)
    arguments = parser.parse_args()
    if arguments.command == 'measure':
        print(json.dumps(run_variant(arguments.variant, arguments.steps, 1, arguments.blocks)))
        return
    left_out = [*arguments.without, *(() if find_spec('torchopt') else ('unrolled-torchopt',))]
    chosen = [(variant, steps) for variant, steps in RUNS if variant not in left_out]
    machine = conditions(threads=1)
    found = interleaved(__file__, [(*v, arguments.blocks) for v in chosen], arguments.rounds)
    results = {key[:2]: value for key, value in found.items()}
    how = f'{machine}, float32, least of {arguments.rounds} rounds, {widest(found.values())}'
    text = f'{how}\n\n{table(results)}\n\n{ratios(results)}\n'
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
