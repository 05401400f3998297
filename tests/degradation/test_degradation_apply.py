"""The whole chain, and each of its steps against another program."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import default_collate

from metaf2n_arch.degradation import (
    DegradationConfig,
    DegradationParams,
    NoiseParams,
    StageParams,
    apply,
    apply_batch,
    kernels,
)
from metaf2n_arch.degradation.apply import filter2d, full_precision, resize
from metaf2n_arch.degradation.jpeg import jpeg
from metaf2n_arch.utils.padding import reflect_pad

IDENTITY = torch.from_numpy(kernels.identity(21)).float()
NOTHING = StageParams(IDENTITY, 1.0, 'area', NoiseParams('none', (0.0, 0.0), False), 0)
PLAIN = DegradationParams(4, (NOTHING, NOTHING), IDENTITY, 'area', True, 0)


def padded(kernel: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(kernels.pad_kernel(kernel, 21)).float()


@pytest.fixture
def photo(astronaut_tensor) -> torch.Tensor:
    return torch.cat([astronaut_tensor[..., :128, 160:288], astronaut_tensor[..., 100:228, 200:328]])


@pytest.mark.parametrize('size', [(128, 128), (64, 100), (36, 44), (4, 4)])
@pytest.mark.parametrize('family', ['iid', 'ood'])
def test_output_is_8_bit_in_range_and_exactly_a_quarter(astronaut_tensor, size, family):
    config = DegradationConfig() if family == 'iid' else DegradationConfig.out_of_distribution()
    rng = np.random.default_rng(0)
    images = astronaut_tensor[..., 50 : 50 + size[0], 200 : 200 + size[1]]
    for _ in range(8):
        out = apply(images, config.sample(rng, size))
        assert out.shape == (1, 3, size[0] // 4, size[1] // 4)
        assert out.dtype == torch.float32
        assert float(out.min()) >= 0
        assert float(out.max()) <= 1
        torch.testing.assert_close(out * 255, (out * 255).round(), rtol=0, atol=1e-4)


def test_same_parameters_give_the_same_result_after_a_round_trip(photo):
    rng = np.random.default_rng(1)
    for _ in range(10):
        params = DegradationConfig().sample(rng)
        again = DegradationParams.from_tensors(params.to_tensors())
        torch.testing.assert_close(apply(photo, params), apply(photo, again), rtol=0, atol=0)


def test_results_do_not_touch_the_global_generators(photo):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    apply(photo, DegradationConfig().sample(np.random.default_rng(1)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_size_that_scale_does_not_divide_is_refused(photo):
    with pytest.raises(ValueError, match='divisible by 4'):
        apply(photo[..., :126, :], PLAIN)
    with pytest.raises(ValueError, match='expected'):
        apply(photo[0], PLAIN)


def test_nothing_but_the_final_resize_is_average_pooling(photo):
    wanted = (F.avg_pool2d(photo, 4) * 255).round() / 255
    torch.testing.assert_close(apply(photo, PLAIN), wanted, rtol=0, atol=1e-6)


def test_a_chain_equals_its_steps_made_by_other_programs(photo):
    """Blur by OpenCV, shrink by torch, JPEG by libjpeg: in the order drawn."""
    import cv2

    kernel = kernels.gaussian(13, 2.0, 0.7, 0.5)
    first = replace(NOTHING, kernel=padded(kernel), factor=0.53, mode='bilinear')
    params = replace(PLAIN, stages=(first, replace(NOTHING, quality=60)), final_mode='bicubic', jpeg_last=False)
    image = photo[0].permute(1, 2, 0).numpy()
    x = cv2.filter2D(image, cv2.CV_32F, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)
    x = torch.from_numpy(x).permute(2, 0, 1)[None]
    x = F.interpolate(x, size=(67, 67), mode='bilinear', align_corners=False)
    x = F.interpolate(x, size=(32, 32), mode='area')
    levels = (x[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    _, encoded = cv2.imencode('.jpg', levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 60])
    wanted = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
    ours = (apply(photo[:1], params)[0] * 255).permute(1, 2, 0).numpy()
    assert 10 * np.log10(255**2 / np.mean((ours - wanted) ** 2)) > 42


@pytest.mark.parametrize('jpeg_last', [True, False])
def test_the_order_of_the_last_steps_is_as_drawn(photo, jpeg_last):
    sinc = padded(kernels.sinc(15, 1.4))
    second = replace(NOTHING, factor=0.8, mode='bilinear', quality=35)
    params = replace(PLAIN, stages=(NOTHING, second), sinc=sinc, final_mode='bilinear', jpeg_last=jpeg_last)
    x = resize(photo, (25, 25), 'bilinear')
    if not jpeg_last:
        x = jpeg(x, 35)
    x = filter2d(resize(x, (32, 32), 'bilinear'), sinc)
    if jpeg_last:
        x = jpeg(x, 35)
    torch.testing.assert_close(apply(photo, params), (x * 255).round().clamp(0, 255) / 255, rtol=0, atol=1e-6)


@pytest.mark.parametrize('side', [3, 7, 21])
@pytest.mark.parametrize('size', [(64, 64), (33, 47), (5, 9)])
def test_filter_equals_opencv_for_a_lopsided_kernel(astronaut, side, size):
    import cv2

    kernel = np.random.default_rng(0).random((side, side)).astype(np.float32)
    kernel /= kernel.sum()
    image = np.ascontiguousarray(astronaut[100 : 100 + size[0], 200 : 200 + size[1]]).astype(np.float32) / 255
    wanted = cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    if min(size) <= side // 2:
        wide = np.pad(image, ((10, 10), (10, 10), (0, 0)), mode='reflect')
        wanted = cv2.filter2D(wide, cv2.CV_32F, kernel)[10:-10, 10:-10]
    ours = filter2d(torch.from_numpy(image).permute(2, 0, 1)[None], padded(kernel))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, wanted, atol=3e-6)


def test_filter_equals_the_hosts_filter2d(photo):
    from basicsr.utils.img_process_util import filter2D

    kernel = padded(kernels.sinc(21, 0.9))
    torch.testing.assert_close(filter2d(photo, kernel), filter2D(photo, kernel[None]), rtol=0, atol=3e-6)


@pytest.mark.parametrize('size', [(1, 1), (1, 4), (3, 2), (12, 30)])
def test_padding_reflects_as_numpy_does_at_any_size(size):
    image = torch.arange(size[0] * size[1], dtype=torch.float32).view(1, 1, *size)
    ours = reflect_pad(image, 10)[0, 0].numpy()
    np.testing.assert_array_equal(ours, np.pad(image[0, 0].numpy(), 10, mode='reflect'))


@pytest.mark.parametrize('mode', ['area', 'bilinear', 'bicubic'])
def test_resize_equals_opencv(photo, mode):
    import cv2

    flags = {'area': cv2.INTER_AREA, 'bilinear': cv2.INTER_LINEAR, 'bicubic': cv2.INTER_CUBIC}
    image = photo[0].permute(1, 2, 0).numpy()
    wanted = cv2.resize(image, (64, 32), interpolation=flags[mode])
    ours = resize(photo[:1], (32, 64), mode)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, wanted, atol=2e-4)


def test_antialiased_resize_removes_what_the_small_image_cannot_hold():
    stripes = (torch.arange(128) % 2).float().expand(1, 3, 128, 128)
    assert float(resize(stripes, (32, 32), 'bicubic_antialias').std()) < 0.05


def test_stages_and_streams_have_noise_of_their_own_which_is_the_same_each_time(photo):
    noisy = replace(NOTHING, noise=NoiseParams('gaussian', (20.0, 20.0), False))
    clean = replace(PLAIN, scale=1)
    draws = [replace(clean, stages=stages) for stages in ((noisy, NOTHING), (NOTHING, noisy))]
    made = [apply(photo, draw, stream) for draw in draws for stream in (0, 1)]
    again = [apply(photo, draw, stream) for draw in draws for stream in (0, 1)]
    torch.testing.assert_close(again, made, rtol=0, atol=0)
    noises = torch.stack([(image - apply(photo, clean)).flatten() for image in made])
    correlation = torch.corrcoef(noises) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.02


def test_a_batch_is_degraded_item_by_item(astronaut_tensor):
    rng = np.random.default_rng(3)
    draws = [DegradationConfig().sample(rng) for _ in range(3)]
    tensors = default_collate([d.to_tensors() for d in draws])
    images = torch.cat([astronaut_tensor[..., i * 64 : i * 64 + 64, 200:264] for i in range(3)])
    out = apply_batch(images, tensors)
    for i, draw in enumerate(draws):
        torch.testing.assert_close(out[i : i + 1], apply(images[i : i + 1], draw), rtol=0, atol=0)
    tasks = images[:, None].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(apply_batch(tasks, tensors, 1)[2], apply(tasks[2], draws[2], 1), rtol=0, atol=0)
    with pytest.raises(ValueError, match='2 images and 3 degradation draws'):
        apply_batch(images[:2], tensors)


def test_reduced_precision_elsewhere_changes_nothing(photo):
    params = DegradationConfig().sample(np.random.default_rng(5))
    wanted = apply(photo, params)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            torch.testing.assert_close(apply(photo, params), wanted, rtol=0, atol=0)
        with full_precision('cpu'):
            assert (torch.rand(4, 4) @ torch.rand(4, 4)).dtype == torch.float32
        assert torch.get_float32_matmul_precision() == 'medium'
    finally:
        torch.set_float32_matmul_precision(before)


def test_no_gradient_flows_and_the_input_is_kept(photo):
    leaf = photo.clone().requires_grad_()
    assert not apply(leaf, DegradationConfig().sample(np.random.default_rng(6))).requires_grad
    torch.testing.assert_close(leaf.detach(), photo, rtol=0, atol=0)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(photo):
    rng = np.random.default_rng(7)
    for _ in range(10):
        params = DegradationConfig().sample(rng)
        difference = (apply(photo.cuda(), params).cpu() - apply(photo, params)).abs() * 255
        # Rounding in stage 1 may tip single grey levels, and a tipped level a DCT coefficient.
        assert float(difference.mean()) < 0.05


@pytest.mark.parametrize(('side', 'sigma'), [(3, 0.7), (7, 1.0), (9, 2.0), (11, 2.0), (21, 0.4), (21, 3.0)])
def test_direct_convolution_and_fft_are_the_same_filter(photo, monkeypatch, side, sigma):
    """A wide kernel of a small sigma is trimmed: its rim weighs less than rounding."""
    kernel = padded(kernels.gaussian(side, sigma))
    ours = filter2d(photo, kernel)
    module = sys.modules[filter2d.__module__]  # the package has a function of the module's name
    monkeypatch.setattr(module, 'DIRECT', 0)
    monkeypatch.setattr(module, 'NEGLIGIBLE', 0.0)
    torch.testing.assert_close(ours, filter2d(photo, kernel), rtol=0, atol=2e-6)


def test_small_kernels_cost_operations_in_proportion_to_what_is_in_them(photo):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as narrow:
        filter2d(photo, padded(kernels.gaussian(21, 0.4)))
    assert 0 < narrow.get_total_flops() <= 2 * photo.numel() * 5 * 5


def test_images_of_a_batch_are_filtered_as_if_alone(photo):
    for side in (5, 9, 15):
        kernel = padded(kernels.gaussian(side, 1.5))
        together = filter2d(photo, kernel)
        for i in range(len(photo)):
            torch.testing.assert_close(filter2d(photo[i : i + 1], kernel)[0], together[i], rtol=0, atol=1e-7)


def test_light_scales_the_channels_before_all_else(photo):
    plain = DegradationConfig(light=(1.0, 1.0)).sample(np.random.default_rng(3))
    lit = DegradationConfig(light=(0.5, 0.9)).sample(np.random.default_rng(3))
    assert all(0.5 <= gain <= 0.9 for gain in lit.light)
    assert len(set(lit.light)) == 3
    torch.testing.assert_close(lit.stages[0].kernel, plain.stages[0].kernel, rtol=0, atol=0)  # no other draw has moved
    gains = torch.tensor(lit.light).view(3, 1, 1)
    torch.testing.assert_close(apply(photo, lit), apply(photo * gains, replace(lit, light=(1.0, 1.0, 1.0))))


def test_a_draw_survives_files_of_before_light_and_round_trips_with_it():
    lit = DegradationConfig(light=(0.5, 0.9)).sample(np.random.default_rng(3))
    assert type(lit).from_tensors(lit.to_tensors()).light == lit.light
    assert type(lit).from_dict(lit.to_dict()).light == lit.light
    before = {key: value for key, value in lit.to_dict().items() if key != 'light'}
    assert type(lit).from_dict(before).light == (1.0, 1.0, 1.0)
