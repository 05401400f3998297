"""`second` against the unrolled graph, through BasicSR's generators and a real face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from unrolled_reference import relative_difference, unrolled_gradient

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.meta import Params, functional, meta_gradient, select, step_weights

LIMIT = {torch.float32: 1e-5, torch.float64: 1e-10}


def rrdbnet() -> nn.Module:
    from basicsr.archs.rrdbnet_arch import RRDBNet

    return RRDBNet(3, 3, scale=4, num_feat=8, num_block=2, num_grow_ch=4)


def compact() -> nn.Module:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    return SRVGGNetCompact(num_feat=8, num_conv=3, act_type='leakyrelu')


def compact_prelu() -> nn.Module:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    return SRVGGNetCompact(num_feat=8, num_conv=3, act_type='prelu')


def resnet() -> nn.Module:
    from basicsr.archs.srresnet_arch import MSRResNet

    return MSRResNet(num_feat=8, num_block=2)


def swinir(drop_path_rate: float = 0.0) -> nn.Module:
    from basicsr.archs.swinir_arch import SwinIR

    return SwinIR(
        img_size=8,
        window_size=4,
        depths=(2,),
        num_heads=(2,),
        embed_dim=8,
        mlp_ratio=2,
        upscale=4,
        upsampler='pixelshuffledirect',
        drop_path_rate=drop_path_rate,
    )


def normalised(norm: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), norm(), nn.Tanh(), nn.Conv2d(8, 48, 3, padding=1), nn.PixelShuffle(4)
    )


def batch_norm() -> nn.Module:
    return normalised(lambda: nn.BatchNorm2d(8))


def instance_norm() -> nn.Module:
    return normalised(lambda: nn.InstanceNorm2d(8, affine=True))


def layer_norm() -> nn.Module:
    class ChannelsInnermost(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    return normalised(lambda: ChannelsInnermost(8))


NORMALISED = [batch_norm, instance_norm, layer_norm]
NETWORKS = [rrdbnet, compact, compact_prelu, resnet, swinir, *NORMALISED]


@dataclass
class Case:
    """One task on a photograph: the support a face and its confidence, the query another place."""

    net: nn.Module
    mask: nn.Module
    photo: Tensor
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self.net.to(self.dtype)
        self.mask.to(self.dtype)
        photo = self.photo.to(self.dtype)
        self.face = torch.cat([photo[..., 60:92, 200:232], photo[..., 100:132, 220:252]])
        self.face_lq = F.interpolate(self.face, scale_factor=0.25, mode='area')
        self.natural = photo[..., 300:348, 40:88]
        self.natural_lq = F.interpolate(self.natural, scale_factor=0.25, mode='area')
        self.theta, self.phi = dict(self.net.named_parameters()), dict(self.mask.named_parameters())
        self.call, self.call_mask = functional(self.net), functional(self.mask)

    def inner(self, theta: Params, phi: Params) -> Tensor:
        confidence = self.call_mask(phi, self.face_lq, self.face)
        return (confidence * (self.face - self.call(theta, self.face_lq)).abs()).mean()

    def outer(self, theta: Params, phi: Params, step: int) -> Tensor:
        regulariser = (self.call_mask(phi, self.face_lq, self.face) - 1).square().mean() / 2
        return (self.natural - self.call(theta, self.natural_lq)).abs().mean() + 0.1 * regulariser


@pytest.fixture
def case(astronaut_tensor: Tensor) -> Callable[..., Case]:
    def make(build: Callable[[], nn.Module] = rrdbnet, dtype: torch.dtype = torch.float64) -> Case:
        torch.manual_seed(0)
        return Case(build(), MaskNet(num_feat=8, num_conv=3, bias_last=1.0), astronaut_tensor, dtype)

    return make


@pytest.mark.filterwarnings('ignore:No forward derivative')
@pytest.mark.parametrize(
    ('dtype', 'curvature'),
    [(torch.float32, 'auto'), (torch.float64, 'auto'), (torch.float64, 'reverse'), (torch.float64, 'kept')],
)
@pytest.mark.parametrize('build', NETWORKS)
def test_second_equals_the_unrolled_graph(case, build, dtype, curvature) -> None:
    task = case(build, dtype)
    for steps, weights in [(1, None), (2, None), (2, (0.5, 0.5)), (5, None), (5, step_weights(5, 30, 100))]:
        wanted = unrolled_gradient(
            task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=steps, weights=weights
        )
        found = meta_gradient(
            task.theta,
            task.phi,
            task.inner,
            task.outer,
            inner_lr=1e-2,
            inner_steps=steps,
            step_weights=weights,
            curvature='auto' if curvature == 'kept' else curvature,
            keep_graph=curvature == 'kept',
        )
        assert relative_difference(found.theta, wanted.theta) < LIMIT[dtype]
        assert relative_difference(found.phi, wanted.phi) < LIMIT[dtype]
        total = sum(w * loss for w, loss in zip([w for w in weights or (1,) if w], found.outer_losses))
        torch.testing.assert_close(total, wanted.loss)
        assert found.finite


@pytest.mark.parametrize('switches', [{}, {'curvature': 'reverse'}, {'keep_graph': True}], ids=str)
def test_a_scale_of_losses_changes_no_bit_of_what_is_computed_in_float32(case, switches) -> None:
    """Powers of two go through products and sums as they are; only where numbers would vanish do they count."""
    task = case(compact, torch.float32)
    rates = {name: torch.tensor(1e-2, requires_grad=True) for name in task.theta}
    for inner_lr, scale in ((1e-2, 2.0**16), (rates, 2.0**7)):
        arguments = {'inner_lr': inner_lr, 'inner_steps': 2, **switches}
        wanted = meta_gradient(task.theta, task.phi, task.inner, task.outer, **arguments)
        found = meta_gradient(task.theta, task.phi, task.inner, task.outer, **arguments, loss_scale=scale)
        for part in ('theta', 'phi', 'inner_lr', 'fast_params'):
            before, after = getattr(wanted, part) or {}, getattr(found, part) or {}
            assert before.keys() == after.keys()
            assert all(torch.equal(before[name], after[name]) for name in before), part
        assert found.inner_losses == wanted.inner_losses
        assert found.outer_losses == wanted.outer_losses


@pytest.mark.filterwarnings('ignore:No forward derivative')
def test_a_network_that_draws_random_numbers_draws_the_same_ones_again(case) -> None:
    task = case(lambda: swinir(drop_path_rate=0.5))
    for steps in (1, 3):
        torch.manual_seed(steps)
        wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=steps)
        left_by_reference = torch.get_rng_state()
        torch.manual_seed(steps)
        found = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=steps)
        assert relative_difference(found.theta, wanted.theta) < 1e-10
        assert torch.equal(torch.get_rng_state(), left_by_reference)


@pytest.mark.parametrize('build', [rrdbnet, compact, compact_prelu, resnet])
def test_convolutional_generators_go_the_forward_route(case, build) -> None:
    task = case(build)
    found = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, curvature='forward')
    wanted = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, curvature='reverse')
    assert relative_difference(found.theta, wanted.theta) < 1e-10
    assert relative_difference(found.phi, wanted.phi) < 1e-10


@pytest.mark.parametrize('build', NORMALISED)
def test_normalisation_is_refused_on_the_forward_route(case, build) -> None:
    """Autograd would give a wrong second derivative there without a word."""
    task = case(build)
    with pytest.raises(RuntimeError, match=r"derivative of Native.*Norm cannot be differentiated; use 'reverse'"):
        meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, curvature='forward')


def test_batch_normalisation_by_fixed_statistics_goes_the_forward_route(case) -> None:
    task = case(lambda: batch_norm().eval())
    wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2)
    found = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, curvature='forward')
    assert relative_difference(found.theta, wanted.theta) < 1e-10


def test_a_checkpointed_inner_loss_falls_back_with_a_warning(case) -> None:
    from torch.utils.checkpoint import checkpoint

    task = case()

    def inner(theta: Params, phi: Params) -> Tensor:
        return checkpoint(task.inner, theta, phi, use_reentrant=False)

    wanted = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2)
    with pytest.warns(UserWarning, match='No forward derivative'):
        found = meta_gradient(task.theta, task.phi, inner, task.outer, inner_lr=1e-2)
    assert relative_difference(found.theta, wanted.theta) < 1e-10
    with pytest.raises(RuntimeError):
        meta_gradient(task.theta, task.phi, inner, task.outer, inner_lr=1e-2, curvature='forward')


def test_the_second_order_term_is_there_to_be_missed(case) -> None:
    task = case()
    arguments = (task.theta, task.phi, task.inner, task.outer)
    second = meta_gradient(*arguments, inner_lr=1e-2)
    for mode, phi_differs in (('first', True), ('first_mask', False)):
        other = meta_gradient(*arguments, inner_lr=1e-2, mode=mode)
        assert relative_difference(other.theta, second.theta) > 1e-4
        assert (relative_difference(other.phi, second.phi) > 1e-4) == phi_differs


def test_adapting_some_names_only_equals_the_unrolled_graph(case) -> None:
    task = case()
    names = select(task.theta, ['body.*', '!*.bias'])
    wanted = unrolled_gradient(
        task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=2, adapt_only=names
    )
    found = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=2, adapt_only=names)
    assert relative_difference(found.theta, wanted.theta) < 1e-10
    assert relative_difference(found.phi, wanted.phi) < 1e-10
    changed = {name for name in task.theta if not torch.equal(found.fast_params[name], task.theta[name])}
    assert changed == set(names)


@pytest.mark.parametrize('elementwise', [False, True])
def test_learned_rates_get_the_gradient_autograd_gives_them(case, elementwise) -> None:
    task = case(compact)
    shape = {name: p.shape if elementwise else () for name, p in task.theta.items()}
    rates = {name: torch.full(s, 1e-2, dtype=torch.float64, requires_grad=True) for name, s in shape.items()}
    for steps, weights in [(1, None), (3, (0.2, 0.3, 0.5))]:
        wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, rates, steps, weights=weights)
        found = meta_gradient(
            task.theta, task.phi, task.inner, task.outer, inner_lr=rates, inner_steps=steps, step_weights=weights
        )
        assert relative_difference(found.inner_lr, wanted.rates) < 1e-10
        assert relative_difference(found.theta, wanted.theta) < 1e-10


def test_first_order_rates_and_fixed_rates(case) -> None:
    task = case(compact)
    rates = {name: torch.tensor(1e-2, dtype=torch.float64) for name in task.theta}
    first = next(iter(rates))
    rates[first].requires_grad_()
    wanted = unrolled_gradient(task.theta, task.phi, task.inner, task.outer, rates, second_order=False)
    found = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=rates, mode='first')
    assert list(found.inner_lr) == [first]
    torch.testing.assert_close(found.inner_lr[first], wanted.rates[first])
    plain = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, mode='first')
    assert plain.inner_lr is None
    assert relative_difference(plain.theta, found.theta) < 1e-12


def test_a_loss_in_pieces_is_the_loss(case) -> None:
    task = case()

    def face(i: int):
        def loss(theta: Params, phi: Params) -> Tensor:
            confidence = task.call_mask(phi, task.face_lq[i : i + 1], task.face[i : i + 1])
            return (confidence * (task.face[i : i + 1] - task.call(theta, task.face_lq[i : i + 1])).abs()).mean() / 2

        return loss

    def half(theta: Params, phi: Params, step: int) -> Tensor:
        return task.outer(theta, phi, step) / 2

    whole = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=2)
    parts = meta_gradient(task.theta, task.phi, [face(0), face(1)], [half, half], inner_lr=1e-2, inner_steps=2)
    kept = meta_gradient(
        task.theta, task.phi, [face(0), face(1)], [half, half], inner_lr=1e-2, inner_steps=2, keep_graph=True
    )
    for found in (parts, kept):
        assert relative_difference(found.theta, whole.theta) < 1e-10
        assert relative_difference(found.phi, whole.phi) < 1e-10
    torch.testing.assert_close(parts.outer_losses, whole.outer_losses)
    torch.testing.assert_close(parts.inner_losses, whole.inner_losses)


def test_the_map_itself_may_be_what_is_learned(case) -> None:
    """The map made once, its gradient pulled back through MaskNet, gives what MaskNet inside the losses gives."""
    task = case()
    confidence = task.call_mask(task.phi, task.face_lq, task.face)

    def inner(theta: Params, phi: Params) -> Tensor:
        return (phi['confidence'] * (task.face - task.call(theta, task.face_lq)).abs()).mean()

    def outer(theta: Params, phi: Params, step: int) -> Tensor:
        regulariser = (phi['confidence'] - 1).square().mean() / 2
        return (task.natural - task.call(theta, task.natural_lq)).abs().mean() + 0.1 * regulariser

    wanted = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2, inner_steps=2)
    found = meta_gradient(task.theta, {'confidence': confidence}, inner, outer, inner_lr=1e-2, inner_steps=2)
    by_phi = torch.autograd.grad(confidence, list(task.phi.values()), found.phi['confidence'])
    assert relative_difference(found.theta, wanted.theta) < 1e-10
    assert relative_difference(dict(zip(task.phi, by_phi)), wanted.phi) < 1e-10


def test_the_outer_loss_may_be_checkpointed(case) -> None:
    from torch.utils.checkpoint import checkpoint

    task = case()

    def outer(theta: Params, phi: Params, step: int) -> Tensor:
        return checkpoint(task.outer, theta, phi, step, use_reentrant=False)

    wanted = meta_gradient(task.theta, task.phi, task.inner, task.outer, inner_lr=1e-2)
    found = meta_gradient(task.theta, task.phi, task.inner, outer, inner_lr=1e-2)
    assert relative_difference(found.theta, wanted.theta) < 1e-12


def test_a_spectral_norm_discriminator_is_left_untouched(case) -> None:
    from basicsr.archs.discriminator_arch import UNetDiscriminatorSN

    task = case()
    critic = UNetDiscriminatorSN(3, 4).double().train()
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    judge = functional(critic)

    def outer(theta: Params, phi: Params, step: int) -> Tensor:
        logits = judge({}, task.call(theta, task.natural_lq))
        return task.outer(theta, phi, step) + 0.1 * F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    wanted = unrolled_gradient(task.theta, task.phi, task.inner, outer, inner_lr=1e-2, inner_steps=2)
    found = meta_gradient(task.theta, task.phi, task.inner, outer, inner_lr=1e-2, inner_steps=2)
    assert relative_difference(found.theta, wanted.theta) < 1e-10
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert all(p.grad is None for p in critic.parameters())
