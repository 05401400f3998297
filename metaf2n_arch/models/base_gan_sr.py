"""Base class of the models: networks, losses from a list, optimizers, guarded steps, averaging, several processes.

BasicSR's `SRGANModel` has one option per loss, and wraps its networks in `DistributedDataParallel`, which does not see
gradients of `torch.autograd.grad`. Here the losses are a list, the networks are not wrapped, and the gradients are
averaged over the processes explicitly.
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
# Part of the random key of augmentations, so that their draws differ from others with the same seed.
AUGMENTATION = 15


class BaseGANSRModel(ValidationMixin, SRGANModel):
    """A generator trained with a list of losses, with or without a discriminator.

    A subclass computes the gradients in `compute_gradients`, and may add networks in `build_networks`. Everything else,
    from options to checkpoints, is here.
    """

    degraded_alike = False
    """Whether all images of a task share one degradation; augmentations that would change this raise an error."""

    def __init__(self, opt: dict[str, Any]) -> None:
        # Not the constructor of SRGANModel: it sets up the training before a subclass can add networks.
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
        """Builds further networks of a subclass, in training and at test time; does nothing here."""

    def make_network(self, label: str) -> nn.Module:
        """Builds ``network_<label>``, moves it to the device and loads ``path.pretrain_network_<label>``.

        Raises:
            OptionError: the block is missing, or the network rejects its arguments.
            DataError: the weights cannot be read, or belong to another network.
        """
        options = self.opt.get(f'network_{label}')
        if options is None:
            raise OptionError(f'network_{label}: missing; the model {self.opt["model_type"]} needs this block.')
        net = self.model_to_device(_built(options, f'network_{label}'))
        self._load_pretrained(net, label, self.opt['path'].get(f'param_key_{label}', 'params'))
        return net

    def _load_pretrained(self, net: nn.Module, label: str, param_key: str | None) -> None:
        """Loads ``path.pretrain_network_<label>``, if given: a file, or a name of ``metaf2n weights list``."""
        path = self.opt['path'].get(f'pretrain_network_{label}')
        if path is not None:
            self.load_network(net, str(locate(path)), self.opt['path'].get(f'strict_load_{label}', True), param_key)

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves a network to the model's device; with several processes, copies the weights of rank 0 to all."""
        net = self.performance.lay_out(net.to(self.device))
        if self.opt['dist']:
            broadcast_from_first(net)
        return net

    # training set-up --------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Builds all that only training needs, from the block ``train`` (`GANTrainOptions`).

        Raises:
            OptionError: a wrong option.
        """
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
        """Returns what ``optim_g`` trains: parameters, or parameter groups."""
        return [p for p in self.net_g.parameters() if p.requires_grad]

    def setup_optimizers(self) -> None:
        """Builds ``optim_g`` and, with a discriminator, ``optim_d``."""
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
                f'train.optim_g: {options["optim_g"]["type"]} averages the weights by itself; remove ema and ema_decay.'
            )

    def setup_schedulers(self) -> None:
        """Builds ``train.scheduler`` for each optimizer."""
        metrics = (self.opt.get('val') or {}).get('metrics')
        self.schedulers = build_schedulers(self.opt['train'], self.optimizers, metrics)

    # one iteration ----------------------------------------------------------------------------------------------------

    def compute_gradients(self, current_iter: int) -> Values:
        """Writes the gradients of all trained networks into ``.grad``, and returns the values to log.

        The gradient of the discriminator is added by `teach_critic`, from the same outputs of the generator.

        Raises:
            NotImplementedError: in this class; each model overrides it.
        """
        raise NotImplementedError

    def optimize_parameters(self, current_iter: int) -> None:
        """Runs one iteration: computes the gradients, steps the optimizers, and fills `log_dict`.

        Raises:
            TrainingDiverged: too many steps in a row without a finite gradient.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        if self.net_d is not None and self.accumulation.position == 0:
            advance_power_iteration(self.net_d)  # once per step, not in each forward pass
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
        """Steps the optimizers that are due in this iteration, and updates the average."""
        options = self.train_options
        step = -(-current_iter // options.accumulate)
        trains_generator = step % options.net_d_iters == 0 and current_iter > options.net_d_init_iters
        if trains_generator and self.step_g(self.optimizer_g, current_iter) and self.average is not None:
            self.average.follow(self)
        if self.net_d is not None:
            self.step_d(self.optimizer_d, current_iter)

    def _start_shares(self, current_iter: int) -> GradientShares | None:
        """The recorder of each loss's share of the gradient, or None in iterations without one.

        It records in all iterations that are logged, if `logger.loss_shares` is set; else only in the first of them, to
        warn of losses without an effect.
        """
        first = current_iter == self.doubts.every and len(self.losses.terms) > 1
        wanted = first or (self._logs_shares and self.doubts.looks(current_iter))
        return GradientShares(self.step_g.scale) if wanted else None

    @property
    def _logs_shares(self) -> bool:
        return bool((self.opt.get('logger') or {}).get('loss_shares', False))

    def _warn_of_idle_losses(self, current_iter: int) -> None:
        """Warns once of each loss with almost no gradient; removes the shares from the log if they are not wanted."""
        shares = {name: share for name, share in self.log_dict.items() if name.startswith('share_')}
        for name, share in shares.items():
            term = name.removeprefix('share_')
            if share < LEAST and term not in self.idle_losses:
                self.idle_losses.add(term)
                get_root_logger().warning(
                    f'iteration {current_iter}: the loss {term} makes {100 * share:.2g} % of the gradient at the '
                    'output, so it has almost no effect. If this does not change, raise its loss_weight or remove it.'
                )
            if not self._logs_shares:
                del self.log_dict[name]

    def critic(self, images: Tensor) -> Tensor:
        """Returns the discriminator's logits, without a power iteration of spectral normalisation."""
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
        """Adds the gradient of the discriminator's loss to its ``.grad``, and returns the values to log.

        Call it before the generator's backward pass, which frees the graph of the logits in `critic`.

        Args:
            output: the generator's images, (B, 3, H, W) RGB in [0, 1].
            data: what losses compare with, see `targets`.
            critic: the discriminator, which also judged `output` for the generator's losses.
            current_iter: iteration, for losses that start later.
            shares: weight of this image in each loss, if `output` is one image of a batch; see `LossTerms.shares`.
            weight: factor of the whole loss.
        """
        assert self.net_d is not None
        loss, values = self.losses.discriminator(output.detach(), data, critic, current_iter, shares)
        if loss.requires_grad:  # else no adversarial loss has started yet
            weights = [p for p in self.net_d.parameters() if p.requires_grad]
            scaled = self.step_d.scaled(weight * loss)
            found = torch.autograd.grad(scaled, weights, retain_graph=True, allow_unused=True)
            for p, g in zip(weights, found):
                if g is not None:
                    p.grad = g.detach() if p.grad is None else p.grad + g
        return values

    def fixed(self, output: Tensor, lq: Tensor, training: bool = False) -> Tensor:
        """Applies the block ``color_fix`` to restored images: always at test time, in training if `in_training`.

        Args:
            output: restored images, (B, 3, s·h, s·w) RGB in [0, 1].
            lq: the images that they were made from, (B, 3, h, w) RGB in [0, 1].
            training: whether this is a training step.
        """
        options = self.color_fix
        if options.type == 'none' or (training and not options.in_training):
            return output
        return ColorFix(options.type, options.sigma)(output, lq)

    @contextmanager
    def restoring(self) -> Iterator[nn.Module]:
        """Yields the generator for restoring, in evaluation mode: the average of the weights, if there is one."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.net_g
        training = net.training
        net.eval()
        try:
            yield net
        finally:
            net.train(training)

    def augmented(self, lq: Tensor, gt: Tensor, current_iter: int, task: int = 0) -> tuple[Tensor, Tensor]:
        """Applies ``train.augmentations`` to a batch; the draw depends on seed, iteration, process and task only."""
        if not self.augmentations:
            return lq, gt
        key = (self.opt.get('manual_seed') or 0, AUGMENTATION, current_iter, self.opt.get('rank', 0), task)
        return self.augmentations(lq, gt, numpy_generator(*key))

    def targets(self, gt: Tensor) -> dict[str, Tensor | None]:
        """Returns the targets of losses: the ground truth ``gt`` and, if a loss uses it, ``gt_usm``, sharpened."""
        return {'gt': gt, 'gt_usm': self.sharpen(gt) if self.sharpen is not None else None}

    # checkpoints ------------------------------------------------------------------------------------------------------

    def other_networks(self) -> Mapping[str, nn.Module]:
        """Returns the networks of a checkpoint other than the generator, by label."""
        return {} if self.net_d is None else {'d': self.net_d}

    def beside_generator(self) -> dict[str, nn.Module]:
        """Returns what the generator's file holds in addition to the generator, by key."""
        return {'params_ema': self.net_g_ema} if self.average is not None else {}

    def training_record(self, current_iter: int) -> TrainingRecord:
        """Returns the training record for the files of the networks; a subclass adds its own fields."""
        return TrainingRecord(
            model=self.opt['model_type'],
            scale=self.opt['scale'],
            iteration=max(0, current_iter),
            color_fix=self.color_fix.type if self.color_fix.in_training else None,
            color_fix_sigma=self.color_fix.sigma if self.color_fix.in_training else None,
            program=f'metaf2n_arch {__version__}',
        )

    def recorded(self, net_label: str, current_iter: int) -> dict[str, Any]:
        """Returns what the file of a network (``net_g``, ``net_m``, ``net_d``) holds in addition to weights, by key."""
        return {} if net_label == 'net_d' else {RECORD: self.training_record(current_iter).plain()}

    def save(self, epoch: int, current_iter: int) -> None:
        """Writes all networks and the training state of an iteration; -1 writes the networks as ``latest``."""
        content = {'params': self.net_g, **self.beside_generator()}
        self.save_network(list(content.values()), 'net_g', current_iter, param_key=list(content))
        for label, net in self.other_networks().items():
            self.save_network(net, f'net_{label}', current_iter)
        self.save_training_state(epoch, current_iter)

    def more_state(self) -> dict[str, Any]:
        """Returns the state for an exact resume, in addition to networks, optimizers and schedulers."""
        average = {} if self.average is None else {'average': self.average.state_dict()}
        return {'guard_g': self.step_g.state_dict(), 'guard_d': self.step_d.state_dict(), **average}

    def resume_more(self, state: dict[str, Any]) -> None:
        """Restores what `more_state` returned."""
        self.step_g.load_state_dict(state['guard_g'])
        self.step_d.load_state_dict(state['guard_d'])
        if self.average is not None and 'average' in state:
            self.average.load_state_dict(state['average'])

    def own_state(self) -> dict[str, Any]:
        """Returns the state of this process only: the gradients accumulated since the last optimizer step."""
        return self.accumulation.state_dict()

    def resume_own(self, state: dict[str, Any]) -> None:
        """Restores what `own_state` returned."""
        self.accumulation.load_state_dict(state, trained_by(*self.optimizers))

    def model_ema(self, decay: float = 0.999) -> None:
        """Averages the parameters, and copies the buffers, which BasicSR leaves out."""
        super().model_ema(decay)
        for average, buffer in zip(self.net_g_ema.buffers(), self.net_g.buffers()):
            average.copy_(buffer)


def _built(options: dict[str, Any], where: str) -> nn.Module:
    """Builds the network of an option block; any error about its arguments becomes one line that names the block."""
    try:
        return build_network(deepcopy(options))
    except (OptionError, DataError):
        raise
    except Exception as error:
        arguments = {key: value for key, value in options.items() if key != 'type'}
        raise OptionError(f'{where}: {cannot_be_built(options.get("type"), arguments, error)}') from None


def mean_values(collected: list[Values]) -> Values:
    """Returns the mean of each value over the dictionaries that contain it."""
    names = {name: None for values in collected for name in values}
    return {n: torch.stack([v[n].float() for v in collected if n in v]).mean() for n in names}
