"""Schedules by name: rates as torch's own give them, in the stock runner's order of calls, with and without warm-up."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from basicsr.models.base_model import BaseModel
from torch.optim import lr_scheduler

from metaf2n_arch.models.learning_rates import build_schedulers, scheduler_class
from metaf2n_arch.utils.checks import OptionError

RATE, TOTAL = 0.1, 14
MILESTONES = {'milestones': [4, 9], 'gamma': 0.5}
SIMPLE: dict[str, dict[str, Any]] = {
    'StepLR': {'step_size': 3, 'gamma': 0.5},
    'ConstantLR': {'factor': 0.5, 'total_iters': 5},
    'LinearLR': {'start_factor': 0.2, 'total_iters': 6},
    'ExponentialLR': {'gamma': 0.9},
    'PolynomialLR': {'total_iters': TOTAL, 'power': 2.0},
    'CosineAnnealingLR': {'T_max': TOTAL, 'eta_min': 1e-3},
    'CosineAnnealingWarmRestarts': {'T_0': 4, 'T_mult': 2},
    'CyclicLR': {'base_lr': 0.01, 'max_lr': 0.2, 'step_size_up': 3, 'cycle_momentum': False},
    'OneCycleLR': {'max_lr': 0.3, 'total_steps': TOTAL + 1},
}
LIST = [{'type': 'LinearLR', 'start_factor': 0.5, 'total_iters': 4}, {'type': 'ExponentialLR', 'gamma': 0.8}]
COMPOSED: dict[str, dict[str, Any]] = {
    'SequentialLR': {'schedulers': LIST, 'milestones': [5]},
    'ChainedScheduler': {'schedulers': LIST},
}


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE, momentum=0.9)


def of_torch(name: str, options: dict[str, Any], on: torch.optim.Optimizer) -> Any:
    """Torch's own, written out."""
    if name == 'ChainedScheduler':
        return lr_scheduler.ChainedScheduler([of_torch(e['type'], e, on) for e in options['schedulers']])
    if name == 'SequentialLR':
        inner = [of_torch(e['type'], e, on) for e in options['schedulers']]
        return lr_scheduler.SequentialLR(on, inner, options['milestones'])
    return getattr(lr_scheduler, name)(on, **{k: v for k, v in options.items() if k != 'type'})


class Runner(BaseModel):
    """A model of the host that has nothing but optimizers and schedules."""

    def __init__(self, scheduler: dict[str, Any] | None, **train: Any) -> None:
        super().__init__({'num_gpu': 0, 'is_train': True, 'dist': False})
        self.optimizers = [optimizer()]
        self.schedulers = build_schedulers({'scheduler': scheduler, 'total_iter': TOTAL, **train}, self.optimizers)

    def rates(self, iterations: range, warmup: int = -1) -> list[float]:
        found = []
        for iteration in iterations:
            self.update_learning_rate(iteration, warmup)
            self.optimizers[0].step()
            found.append(self.get_current_learning_rate()[0])
        return found


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize(('name', 'options'), [*SIMPLE.items(), *COMPOSED.items()], ids=[*SIMPLE, *COMPOSED])
def test_the_rates_are_torchs_own_and_a_warm_up_leaves_those_after_it_alone(name, options):
    on = optimizer()
    oracle, expected = of_torch(name, options, on), []
    for _ in range(TOTAL):
        expected.append(on.param_groups[0]['lr'])
        on.step()
        oracle.step()
    assert Runner({'type': name, **options}).rates(range(1, TOTAL + 1)) == expected
    first = on.param_groups[0]['initial_lr']
    found = Runner({'type': name, **options}).rates(range(1, TOTAL + 1), warmup=5)
    assert found == [first / 5 * t for t in (1, 2, 3, 4)] + expected[4:]


@pytest.mark.parametrize(('name', 'options'), [*SIMPLE.items(), *COMPOSED.items()], ids=[*SIMPLE, *COMPOSED])
@pytest.mark.parametrize('at', [3, 7], ids=['in the warm-up', 'after it'])
def test_a_resumed_schedule_goes_on_to_the_same_rates(tmp_path, name, options, at):
    from metaf2n_arch.weights.files import read_checkpoint

    whole, begun, resumed = (Runner({'type': name, **options}) for _ in range(3))
    expected = whole.rates(range(1, TOTAL + 1), warmup=5)
    begun.rates(range(1, at + 1), warmup=5)
    torch.save([begun.optimizers[0].state_dict(), begun.schedulers[0].state_dict()], tmp_path / 'x.state')
    of_optimizer, of_schedule = read_checkpoint(tmp_path / 'x.state')  # executes nothing
    resumed.optimizers[0].load_state_dict(of_optimizer)
    resumed.schedulers[0].load_state_dict(of_schedule)
    assert resumed.rates(range(at + 1, TOTAL + 1), warmup=5) == expected[at:]


def test_every_schedule_of_this_torch_is_known_or_refused_with_a_reason():
    """Besides the ones above: one follows validations, two take functions."""
    names = [
        name
        for name, c in vars(lr_scheduler).items()
        if inspect.isclass(c)
        and not name.startswith('_')
        and hasattr(c, 'step')
        and name not in ('LRScheduler', 'Optimizer')
    ]
    tested = {*SIMPLE, *COMPOSED, 'MultiStepLR', 'ReduceLROnPlateau', 'LambdaLR', 'MultiplicativeLR'}
    assert set(names) <= tested, 'torch has a new one: add it to the table above'
    for name in names:
        if name.endswith('LR') and 'lr_lambda' in inspect.signature(getattr(lr_scheduler, name)).parameters:
            with pytest.raises(OptionError, match='takes a function'):
                scheduler_class(name, 'train.scheduler.type')
        else:
            scheduler_class(name, 'train.scheduler.type')


def test_the_hosts_names_stand_for_the_hosts_classes():
    from basicsr.models.lr_scheduler import MultiStepRestartLR

    [found] = Runner({'type': 'MultiStepLR', **MILESTONES}).schedulers
    assert type(found) is MultiStepRestartLR


def test_without_a_schedule_the_rate_stays_after_the_warm_up():
    assert Runner(None).rates(range(1, 6), warmup=3) == [
        RATE / 3,
        RATE / 3 * 2,
        RATE / 3 * 2,
        RATE / 3 * 2,
        RATE / 3 * 2,
    ]


def plateau(metrics: dict[str, Any], **options: Any) -> Any:
    on = [optimizer()]
    block = {'type': 'ReduceLROnPlateau', 'metric': 'psnr', 'patience': 1, 'factor': 0.5, **options}
    return build_schedulers({'scheduler': block, 'total_iter': TOTAL}, on, metrics)[0]


@pytest.mark.parametrize(('better', 'sign'), [('higher', 1), ('lower', -1)])
def test_a_plateau_of_a_metric_lowers_the_rate_as_torch_does(better, sign):
    """Torch's own with the mode written out; steps between validations change nothing."""
    values = [sign * v for v in (1.0, 2.0, 2.0, 1.9, 2.0, 3.0, 2.9, 2.9, 2.8)]
    on = optimizer()
    oracle = lr_scheduler.ReduceLROnPlateau(on, mode='max' if better == 'higher' else 'min', patience=1, factor=0.5)
    schedule = plateau({'psnr': {'type': 'x', 'better': better}})
    found, expected = [], []
    for iteration, value in enumerate(values, start=1):
        oracle.step(value)
        schedule.step()
        schedule.observe('val', {'psnr': value, 'ssim': 0.0}, iteration)
        schedule.observe('val', {'psnr': 100.0}, iteration)  # after the last iteration the runner validates again
        schedule.observe('another set', {'psnr': 100.0}, iteration + 1)
        schedule.observe('val', {'psnr': float('nan')}, iteration + 1)
        found.append(schedule.optimizer.param_groups[0]['lr'])
        expected.append(on.param_groups[0]['lr'])
    assert found == expected
    assert expected[-1] < RATE


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'type': 'CosineAnealingLR'}, "train.scheduler.type is 'CosineAnealingLR'.*'CosineAnnealingLR'"),
        ({'type': 'SequentialLR', 'milestones': [3]}, 'train.scheduler.schedulers is None, expected a list'),
        (
            {'type': 'ChainedScheduler', 'schedulers': [{'type': 'StepLr', 'step_size': 3}]},
            "train.scheduler.schedulers.0.type is 'StepLr'.*'StepLR'",
        ),
        ({'type': 'StepLR', 'step_size': 3, 'gama': 2}, 'train.scheduler: StepLR rejects these options: .*gama'),
        ({'type': 'OneCycleLR', 'max_lr': 1, 'total_steps': 9}, 'OneCycleLR has 9 steps and total_iter is 14'),
        (
            {'type': 'ReduceLROnPlateau', 'metric': 'pnsr'},
            "train.scheduler.metric is 'pnsr', expected one of val.metrics",
        ),
        (
            {'type': 'ChainedScheduler', 'schedulers': [{'type': 'ReduceLROnPlateau'}]},
            'train.scheduler.schedulers.0: ReduceLROnPlateau waits for validations',
        ),
    ],
)
def test_what_is_wrong_is_one_line(block, message):
    with pytest.raises(OptionError, match=message) as error:
        Runner(block)
    assert len(str(error.value).splitlines()) == 1
