"""What our models share: networks, losses from a list, optimizers, guarded steps, averaging, several processes.

BasicSR's `SRGANModel` names its losses one by one and wraps its networks in `DistributedDataParallel`; gradients that
come from `torch.autograd.grad` never pass through such a wrapper. Here the networks stay bare, gradients are averaged
by hand, and the losses are a list.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.models.base_model import BaseModel
from basicsr.models.srgan_model import SRGANModel
from basicsr.utils import get_root_logger
from basicsr.utils.img_process_util import USMSharp
from torch import Tensor, nn

from metaf2n_arch import __version__
from metaf2n_arch.data.augmentations import Augmentations
from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.losses.gradient_shares import LEAST, GradientShares
from metaf2n_arch.losses.terms import Data, LossTerms, Shares
from metaf2n_arch.models.averaging import Average
from metaf2n_arch.models.critic import SharedCritic
from metaf2n_arch.models.doubts import Doubts
from metaf2n_arch.models.learning_rates import build_schedulers
from metaf2n_arch.models.model_options import ColorFixOptions, GANTrainOptions, PerformanceOptions
from metaf2n_arch.models.optimization import Accumulation, GuardedStep, broadcast_from_first, trained_by
from metaf2n_arch.models.optimizers import build_optimizer, switches
from metaf2n_arch.models.performance import Performance
from metaf2n_arch.models.validation import ValidationMixin
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.memory import peak_memory
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import cannot_be_built
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.utils.spectral_norm import advance_power_iteration, power_iteration
from metaf2n_arch.weights.records import RECORD, TrainingRecord
from metaf2n_arch.weights.search import locate

Values = dict[str, Tensor]
# Tells the draws of augmentations from others of the same seed.
AUGMENTATION = 15


class BaseGANSRModel(ValidationMixin, SRGANModel):
    """A generator trained with a list of losses, with or without a discriminator.

    A subclass says in `compute_gradients` how gradients come about, and may add networks in `build_networks`.
    Everything else, from options to checkpoints, is here.
    """

    degraded_alike = False
    """Whether all of a task must stay degraded by its one draw, so that augmentations which change that are refused."""

    def __init__(self, opt: dict[str, Any]) -> None:
        # The stock constructor starts the training set-up as soon as it has net_g; ours lets a subclass add networks
        # first.
        BaseModel.__init__(self, opt)
        if opt['num_gpu'] > 1 and not opt['dist']:
            raise OptionError(
                f'num_gpu is {opt["num_gpu"]} in a single process; start one process per GPU: '
                f'torchrun --nproc_per_node={opt["num_gpu"]} -m basicsr.train -opt ... --launcher pytorch'
            )
        self.performance = Performance(
            parse_block(PerformanceOptions, self.opt.get('performance'), 'performance'), self.device
        )
        self.color_fix = parse_block(ColorFixOptions, self.opt.get('color_fix'), 'color_fix')
        self.net_g = self.make_network('g')
        self.build_networks()
        if self.is_train:
            self.init_training_settings()

    # networks ---------------------------------------------------------------------------------------------------------

    def build_networks(self) -> None:
        """Builds what a subclass needs beside the generator, in training and at test time."""

    def make_network(self, label: str) -> nn.Module:
        """Builds ``network_<label>``, loads ``path.pretrain_network_<label>`` into it and moves it to the device."""
        options = self.opt.get(f'network_{label}')
        if options is None:
            raise OptionError(f'network_{label}: missing; it must be given for the model {self.opt["model_type"]}.')
        net = self.model_to_device(_built(options, f'network_{label}'))
        self._load_pretrained(net, label, self.opt['path'].get(f'param_key_{label}', 'params'))
        return net

    def _load_pretrained(self, net: nn.Module, label: str, param_key: str | None) -> None:
        """Loads ``path.pretrain_network_<label>``, a file or a name of ``metaf2n weights list``, if it is given."""
        path = self.opt['path'].get(f'pretrain_network_{label}')
        if path is not None:
            self.load_network(net, str(locate(path)), self.opt['path'].get(f'strict_load_{label}', True), param_key)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        net = self.performance.lay_out(net.to(self.device))
        if self.opt['dist']:
            broadcast_from_first(net)
        return net

    # training set-up --------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        self.train_options = parse_block(GANTrainOptions, self.opt['train'], 'train')
        self.losses = LossTerms(self.opt['train']['losses']).to(self.device)
        self.augmentations = Augmentations(self.train_options.augmentations, degraded_alike=self.degraded_alike)
        self.influence: GradientShares | None = None
        self.idle_losses: set[str] = set()
        self.sharpen = USMSharp().to(self.device) if self.losses.needs_usm else None
        self.net_d: nn.Module | None = self.make_network('d').train() if self.losses.needs_critic else None
        self.net_g.train()
        wanted = self.train_options.average
        self.average = None if wanted is None else Average(wanted)
        self.doubts = Doubts(self.opt)
        if self.average is not None:
            self._start_average()
            self.doubts.average(self.average.options, self.opt['train'], self.opt.get('val') or {})
        self.accumulation = Accumulation(self.train_options.accumulate)
        self.step_g = GuardedStep(self.train_options.safety, self.opt['dist'], self.performance.scaler())
        self.step_d = GuardedStep(self.train_options.safety, self.opt['dist'], self.performance.scaler())
        self.setup_optimizers()
        self.setup_schedulers()

    def _start_average(self) -> None:
        self.net_g_ema = deepcopy(self.net_g).eval()
        self.net_g_ema.requires_grad_(False)
        self._load_pretrained(self.net_g_ema, 'g', 'params_ema')

    def trained_parameters(self) -> list[Any]:
        """What ``optim_g`` trains: parameters, or parameter groups."""
        return [p for p in self.net_g.parameters() if p.requires_grad]

    def setup_optimizers(self) -> None:
        options = self.opt['train']
        self.optimizer_g = build_optimizer(options['optim_g'], self.trained_parameters(), 'train.optim_g')
        self.optimizers.append(self.optimizer_g)
        if self.net_d is not None:
            if options.get('optim_d') is None:
                raise OptionError('train.optim_d: missing; the adversarial losses train a discriminator.')
            self.optimizer_d = build_optimizer(options['optim_d'], self.net_d.parameters(), 'train.optim_d')
            self.optimizers.append(self.optimizer_d)
        if self.average is not None and switches(self.optimizer_g):
            raise OptionError(
                f'train.optim_g: {options["optim_g"]["type"]} averages the weights by itself; '
                'leave ema and ema_decay out.'
            )

    def setup_schedulers(self) -> None:
        metrics = (self.opt.get('val') or {}).get('metrics')
        self.schedulers = build_schedulers(self.opt['train'], self.optimizers, metrics)

    # one iteration ----------------------------------------------------------------------------------------------------

    def compute_gradients(self, current_iter: int) -> Values:
        """Leaves the gradients of all trained networks in their ``.grad`` and returns the values to log.

        The discriminator's come from `teach_critic`, with the same outputs as the generator's.

        Raises:
            NotImplementedError: always, here; each model has its own.
        """
        raise NotImplementedError

    def optimize_parameters(self, current_iter: int) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        if self.net_d is not None and self.accumulation.position == 0:
            advance_power_iteration(self.net_d)  # once per step, not with each forward
        self.influence = self._start_shares(current_iter)
        with self.performance.saving():
            values = self.compute_gradients(current_iter)
        if self.influence is not None:
            values.update(self.influence.values())
        if self.accumulation.complete(trained_by(*self.optimizers)):
            self._step(current_iter)
        skipped = self.step_g.skipped + self.step_d.skipped
        if skipped:
            values['skipped_steps'] = torch.tensor(float(skipped), device=self.device)
        self.log_dict = self.reduce_loss_dict(OrderedDict(sorted(values.items())))
        self.log_dict['peak_memory_gb'] = peak_memory(self.device) / 1e9
        if self.step_g.scaler is not None:
            self.log_dict['loss_scale'] = self.step_g.scaler.get_scale()
        self._warn_of_idle_losses(current_iter)

    def _step(self, current_iter: int) -> None:
        """Steps the optimizers whose turn it is, and takes the weights into the average."""
        options = self.train_options
        step = -(-current_iter // options.accumulate)
        trains_generator = step % options.net_d_iters == 0 and current_iter > options.net_d_init_iters
        if trains_generator and self.step_g(self.optimizer_g, current_iter) and self.average is not None:
            self.average.follow(self)
        if self.net_d is not None:
            self.step_d(self.optimizer_d, current_iter)

    def _start_shares(self, current_iter: int) -> GradientShares | None:
        """What `compute_gradients` tells each loss's gradient, in iterations that are printed: in all if it is wanted,
        else in the first, to find losses that teach nothing."""
        first = current_iter == self.doubts.every and len(self.losses.terms) > 1
        return GradientShares() if first or (self._logs_shares and self.doubts.looks(current_iter)) else None

    @property
    def _logs_shares(self) -> bool:
        return bool((self.opt.get('logger') or {}).get('loss_shares', False))

    def _warn_of_idle_losses(self, current_iter: int) -> None:
        """Warns once of each loss whose gradient hardly counts; keeps the shares in the log only where wanted."""
        shares = {name: share for name, share in self.log_dict.items() if name.startswith('share_')}
        for name, share in shares.items():
            term = name.removeprefix('share_')
            if share < LEAST and term not in self.idle_losses:
                self.idle_losses.add(term)
                get_root_logger().warning(
                    f'iteration {current_iter}: the loss {term} has {100 * share:.2g} % of the gradient that reaches '
                    'the output: training hardly sees it. If it stays so, raise its loss_weight or leave it out.'
                )
            if not self._logs_shares:
                del self.log_dict[name]

    def critic(self, images: Tensor) -> Tensor:
        """The discriminator's logits, spectral norms held still."""
        assert self.net_d is not None
        with power_iteration(self.net_d, enabled=False):
            return self.performance.faster(self.net_d)(images)

    def teach_critic(
        self,
        output: Tensor,
        data: Data,
        critic: SharedCritic,
        current_iter: int,
        shares: Shares | None = None,
        weight: float = 1.0,
    ) -> Values:
        """Adds the discriminator's gradient on the generator's output to its ``.grad``; returns the values to log.

        Called before the generator's gradient is taken, while the graph of the logits that `critic` remembers is there.
        """
        assert self.net_d is not None
        loss, values = self.losses.discriminator(output.detach(), data, critic, current_iter, shares)
        if loss.requires_grad:  # else no adversarial term counts yet
            weights = [p for p in self.net_d.parameters() if p.requires_grad]
            scaled = self.step_d.scaled(weight * loss)
            found = torch.autograd.grad(scaled, weights, retain_graph=True, allow_unused=True)
            for p, g in zip(weights, found):
                if g is not None:
                    p.grad = g.detach() if p.grad is None else p.grad + g
        return values

    def fixed(self, output: Tensor, lq: Tensor, training: bool = False) -> Tensor:
        """A restored image under the block ``color_fix``: at test time always, in training where it says so."""
        options = self.color_fix
        if options.type == 'none' or (training and not options.in_training):
            return output
        return ColorFix(options.type, options.sigma)(output, lq)

    @contextmanager
    def restoring(self) -> Iterator[nn.Module]:
        """The generator that restores, its average where there is one, in evaluation mode for the time of the block."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.net_g
        training = net.training
        net.eval()
        try:
            yield net
        finally:
            net.train(training)

    def augmented(self, lq: Tensor, gt: Tensor, current_iter: int, task: int = 0) -> tuple[Tensor, Tensor]:
        """A batch after ``train.augmentations``: the draw depends on seed, iteration, process and task alone."""
        if not self.augmentations:
            return lq, gt
        key = (self.opt.get('manual_seed') or 0, AUGMENTATION, current_iter, self.opt.get('rank', 0), task)
        return self.augmentations(lq, gt, numpy_generator(*key))

    def targets(self, gt: Tensor) -> dict[str, Tensor | None]:
        """What losses may compare with: the ground truth and, where a term asks for it, its sharpened version."""
        return {'gt': gt, 'gt_usm': self.sharpen(gt) if self.sharpen is not None else None}

    # checkpoints ------------------------------------------------------------------------------------------------------

    def other_networks(self) -> Mapping[str, nn.Module]:
        """Networks beside the generator that a checkpoint holds, by label."""
        return {} if self.net_d is None else {'d': self.net_d}

    def beside_generator(self) -> dict[str, nn.Module]:
        """What the generator's file holds beside the generator itself, by key."""
        return {'params_ema': self.net_g_ema} if self.average is not None else {}

    def training_record(self, current_iter: int) -> TrainingRecord:
        """How the networks are trained, for their files; a subclass adds what it knows."""
        return TrainingRecord(
            model=self.opt['model_type'],
            scale=self.opt['scale'],
            iteration=max(0, current_iter),
            color_fix=self.color_fix.type if self.color_fix.in_training else None,
            color_fix_sigma=self.color_fix.sigma if self.color_fix.in_training else None,
            program=f'metaf2n_arch {__version__}',
        )

    def recorded(self, net_label: str, current_iter: int) -> dict[str, Any]:
        """What a file of a network holds beside the weights, by key; `net_label` is ``net_g``, ``net_m``, ``net_d``."""
        return {} if net_label == 'net_d' else {RECORD: self.training_record(current_iter).plain()}

    def save(self, epoch: int, current_iter: int) -> None:
        content = {'params': self.net_g, **self.beside_generator()}
        self.save_network(list(content.values()), 'net_g', current_iter, param_key=list(content))
        for label, net in self.other_networks().items():
            self.save_network(net, f'net_{label}', current_iter)
        self.save_training_state(epoch, current_iter)

    def more_state(self) -> dict[str, Any]:
        """What an exact resume needs of this model, beyond networks, optimizers and schedulers."""
        average = {} if self.average is None else {'average': self.average.state_dict()}
        return {'guard_g': self.step_g.state_dict(), 'guard_d': self.step_d.state_dict(), **average}

    def resume_more(self, state: dict[str, Any]) -> None:
        """Takes back what `more_state` gave."""
        self.step_g.load_state_dict(state['guard_g'])
        self.step_d.load_state_dict(state['guard_d'])
        if self.average is not None and 'average' in state:
            self.average.load_state_dict(state['average'])

    def own_state(self) -> dict[str, Any]:
        """What an exact resume needs of this process alone: gradients accumulated since the last step."""
        return self.accumulation.state_dict()

    def resume_own(self, state: dict[str, Any]) -> None:
        """Takes back what `own_state` gave."""
        self.accumulation.load_state_dict(state, trained_by(*self.optimizers))

    def model_ema(self, decay: float = 0.999) -> None:
        """Averages the parameters; buffers, which the host forgets, are taken over as they are."""
        super().model_ema(decay)
        for average, buffer in zip(self.net_g_ema.buffers(), self.net_g.buffers()):
            average.copy_(buffer)


def _built(options: dict[str, Any], where: str) -> nn.Module:
    """The network of an option block; whatever it makes of wrong arguments is one line that names the block."""
    try:
        return build_network(deepcopy(options))
    except (OptionError, DataError):
        raise
    except Exception as error:
        arguments = {key: value for key, value in options.items() if key != 'type'}
        raise OptionError(f'{where}: {cannot_be_built(options.get("type"), arguments, error)}') from None


def mean_values(collected: list[Values]) -> Values:
    """The mean of each named value over the dictionaries that have it."""
    names = {name: None for values in collected for name in values}
    return {n: torch.stack([v[n].float() for v in collected if n in v]).mean() for n in names}
