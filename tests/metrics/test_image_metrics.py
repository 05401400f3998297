"""Metrics of one image against the programs they stand for, through BasicSR's own `calculate_metric`."""

from __future__ import annotations

import math

import made_up_weights
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.metrics.measure import as_tensor
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.weights.search import table

FULL_REFERENCE = ['calculate_psnr_y', 'calculate_ssim_y', 'calculate_lpips', 'calculate_dists']
NO_REFERENCE = ['calculate_niqe_y', 'calculate_niqe_pyiqa', 'calculate_brisque']


def run(name: str, img: np.ndarray, img2: np.ndarray | None = None, **options: object) -> float:
    data = {'img': img} if img2 is None else {'img': img, 'img2': img2}
    return calculate_metric(data, {'type': name, **options})


def luma(image: np.ndarray) -> np.ndarray:
    """BT.601 studio-range luminance of BGR, 16 to 235."""
    return image.astype(np.float64) @ np.array([24.966, 128.553, 65.481]) / 255 + 16


def test_psnr_equals_scikit_image_on_the_luminance(pair) -> None:
    from skimage.metrics import peak_signal_noise_ratio

    expected = peak_signal_noise_ratio(luma(pair[1]), luma(pair[0]), data_range=255)
    assert run('calculate_psnr_y', *pair) == pytest.approx(expected, abs=1e-4)
    inside = [luma(x[4:-4, 4:-4]) for x in pair]
    expected = peak_signal_noise_ratio(inside[1], inside[0], data_range=255)
    assert run('calculate_psnr_y', *pair, crop_border=4, better='higher') == pytest.approx(expected, abs=1e-4)
    assert run('calculate_psnr_y', pair[1], pair[1]) == math.inf


def test_ssim_equals_scikit_image_on_the_luminance(pair) -> None:
    from skimage.metrics import structural_similarity

    expected = structural_similarity(
        *(luma(x) for x in pair), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert run('calculate_ssim_y', *pair) == pytest.approx(expected, abs=1e-4)
    assert run('calculate_ssim_y', pair[1], pair[1]) == pytest.approx(1)


def test_niqe_equals_the_stock_one_and_knows_blur(pair) -> None:
    stock = run('calculate_niqe', pair[1], crop_border=8)
    assert run('calculate_niqe_y', pair[1], crop_border=8) == pytest.approx(stock)
    assert run('calculate_niqe_y', pair[0]) > run('calculate_niqe_y', pair[1])


def test_lpips_equals_the_package(hub, pair) -> None:
    import lpips

    torch.save(made_up_weights.trunk('alex'), hub / 'checkpoints' / TRUNKS['alex'].filename)
    reference = lpips.LPIPS(net='alex', verbose=False)
    expected = reference(as_tensor(pair[0]), as_tensor(pair[1]), normalize=True).item()
    assert run('calculate_lpips', *pair) == pytest.approx(expected, rel=1e-5)
    assert run('calculate_lpips', pair[1], pair[1]) == 0


def test_dists_equals_pyiqa(hub, pair) -> None:
    import pyiqa

    torch.save(made_up_weights.trunk('vgg'), hub / 'checkpoints' / TRUNKS['vgg'].filename)
    torch.save(made_up_weights.dists(), hub / 'pyiqa' / table()['dists'].file)
    img, img2 = (x[:64, :80] for x in pair)
    metric = pyiqa.create_metric(
        'dists', device='cpu', pretrained_model_path=str(hub / 'pyiqa' / table()['dists'].file)
    )
    expected = metric(as_tensor(img), as_tensor(img2)).item()
    assert run('calculate_dists', img, img2) == pytest.approx(expected, rel=1e-3)


def test_niqe_and_brisque_equal_pyiqa(hub, pair) -> None:
    import pyiqa

    files = {'niqe': hub / 'pyiqa' / 'niqe_modelparameters.mat', 'brisque': hub / 'pyiqa' / 'brisque_svm_weights.pth'}
    made_up_weights.niqe(files['niqe'])
    made_up_weights.brisque(files['brisque'])
    for name, metric in (('niqe', 'calculate_niqe_pyiqa'), ('brisque', 'calculate_brisque')):
        by_hand = pyiqa.create_metric(name, device='cpu', pretrained_model_path=str(files[name]))
        assert run(metric, pair[0], pair[1]) == pytest.approx(by_hand(as_tensor(pair[0])).item(), rel=1e-5)


@pytest.mark.parametrize('name', FULL_REFERENCE[2:] + NO_REFERENCE[1:])
def test_missing_weights_are_a_missing_value_with_one_reason(name, hub, pair, reasons) -> None:
    assert math.isnan(run(name, *pair))
    assert math.isnan(run(name, *pair))
    assert len(reasons.messages) == 1
    assert 'needs the file' in reasons.messages[0]
    assert list(hub.rglob('*.*')) == []


@pytest.mark.parametrize('name', FULL_REFERENCE)
def test_images_that_do_not_match_are_a_missing_value(name, hub, pair, reasons) -> None:
    assert math.isnan(run(name, pair[0], pair[1][1:]))
    assert math.isnan(run(name, pair[0]))
    assert math.isnan(run(name, pair[0].astype(np.float32), pair[1]))
    assert math.isnan(run(name, *pair, crop_border=104))
    told = '\n'.join(reasons.messages)
    for part in (
        'they must be equal',
        'no reference',
        'float32, expected an array of uint8',
        'a crop_border of 104',
    ):
        assert part in told


@pytest.mark.parametrize('name', NO_REFERENCE[:2])
def test_niqe_of_a_small_image_is_a_missing_value_and_not_the_end(name, hub, pair, reasons) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        run('calculate_niqe', pair[0][:96, :96], crop_border=0)
    assert math.isnan(run(name, pair[0][:96, :96]))
    assert 'fewer than two blocks of 96x96' in reasons.messages[0]


def test_gray_images_are_taken(pair) -> None:
    gray = [x[..., 1] for x in pair]
    assert run('calculate_psnr_y', *gray) == pytest.approx(run('calculate_psnr_y', *(x[..., None] for x in gray)))
    assert 10 < run('calculate_psnr_y', *gray) < 60


@pytest.mark.parametrize('name', FULL_REFERENCE + NO_REFERENCE)
def test_an_unknown_option_is_an_error_with_the_nearest_name(name, pair) -> None:
    assert name in METRIC_REGISTRY
    with pytest.raises(OptionError, match=rf"{name}: .*crop_bordr.*Did you mean 'crop_border'"):
        run(name, *pair, crop_bordr=4)


def test_an_unknown_trunk_is_an_error(pair) -> None:
    with pytest.raises(OptionError, match="Did you mean 'alex'"):
        run('calculate_lpips', *pair, net='alx')


def test_a_brisque_file_that_executes_something_is_refused(hub, pair, reasons) -> None:
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(hub / 'executed'),)

    torch.save((Evil(), Evil()), hub / 'pyiqa' / 'brisque_svm_weights.pth')
    assert math.isnan(run('calculate_brisque', pair[0]))
    assert 'refused, it holds a pickled Python object' in reasons.messages[0]
    assert not (hub / 'executed').exists()


def test_bicubic_on_set5_gives_the_published_numbers(data_dir) -> None:
    import cv2
    from basicsr.utils.matlab_functions import imresize

    psnr, ssim = [], []
    for file in sorted((data_dir / 'benchmarks' / 'Set5' / 'GT').glob('*.png')):
        gt = cv2.imread(str(file))
        lq = cv2.imread(str(file.parents[1] / 'LRx4' / file.name))
        gt = gt[: 4 * lq.shape[0], : 4 * lq.shape[1]]
        result = (imresize(lq.astype(np.float32) / 255, 4).clip(0, 1) * 255).round().astype(np.uint8)
        psnr.append(run('calculate_psnr_y', result, gt, crop_border=4))
        ssim.append(run('calculate_ssim_y', result, gt, crop_border=4))
    assert len(psnr) == 5
    assert np.mean(psnr) == pytest.approx(28.43, abs=0.006)
    assert np.mean(ssim) == pytest.approx(0.8113, abs=6e-5)
