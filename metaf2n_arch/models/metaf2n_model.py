"""MetaF2N model: a generator trained to adapt to a photo's degradation by one gradient step on the photo's faces."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.functional.low_frequency import SHARPEST, drift
from metaf2n_arch.functional.relativistic import means_of_own_batch
from metaf2n_arch.meta import (
    MetaGradient,
    Params,
    accumulate,
    assign_gradients,
    functional,
    meta_gradient,
    select,
    step_weights,
)
from metaf2n_arch.meta.guarded import PAPER_LR, PROBE, Behind, Guard, adapt_guarded, probes_of
from metaf2n_arch.meta.params import gradient_of
from metaf2n_arch.meta.photo import adapt_to_faces
from metaf2n_arch.meta.scaling import LossScale
from metaf2n_arch.meta.support import weighted_l1
from metaf2n_arch.models.base_gan_sr import BaseGANSRModel, Values, mean_values
from metaf2n_arch.models.critic import mixes_images
from metaf2n_arch.models.inner_rates import KEY, InnerRates
from metaf2n_arch.models.model_options import FaceOptions, MetaOptions
from metaf2n_arch.models.outer_loss import OuterLoss
from metaf2n_arch.models.tasks import Task, make_tasks
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.registries import register
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.files import with_recorded
from metaf2n_arch.weights.records import TrainingRecord
from metaf2n_arch.weights.search import locate

PROBES = 12
"""Number of patches, spread over a photo, on which ``inner_lr: auto`` checks changes of brightness and colour."""

NO_TASKS = (
    'MetaF2NModel got images without faces, but trains on tasks of faces and images; use the data set type '
    'MetaF2NDataset, or the model GANSRModel for images without faces.'
)


@register(MODEL_REGISTRY)
class MetaF2NModel(BaseGANSRModel):
    """MetaF2N (Yin et al., ICCV 2023, arXiv 2309.08113) with any generator and any list of outer losses.

    Inner loop, on faces X and their restorations Y:   θ' = θ - α ∇_θ mean(W_φ · |Y - G_θ(X)|)
    Outer loop, on natural images, trains θ and φ:     min Σ_i w_i L_i(G_θ'(x), y) [+ a regulariser of W_φ]

    Networks: ``network_g`` (θ), ``network_m`` (MaskNet, φ), ``network_d`` if a loss is adversarial. Option blocks:
    ``meta`` (`MetaOptions`), ``face`` (`FaceOptions`), ``train`` (`GANTrainOptions`).
    """

    degraded_alike = True

    def build_networks(self) -> None:
        self.meta = parse_block(MetaOptions, self.opt.get('meta'), 'meta')
        self.face = parse_block(FaceOptions, self.opt.get('face'), 'face')
        if self.performance.options.compile is not None:
            raise OptionError(
                'performance.compile: MetaF2NModel differentiates its generator twice, which compiled graphs do not '
                'support; remove this option.'
            )
        if self.is_train and self.meta.inner_lr == 'auto':
            raise OptionError('meta.inner_lr is auto, which is for test time only; train with a number or learned.')
        if self.is_train and mixes_images(self.net_g):
            raise OptionError(
                f'network_g: {self.opt["network_g"]["type"]} has batch normalisation, whose running statistics are not '
                'updated while the inner loop replaces the parameters; use a network without batch normalisation.'
            )
        mask_weights = self.opt['path'].get('pretrain_network_m')
        if mask_weights is not None and self.opt.get('network_m') is not None:
            self.opt['network_m'] = with_recorded(self.opt['network_m'], locate(mask_weights), 'network_m')
        self.net_m = self.make_network('m')
        self.adapt_only = select((name for name, _ in self.net_g.named_parameters()), self.meta.adapt_only)
        self.rates = self._make_rates() if self.meta.inner_lr == 'learned' else None
        self.restorer = build_restorer(self.face.restorer) if self.is_train else None
        if self.restorer is not None:
            self.restorer.to(self.device)
        self.start_validation()

    def _make_rates(self) -> InnerRates:
        rates = InnerRates(self.adapt_only, self.meta.inner_lr_start)
        path = self.opt['path'].get('pretrain_network_g')
        if path is not None:
            rates.load(locate(path), required=not self.is_train)
        self.model_to_device(rates)
        return rates

    def trained_parameters(self) -> list[Any]:
        rates = [] if self.rates is None else self.rates.parameters()
        return [*super().trained_parameters(), *self.net_m.parameters(), *rates]

    def beside_generator(self) -> dict[str, nn.Module]:
        return {**super().beside_generator(), **({} if self.rates is None else {KEY: self.rates})}

    def inner_lr(self) -> float | Params:
        """Returns α, or the learned rates by the names of their tensors."""
        if self.rates is not None:
            return self.rates.by_name()
        return PAPER_LR if self.meta.inner_lr == 'auto' else float(self.meta.inner_lr)

    def training_record(self, current_iter: int) -> TrainingRecord:
        restorer = self.face.restorer
        return (
            super()
            .training_record(current_iter)
            .model_copy(
                update={
                    'inner_lr': self.meta.inner_lr,
                    'inner_steps': self.meta.inner_steps,
                    'mode': self.meta.mode,
                    'adapt_only': self.meta.adapt_only,
                    'patches': self.face.patches,
                    'patch_size': self.face.patch_size,
                    'restorer': None if restorer is None else f'{restorer.type} {restorer.size or 512}',
                    'mask_upsample': getattr(self.net_m, 'upsample', None),
                }
            )
        )

    def other_networks(self) -> Mapping[str, nn.Module]:
        return {'m': self.net_m, **super().other_networks()}

    # training ---------------------------------------------------------------------------------------------------------

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Takes the tasks of a batch of `MetaF2NDataset`, or one photo of `FacePairDataset`, to the device.

        Raises:
            DataError: the data have neither ``face`` nor ``lq``.
        """
        if 'face' in data:
            self.tasks = make_tasks(data, self.opt['scale'], self.restorer, self.device)
            self.num_tasks = len(data['face'])
        elif 'lq' in data:
            self.num_tasks = 0
            self._feed_photo(data)
        else:
            raise DataError(NO_TASKS)

    def optimize_parameters(self, current_iter: int) -> None:
        with means_of_own_batch():  # relativistic losses take means over one task only, not over processes
            super().optimize_parameters(current_iter)

    def compute_gradients(self, current_iter: int) -> Values:
        if not self.num_tasks:
            raise DataError(NO_TASKS)
        theta, phi = parameters(self.net_g), parameters(self.net_m)
        detailed = current_iter % self.opt['logger']['print_freq'] == 0
        collected: list[Values] = []

        def gradients() -> Iterator[MetaGradient]:
            for number, task in enumerate(self.tasks):  # one by one: memory does not grow with their number
                task = self._augmented_task(task, current_iter, number)
                gradient, values = self._task_gradient(theta, phi, task, current_iter, detailed)
                collected.append(values)
                yield gradient

        gradient = accumulate(gradients())
        self._assign(theta, gradient.theta)
        self._assign(phi, gradient.phi)
        values = mean_values(collected)
        if self.rates is not None:
            self._assign(self.rates.by_name(), gradient.inner_lr or {})
            values['inner_lr_mean'] = torch.stack([rate.detach() for rate in self.rates.parameters()]).mean()
        return values

    def _assign(self, parameters: Params, gradients: Params) -> None:
        """Leaves gradients in ``.grad`` as the optimizer's step expects them: under fp16 of the scaled loss."""
        assign_gradients(parameters, {name: self.step_g.scaled(g) for name, g in gradients.items()})

    def _augmented_task(self, task: Task, current_iter: int, number: int) -> Task:
        """Returns the task with augmented query images; its support does not change."""
        lq, gt = self.augmented(task.query_lq, task.query_gt, current_iter, number)
        return replace(task, query_lq=lq, query_gt=gt)

    def _task_gradient(
        self, theta: Params, phi: Params, task: Task, current_iter: int, detailed: bool
    ) -> tuple[MetaGradient, Values]:
        """Returns the gradient of one task and the values to log; the discriminator's is added to its ``.grad``.

        The confidence map does not depend on θ. So it is computed once, and the gradient with respect to the map is
        propagated back through MaskNet at the end.
        """
        confidence = self.performance.pure(self.net_m)(phi, task.support_lq, task.support_hq)
        self.doubts.confidence(confidence, current_iter)
        trust = {'confidence': confidence.detach()}
        inner_loss = weighted_l1(self.generate, lambda trust, *_: trust['confidence'], task.support_lq, task.support_hq)
        outer = OuterLoss(self, task, current_iter)
        scale = LossScale(self.step_g.scale)
        result = meta_gradient(
            theta,
            trust,
            inner_loss,
            outer.terms,
            inner_lr=self.inner_lr(),
            inner_steps=self.meta.inner_steps,
            mode=self.meta.mode,
            adapt_only=self.adapt_only,
            step_weights=self._step_weights(current_iter),
            keep_graph=self.meta.keep_graph,
            curvature=self.meta.curvature,
            loss_scale=scale.value,
        )
        by_phi = torch.autograd.grad(confidence, list(phi.values()), scale.value * result.phi['confidence'])
        result = replace(result, phi=scale.off(dict(zip(phi, by_phi))))
        result = self._with_unadapted_loss(result, theta, trust, outer)
        values = {**outer.values, 'l_inner': result.inner_losses[0], 'l_g_total': result.outer_losses[-1]}
        if detailed:
            with torch.no_grad():
                values['l_inner_adapted'] = inner_loss(result.fast_params, trust)
                unadapted = [term(theta, trust, 0) for term in outer.terms]
                values['l_g_total_unadapted'] = torch.stack(unadapted).sum()
        return result, values

    def generate(self, theta: Params, lq: Tensor) -> Tensor:
        """Returns G_θ(x) in training, with the colour fix if `color_fix.in_training`.

        Args:
            theta: parameters of the generator.
            lq: (B, 3, h, w) RGB in [0, 1].

        Returns:
            (B, 3, s·h, s·w) RGB, about [0, 1], s the scale.
        """
        return self.fixed(self.performance.pure(self.net_g)(theta, lq), lq, training=True)

    def _with_unadapted_loss(
        self, result: MetaGradient, theta: Params, trust: Params, outer: OuterLoss
    ) -> MetaGradient:
        """Adds w ∇_θ L(θ) to the gradient; w is `MetaOptions.unadapted_weight`."""
        weight = self.meta.unadapted_weight
        if weight == 0:
            return result
        by_theta, scale = result.theta, LossScale(self.step_g.scale)
        for term in outer.terms:
            loss = weight * scale.value * term(theta, trust, 0)
            if not loss.requires_grad:  # before other losses than MaskNet's regulariser have started
                continue
            own = scale.off(dict(zip(theta, gradient_of(loss, list(theta.values())))))
            by_theta = {name: by_theta[name] + g for name, g in own.items()}
        return replace(result, theta=by_theta)

    def _step_weights(self, current_iter: int) -> tuple[float, ...]:
        return step_weights(self.meta.inner_steps, current_iter, self.meta.annealing_iters)

    # restoring a photo ------------------------------------------------------------------------------------------------

    def start_validation(self) -> None:
        self.photos = self.photos_without_face = 0

    def validation_notes(self) -> dict[str, float]:
        return {'images': self.photos, 'images without faces, restored unadapted': self.photos_without_face}

    def _feed_photo(self, data: Mapping[str, Any]) -> None:
        self.lq = data['lq'].to(self.device)
        self.gt = data['gt'].to(self.device) if 'gt' in data else None
        self.photo_key = zlib.crc32(str(data.get('lq_path', [''])[0]).replace('\\', '/').rsplit('/', 1)[-1].encode())
        lqs, hqs = data.get('face_lq', []), data.get('face_hq', [])
        self.faces = [(lq[0].to(self.device), hq[0].to(self.device)) for lq, hq in zip(lqs, hqs)]

    def test(self) -> None:
        """Adapts to the photo's faces and restores the whole photo; the model's own weights do not change."""
        with self.restoring() as net, torch.no_grad():
            self.unadapted = self.fixed(net(self.lq), self.lq)
            fast = self.adapted_parameters(net)
            adapted = None if fast is None else functional(net)(fast, self.lq)
            self.output = self.unadapted if adapted is None else self.fixed(adapted, self.lq)
        self.photos += 1
        self.photos_without_face += fast is None

    def adapted_parameters(self, net: nn.Module) -> Params | None:
        """Returns the parameters after the inner loop on this photo's faces.

        None if the photo has no faces, or if ``inner_lr: auto`` found no gain. The random patches depend on the file's
        name and the seed, not on the order or number of photos.
        """
        rng = numpy_generator(self.opt.get('manual_seed') or 0, self.photo_key)
        options: dict[str, Any] = {
            'patches': self.face.patches,
            'lq_patch_size': self.face.patch_size // self.opt['scale'],
            'inner_lr': self.inner_lr(),
            'inner_steps': self.meta.inner_steps,
            'adapt_only': self.adapt_only,
        }
        if self.meta.inner_lr == 'auto':
            probes = probes_of(self.lq, PROBE, PROBES, numpy_generator(0))
            behind: Behind = 'output' if self.color_fix.in_training else 'neither'
            guard = Guard(probes, lambda y, x: drift(y, x, SHARPEST), self.fixed, behind)
            result = adapt_guarded(net, self.net_m, self.faces, rng, guard, **options)
        else:
            finish = partial(self.fixed, training=True)
            result = adapt_to_faces(net, self.net_m, self.faces, rng, finish=finish, **options)
        return None if result is None or not result.kept else result.fast_params

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """Returns ``lq``, ``result``, ``unadapted`` and, if there is one, ``gt``: (1, 3, H, W) RGB on the CPU."""
        visuals = OrderedDict(lq=self.lq.cpu(), result=self.output.cpu(), unadapted=self.unadapted.cpu())
        if self.gt is not None:
            visuals['gt'] = self.gt.cpu()
        return visuals

    def grid_of(self, visuals: Mapping[str, Tensor]) -> Tensor:
        """Adds the confidence map of the photo's first face to the grid, if there is a face."""
        if not self.faces:
            return super().grid_of(visuals)
        lq, hq = self.faces[0]
        with torch.no_grad():
            return super().grid_of({**visuals, 'confidence': self.net_m(lq[None], hq[None])})


def parameters(net: nn.Module) -> Params:
    """Returns the parameters of a network by name."""
    return dict(net.named_parameters())
