"""Distances in the frequency domain against NumPy, SciPy and the formulas as loops; gradients against differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import fft as scipy_fft
from torch import Tensor

from metaf2n_arch.functional.frequency import (
    dct2,
    dct_distance,
    dct_matrix,
    fft_distance,
    focal_frequency_distance,
    spectral_distance,
)
from metaf2n_arch.functional.spectrum import normalised_spectrum

SIZES = [(8, 8), (7, 9), (9, 6), (1, 5)]


def images(size: tuple[int, int], channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    pred, target = torch.rand(2, 2, channels, *size, generator=generator, dtype=torch.float64)
    return pred, target


@pytest.mark.parametrize('size', SIZES)
def test_dct_equals_scipy_and_is_orthonormal(size) -> None:
    x = images(size)[0]
    torch.testing.assert_close(dct2(x).numpy(), scipy_fft.dctn(x.numpy(), type=2, axes=(-2, -1), norm='ortho'))
    matrix = dct_matrix(size[1], x.device, x.dtype)
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(size[1], dtype=x.dtype))


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('order', [1, 2])
def test_relative_distances_equal_the_formula_on_the_full_plane(size, order) -> None:
    pred, target = images(size)
    transforms = {
        fft_distance: lambda x: np.fft.fft2(x.numpy()),
        dct_distance: lambda x: scipy_fft.dctn(x.numpy(), axes=(-2, -1), norm='ortho'),
    }
    for distance, transform in transforms.items():
        for b in range(2):
            first, second = transform(pred[b]).ravel(), transform(target[b]).ravel()
            norm = [np.linalg.norm(z, order) for z in (first - second, first, second)]
            value = distance(pred, target, order)[b].item()
            assert value == pytest.approx(norm[0] / max(norm[1], norm[2]), rel=1e-12)


def test_the_euclidean_order_is_the_relative_distance_of_the_pixels() -> None:
    pred, target = images((7, 9))
    norm = torch.stack([z.flatten(1).norm(dim=1) for z in (pred - target, pred, target)])
    expected = norm[0] / torch.maximum(norm[1], norm[2])
    torch.testing.assert_close(fft_distance(pred, target, 2), expected)
    torch.testing.assert_close(dct_distance(pred, target, 2), expected)
    assert not torch.allclose(fft_distance(pred, target, 1), dct_distance(pred, target, 1))


@pytest.mark.parametrize('distance', [fft_distance, dct_distance])
@pytest.mark.parametrize('order', [1, 2])
def test_relative_distances_are_symmetric_bounded_and_without_a_scale(distance, order, astronaut_tensor) -> None:
    x = astronaut_tensor[..., :64, :80].double()
    y = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    value = distance(x, y, order)
    assert 0 < value.item() < 2
    torch.testing.assert_close(distance(y, x, order), value)
    torch.testing.assert_close(distance(255 * x, 255 * y, order), value)
    assert distance(x, -x, order).item() == pytest.approx(2)
    assert distance(x, x, order).item() == 0


@pytest.mark.parametrize('distance', [fft_distance, dct_distance])
@pytest.mark.parametrize('order', [1, 2])
def test_equal_and_empty_images_have_a_finite_gradient(distance, order) -> None:
    for target in (torch.zeros(1, 3, 6, 7), torch.rand(1, 3, 6, 7)):
        pred = target.clone().requires_grad_()
        value = distance(pred, target, order).sum()
        value.backward()
        assert value.item() == 0
        assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize('distance', [fft_distance, dct_distance])
@pytest.mark.parametrize('order', [1, 2])
@pytest.mark.parametrize('size', [(4, 4), (5, 3)])
def test_gradients_match_finite_differences(distance, order, size) -> None:
    pred, target = (x.requires_grad_() for x in images(size))
    assert torch.autograd.gradcheck(lambda p, t: distance(p, t, order), (pred, target))


def focal_by_hand(
    pred, target, alpha=1.0, patch_factor=1, average=False, log_weight=False, batch_weight=False
) -> float:
    """The loss on the full plane with loops over patches, images and channels."""
    height, width = pred.shape[-2] // patch_factor, pred.shape[-1] // patch_factor
    blocks = []
    for i in range(patch_factor):
        for j in range(patch_factor):
            cut = (..., slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width))
            first, second = (np.fft.fft2(x.numpy()[cut], norm='ortho') for x in (pred, target))
            blocks.append(first.mean(0, keepdims=True) - second.mean(0, keepdims=True) if average else first - second)
    modulus = np.abs(np.stack(blocks, 1))
    weight = modulus**alpha
    weight = np.log(weight + 1) if log_weight else weight
    largest = weight.max()
    total = []
    for b in range(modulus.shape[0]):
        for p in range(modulus.shape[1]):
            for c in range(modulus.shape[2]):
                divisor = largest if batch_weight else weight[b, p, c].max()
                total.append((weight[b, p, c] / divisor * modulus[b, p, c] ** 2).mean())
    return float(np.mean(total))


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'alpha': 0.5},
        {'alpha': 0.0},
        {'patch_factor': 2},
        {'average': True},
        {'log_weight': True},
        {'batch_weight': True},
        {'alpha': 2.0, 'patch_factor': 2, 'average': True, 'log_weight': True, 'batch_weight': True},
    ],
)
@pytest.mark.parametrize('size', [(8, 8), (6, 10), (10, 6)])
def test_focal_frequency_equals_the_authors_recipe(options, size) -> None:
    pred, target = images(size)
    value = focal_frequency_distance(pred, target, **options)
    assert value.item() == pytest.approx(focal_by_hand(pred, target, **options), rel=1e-12)


def test_focal_weights_are_constants_for_the_gradient() -> None:
    """Against finite differences of the same sum with its weights held at where they are."""
    pred, target = images((5, 6), channels=1)
    pred = pred[:1].requires_grad_()
    target = target[:1]
    modulus = torch.fft.fft2(pred.detach() - target, norm='ortho').abs()
    weight = modulus / modulus.max()

    def held(x: Tensor) -> Tensor:
        return (weight * torch.fft.fft2(x - target, norm='ortho').abs().square()).mean()

    (gradient,) = torch.autograd.grad(focal_frequency_distance(pred, target), pred)
    step = 1e-6
    for index in np.ndindex(1, 1, 5, 6):
        moved = torch.zeros_like(pred)
        moved[index] = step
        slope = (held(pred + moved) - held(pred - moved)) / (2 * step)
        assert gradient[index].item() == pytest.approx(slope.item(), rel=1e-6, abs=1e-10)


def test_focal_frequency_of_equal_images_is_zero_with_a_finite_gradient() -> None:
    target = torch.rand(1, 3, 8, 8)
    pred = target.clone().requires_grad_()
    value = focal_frequency_distance(pred, target, alpha=0.0)
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(pred.grad).all()


@pytest.mark.parametrize('scale', ['power', 'log'])
def test_spectral_distance_equals_torchs_cross_entropy(scale) -> None:
    pred, target = images((12, 15), channels=1)
    p, t = (normalised_spectrum(x, scale).flatten(1) for x in (pred, target))
    if scale == 'power':
        p, t = p[:, 1:], t[:, 1:]
    p = p.clamp(1e-30, 1 - 1e-15)
    expected = torch.nn.functional.binary_cross_entropy(p, t, reduction='none').mean(1)
    if scale == 'power':  # torch stops at log = -100, ours a little earlier; only `log` has a bin of exactly 0
        torch.testing.assert_close(spectral_distance(pred, target, scale), expected)
    else:
        inner = (p > 1e-20) & (p < 1 - 1e-12)
        entropy = -(t * p.log() + (1 - t) * torch.log1p(-p))
        assert (spectral_distance(pred, target, scale) >= (entropy * inner).mean(1) - 1e-12).all()


def test_spectral_distance_is_smallest_where_the_spectra_agree(astronaut_tensor) -> None:
    sharp = astronaut_tensor[:, :1, :128, :128].double()
    floor = spectral_distance(sharp, sharp)
    for other in (torch.nn.functional.avg_pool2d(sharp, 3, 1, 1), sharp + 0.1 * torch.randn_like(sharp), 1 - sharp):
        assert spectral_distance(other, sharp).item() > floor.item()
    torch.testing.assert_close(spectral_distance(sharp.flip(-1), sharp), floor)  # a mirrored image has its spectrum


def test_gradient_of_the_spectral_distance_matches_finite_differences() -> None:
    pred, target = images((6, 7), channels=1)
    assert torch.autograd.gradcheck(lambda p: spectral_distance(p, target), pred.requires_grad_())


def test_descending_the_spectral_distance_restores_the_spectrum(astronaut_tensor) -> None:
    target = astronaut_tensor[:, :1, :64, :64].double()
    image = torch.nn.functional.avg_pool2d(target, 3, 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([image], lr=2e-3)

    def decades() -> float:
        p, t = (normalised_spectrum(x.detach())[..., 1:].log10() for x in (image, target))
        return (p - t).abs().mean().item()

    before = decades()
    for _ in range(150):
        optimizer.zero_grad()
        spectral_distance(image, target).sum().backward()
        optimizer.step()
    assert decades() < 0.5 * before


def test_sides_that_cannot_be_cut_are_named() -> None:
    with pytest.raises(ValueError, match='Images are 8x9, expected multiples of patch_factor=2'):
        focal_frequency_distance(*images((8, 9)), patch_factor=2)
