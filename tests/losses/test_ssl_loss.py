"""SSLLoss as a user meets it: the authors' numbers, options, masks, dtypes, and inside BasicSR."""

import os
import subprocess
import sys
import warnings

import pytest
import torch
import torch.nn.functional as F

from metaf2n_arch.functional.edges import edge_mask, thin_mask
from metaf2n_arch.functional.self_similarity import dispatch
from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.geometry import Geometry
from metaf2n_arch.functional.self_similarity.naive import naive_graph
from metaf2n_arch.losses.ssl_loss import SSLLoss
from metaf2n_arch.utils.checks import DataError, OptionError

SMALL = {'search_size': 7, 'patch_size': 3, 'h': 0.02}


def pair(photo: torch.Tensor, y: int, x: int, height: int, width: int, seed: int = 0):
    """A crop of a photograph and the same with noise, the 'restored' one."""
    target = photo[:, :, y : y + height, x : x + width]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    return (target + 0.05 * noise).clamp(0, 1), target


# Made with the authors' program (its PyTorch path): crop, seed, K, P, h, then M, mean |difference|, mean KL and the
# norm of the L1 term's gradient.
AUTHORS = [
    ((30, 180, 48, 56), 0, 25, 9, 0.004, 714, 5.42271e-4, 1.58275e-4, 4.29568e-4),
    ((300, 60, 41, 47), 1, 11, 5, 0.01, 82, 9.60502e-4, 1.01315e-4, 1.38698e-3),
]


@pytest.mark.parametrize('golden', AUTHORS)
def test_window_border_reproduces_the_authors_program(astronaut_tensor, golden) -> None:
    crop, seed, search, patch, h, count, l1, kl, norm = golden
    pred, target = pair(astronaut_tensor, *crop, seed)
    pred.requires_grad_()
    options = {'search_size': search, 'patch_size': patch, 'h': h, 'border': 'window'}
    assert edge_mask(target).sum() == count
    loss = SSLLoss(criterion='l1', **options)(pred, target)
    (gradient,) = torch.autograd.grad(loss, pred)
    assert loss.item() == pytest.approx(l1, rel=1e-4)
    assert gradient.norm().item() == pytest.approx(norm, rel=1e-4)
    assert SSLLoss(criterion='kl', **options)(pred, target).item() == pytest.approx(kl, rel=1e-4)
    both = SSLLoss(1000.0, 'kl+l1', 2.0, **options)(pred, target).item()
    assert both == pytest.approx(1000 * (kl + 2 * l1), rel=1e-4)


def unfolded_graph(image: torch.Tensor, mask: torch.Tensor, search: int, patch: int, h: float) -> torch.Tensor:
    """The authors' way: cut out every masked pixel's search window, then every patch of every window, zero-padded."""
    unfold, pad = torch.nn.functional.unfold, torch.nn.functional.pad
    windows = unfold(pad(image, [search // 2] * 4, mode='reflect'), search)[0][:, mask.flatten()]
    windows = windows.reshape(image.shape[1], search, search, -1).permute(3, 0, 1, 2)
    patches = unfold(windows, patch, padding=patch // 2)
    centre = patches[:, :, search**2 // 2].unsqueeze(2)
    s = torch.exp(-(patches - centre).square().mean(1) / h)
    return s / (s.sum(1, keepdim=True) + 1e-10)


@pytest.mark.parametrize('crop', [(0, 0, 33, 40), (201, 330, 45, 29), (460, 471, 52, 41)])
@pytest.mark.parametrize(('search', 'patch', 'h'), [(13, 7, 0.004), (9, 9, 0.02), (17, 3, 0.01)])
def test_window_border_equals_unfolding_on_other_crops(astronaut_tensor, crop, search, patch, h) -> None:
    pred, target = pair(astronaut_tensor, *crop, seed=2)
    mask = edge_mask(target)
    assert mask.any()
    pred.requires_grad_()
    x, y = (unfolded_graph(image.double(), mask, search, patch, h) for image in (pred, target))
    kl = torch.nn.functional.kl_div(x.clamp_min(1e-10).log(), y.clamp_min(1e-10), reduction='none').mean()
    options = {'search_size': search, 'patch_size': patch, 'h': h, 'border': 'window'}
    for criterion, oracle in (('l1', (x - y).abs().mean()), ('kl', kl)):
        ours = SSLLoss(criterion=criterion, **options)(pred, target)
        assert ours.item() == pytest.approx(oracle.item(), rel=1e-4)
        a, b = (torch.autograd.grad(value, pred, retain_graph=True)[0] for value in (ours, oracle))
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())


@pytest.mark.parametrize('border', ['image', 'window'])
@pytest.mark.parametrize('criterion', ['l1', 'kl', 'kl+l1'])
def test_gradcheck(astronaut_tensor, border, criterion) -> None:
    pred, target = (x.double() for x in pair(astronaut_tensor, 40, 200, 9, 10))
    loss = SSLLoss(3.0, criterion, 0.5, 5, 3, 0.02, border=border)
    mask = torch.zeros(1, 1, 9, 10)
    mask[..., 0, 9] = mask[..., 4, 3:6] = 1
    assert torch.autograd.gradcheck(lambda x: loss(x, target, mask), pred.requires_grad_())


def test_equal_images_give_zero_and_different_ones_more_than_zero(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 40, 40)
    for criterion in ('l1', 'kl', 'kl+l1'):
        loss = SSLLoss(criterion=criterion)
        assert loss(target, target).item() == 0
        assert loss(pred, target).item() > 0


def test_gradient_descent_on_the_loss_makes_the_images_more_alike(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 32, 32)
    loss = SSLLoss(criterion='kl+l1', **SMALL)
    x, first = pred.clone().requires_grad_(), loss(pred, target).item()
    for _ in range(10):
        (gradient,) = torch.autograd.grad(loss(x, target), x)
        x = (x - 0.2 * gradient / gradient.norm()).detach().requires_grad_()
    assert loss(x, target).item() < 0.8 * first


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize('axes', [3, 4])
def test_offline_mask_of_any_dtype_equals_the_mask_made_on_the_fly(astronaut_tensor, dtype, axes) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    mask = edge_mask(target).to(dtype)
    if dtype == torch.uint8:
        mask = mask * 255
    mask = mask if axes == 4 else mask[:, 0]
    assert torch.equal(SSLLoss(**SMALL)(pred, target, mask), SSLLoss(**SMALL)(pred, target))


def test_mask_stride_thins_offline_and_online_masks_alike(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    mask = edge_mask(target)
    thinned = SSLLoss(**SMALL)(pred, target, thin_mask(mask, 3))
    assert torch.equal(SSLLoss(mask_stride=3, **SMALL)(pred, target), thinned)
    assert torch.equal(SSLLoss(mask_stride=3, **SMALL)(pred, target, mask), thinned)
    assert not torch.equal(SSLLoss(**SMALL)(pred, target), thinned)


def test_empty_mask_gives_zero_with_a_zero_gradient(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    pred.requires_grad_()
    flat = torch.full_like(target, 0.5)
    for loss in (SSLLoss()(pred, flat), SSLLoss()(pred, target, torch.zeros(1, 24, 30))):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, pred)
        assert gradient.abs().max() == 0


def test_image_with_an_empty_mask_contributes_nothing_to_its_batch(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    flat = torch.full_like(target, 0.5)
    alone = SSLLoss(**SMALL)(pred, target)
    together = SSLLoss(**SMALL)(torch.cat([flat, pred]), torch.cat([flat, target]))
    torch.testing.assert_close(together, alone)


def test_target_gets_a_gradient_only_if_it_asks(astronaut_tensor) -> None:
    pred, target = (x.double() for x in pair(astronaut_tensor, 40, 200, 10, 11))
    pred.requires_grad_()
    loss = SSLLoss(criterion='kl+l1', **SMALL)
    mask = torch.zeros(1, 10, 11)
    mask[0, 3:5, 4:7] = 1
    loss(pred, target, mask).backward()
    assert target.grad is None
    assert torch.autograd.gradcheck(
        lambda x, y: loss(x, y, mask), (pred.detach().requires_grad_(), target.requires_grad_())
    )


def test_batch_gradient_is_the_weighted_sum_of_the_single_ones(astronaut_tensor) -> None:
    pairs = [pair(astronaut_tensor, y, 200, 24, 30) for y in (40, 90)]
    loss = SSLLoss(**SMALL)
    pred = torch.cat([p for p, _ in pairs]).requires_grad_()
    target = torch.cat([t for _, t in pairs])
    (together,) = torch.autograd.grad(loss(pred, target), pred)
    counts = edge_mask(target).sum((1, 2, 3))
    for i, (p, t) in enumerate(pairs):
        x = p.clone().requires_grad_()
        (single,) = torch.autograd.grad(loss(x, t), x)
        torch.testing.assert_close(together[i], single[0] * counts[i] / counts.sum(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_single_precision(astronaut_tensor, dtype) -> None:
    pred, target = (x.to(dtype) for x in pair(astronaut_tensor, 40, 200, 24, 30))
    half = pred.clone().requires_grad_()
    loss = SSLLoss(criterion='kl+l1')(half, target)
    single = pred.float().requires_grad_()
    wide = SSLLoss(criterion='kl+l1')(single, target.float())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wide, rtol=1e-6, atol=0)
    gradient = torch.autograd.grad(1000 * loss, half)[0]
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient, torch.autograd.grad(1000 * wide, single)[0].to(dtype), rtol=1e-2, atol=1e-3)


def test_autocast_changes_nothing(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    x = pred.clone().requires_grad_()
    plain = SSLLoss()(x, target)
    (expected,) = torch.autograd.grad(plain, x)
    with torch.autocast('cpu', torch.bfloat16):
        cast = SSLLoss()(x, target)
    assert torch.equal(cast, plain)
    assert torch.equal(torch.autograd.grad(cast, x)[0], expected)


def test_no_grad_gives_the_same_value_without_a_graph(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    pred.requires_grad_()
    with torch.no_grad():
        value = SSLLoss()(pred, target)
    assert not value.requires_grad
    assert torch.equal(value, SSLLoss()(pred, target).detach())


def test_a_compiled_step_gives_the_same(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    loss = SSLLoss(criterion='kl+l1', **SMALL)

    def step(x):
        return loss(x.square(), target)

    results = []
    for function in (torch.compile(step, backend='eager'), step):
        x = pred.clone().requires_grad_()
        value = function(x)
        results.append((value.detach(), *torch.autograd.grad(value, x)))
    for ours, plain in zip(*results):
        assert torch.equal(ours, plain)


@pytest.mark.parametrize('border', ['image', 'window'])
@pytest.mark.parametrize('criterion', ['l1', 'kl', 'kl+l1'])
def test_window_reduction_sums_over_the_search_window_and_averages_over_pixels(
    astronaut_tensor, border, criterion
) -> None:
    """‖S̄_SR - S̄_HR‖₁ of each pixel by the loop of the equation, averaged over the pixels of both images."""
    pairs = [pair(astronaut_tensor, y, 200, 12, 14) for y in (40, 90)]
    pred, target = (torch.cat(images).double() for images in zip(*pairs))
    pred.requires_grad_()
    mask = edge_mask(target, stride=2)
    assert len(set(mask.sum((1, 2, 3)).tolist())) == 2
    geometry = Geometry(7, 3, border)
    x, y = (naive_graph(image, mask[:, 0], geometry, 0.02) for image in (pred, target))
    kl = (y.clamp_min(1e-10) * (y.clamp_min(1e-10) / x.clamp_min(1e-10)).log()).sum(1).mean()
    norm = (x - y).abs().sum(1).mean()
    expected = 0.05 * {'l1': norm, 'kl': kl, 'kl+l1': kl + 0.5 * norm}[criterion]
    options = {'criterion': criterion, 'l1_weight': 0.5, 'border': border, 'mask_stride': 2, 'reduction': 'window'}
    loss = SSLLoss(0.05, **options, **SMALL)
    ours = loss(pred, target)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)
    gradients = [torch.autograd.grad(value, pred)[0] for value in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-12)
    shares = loss.shares(target)
    parts = [share * loss(pred[i : i + 1], target[i : i + 1]) for i, share in enumerate(shares)]
    torch.testing.assert_close(sum(parts), ours)
    options['reduction'] = 'mean'
    torch.testing.assert_close(49 * SSLLoss(0.05, **options, **SMALL)(pred, target), ours)


@pytest.mark.parametrize('border', ['image', 'window'])
def test_window_reduction_is_the_same_by_the_box_filters(astronaut_tensor, border, monkeypatch) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    pred.requires_grad_()
    loss = SSLLoss(0.05, border=border, reduction='window', **SMALL)
    fused = loss(pred, target)
    monkeypatch.setattr(dispatch, 'fastest_path', lambda device: dispatch.Implementation(box_graph, box_loss))
    box = loss(pred, target)
    torch.testing.assert_close(fused, box, rtol=1e-5, atol=0)
    a, b = (torch.autograd.grad(value, pred)[0] for value in (fused, box))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * b.abs().max().item())


def test_norm_reading_counts_about_as_much_as_l1_where_the_mean_is_lost(astronaut_tensor) -> None:
    target = astronaut_tensor[..., 30:126, 180:276]
    pred = F.interpolate(F.avg_pool2d(target, 4), scale_factor=4, mode='bicubic').requires_grad_()

    def norm(value):
        return torch.autograd.grad(value, pred)[0].norm().item()

    l1 = norm((pred - target).abs().mean())
    assert norm(SSLLoss(0.05)(pred, target)) < 2e-3 * l1
    assert 0.2 < norm(SSLLoss(0.05, reduction='window')(pred, target)) / l1 < 2


@pytest.mark.parametrize(('scale', 'shift'), [(255, 0), (2, -1), (65535, 0)])
def test_images_on_another_scale_are_refused(astronaut_tensor, scale, shift) -> None:
    pred, target = (scale * x + shift for x in pair(astronaut_tensor, 40, 200, 40, 40))
    loss = SSLLoss(**SMALL)
    for _ in range(2):
        with pytest.raises(DataError, match=r'target has values from .*, expected \[0, 1\]'):
            loss(pred, target)
    assert loss((pred - shift) / scale, (target - shift) / scale) > 0


def test_outputs_far_out_of_range_are_warned_about_once_and_overshoot_is_not(astronaut_tensor) -> None:
    pred, target = pair(astronaut_tensor, 40, 200, 40, 40)
    loss = SSLLoss(**SMALL)
    with pytest.warns(UserWarning, match='pred has values from'):
        loss(255 * pred, target)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loss(255 * pred, target)
        SSLLoss(**SMALL)(1.2 * pred - 0.1, 1.1 * target - 0.05)


def test_double_precision_is_warned_about_once(astronaut_tensor) -> None:
    pred, target = (x.double() for x in pair(astronaut_tensor, 40, 200, 24, 30))
    loss = SSLLoss(**SMALL)
    with pytest.warns(UserWarning, match='float64 images take'):
        loss(pred, target)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loss(pred, target)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'criterion': 'k1'}, 'criterion'),
        ({'reduction': 'windw'}, "reduction is 'windw', expected one of .* Did you mean 'window'"),
        ({'search_size': 24}, 'search_size is 24'),
        ({'border': 'images'}, "Did you mean 'image'"),
        ({'mask_stride': 0}, 'mask_stride is 0'),
        ({'mask_threshold': 300}, 'mask_threshold is 300'),
        ({'h': -1.0}, 'h is -1.0'),
        ({'l1_weight': float('nan')}, 'l1_weight is nan'),
        ({'l1_weight': '1e-1'}, "l1_weight is '1e-1', expected a finite number. YAML reads 1e-3 as text"),
        ({'loss_weight': '1e3'}, "loss_weight is '1e3', expected a finite number. YAML reads 1e-3 as text"),
        ({'loss_weight': None}, 'loss_weight is None, expected a finite number'),
        ({'h': '4e-3'}, "h is '4e-3', expected a finite number. YAML reads 1e-3 as text"),
        ({'mask_threshold': '20'}, "mask_threshold is '20'"),
    ],
)
def test_wrong_options_are_errors_before_training(options, message) -> None:
    with pytest.raises(OptionError, match=message):
        SSLLoss(**options)


def test_images_of_two_sizes_and_too_small_ones_are_clear_errors() -> None:
    with pytest.raises(ValueError, match='must be equal'):
        SSLLoss()(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 40))
    with pytest.raises(ValueError, match='at least 17×17'):
        SSLLoss()(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))


def test_it_needs_nothing_of_basicsr() -> None:
    code = (
        'import sys, torch\n'
        'from metaf2n_arch import SSLLoss\n'
        'print(SSLLoss()(torch.zeros(1, 3, 20, 20), torch.zeros(1, 3, 20, 20)).item(), "basicsr" in sys.modules)\n'
    )
    environment = {**os.environ, 'METAF2N_BRIDGE': '0'}
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.split() == ['0.0', 'False']


def test_basicsr_builds_it_from_a_pixel_opt_block(astronaut_tensor) -> None:
    from basicsr.losses import build_loss

    pred, target = pair(astronaut_tensor, 40, 200, 24, 30)
    loss = build_loss({'type': 'SSLLoss', 'loss_weight': 0.05, 'criterion': 'kl+l1', 'mask_stride': 3})
    assert torch.equal(loss(pred, target), SSLLoss(0.05, 'kl+l1', mask_stride=3)(pred, target))


def test_stock_sr_model_trains_with_it(astronaut_tensor) -> None:
    from basicsr.models import build_model

    opt = {
        'name': 'ssl',
        'model_type': 'SRModel',
        'scale': 1,
        'num_gpu': 0,
        'dist': False,
        'is_train': True,
        'path': {},
        'network_g': {
            'type': 'MSRResNet',
            'num_in_ch': 3,
            'num_out_ch': 3,
            'num_feat': 4,
            'num_block': 1,
            'upscale': 2,
        },
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10], 'gamma': 0.5},
            'pixel_opt': {'type': 'SSLLoss', 'loss_weight': 1.0, **SMALL},
        },
    }
    model = build_model(opt)
    target = astronaut_tensor[..., 40:72, 200:232]
    model.feed_data({'lq': torch.nn.functional.avg_pool2d(target, 2), 'gt': target})
    before = [p.detach().clone() for p in model.net_g.parameters()]
    model.optimize_parameters(1)
    assert model.get_current_log()['l_pix'] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, model.net_g.parameters()))
