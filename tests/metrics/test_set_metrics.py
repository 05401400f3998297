"""FID and the power-spectrum discrepancy: closed forms, pyiqa, loops, several processes, missing weights."""

from __future__ import annotations

import math
from collections import OrderedDict

import cv2
import made_up_weights
import numpy as np
import pytest
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.functional.spectrum import normalised_spectrum
from metaf2n_arch.images.luminance import luminance
from metaf2n_arch.metrics import fid_metric
from metaf2n_arch.metrics.fid_metric import FID, frechet_distance
from metaf2n_arch.metrics.measure import as_tensor
from metaf2n_arch.metrics.power_spectrum_metric import PowerSpectrumDiscrepancy
from metaf2n_arch.metrics.sets import SetMetric
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.weights.search import table


@pytest.fixture
def images(astronaut) -> list[tuple[np.ndarray, np.ndarray]]:
    """Six crops and their blurred versions, 128x144 BGR."""
    crops = [np.ascontiguousarray(astronaut[y : y + 128, x : x + 144, ::-1]) for y in (0, 128, 256) for x in (40, 200)]
    return [(cv2.GaussianBlur(x, (5, 5), 1), x) for x in crops]


class TinyInception(torch.nn.Module):
    """Stands for Inception where its 2048 features are not the point: the means of a grid of patches."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)


@pytest.fixture
def tiny(monkeypatch) -> None:
    monkeypatch.setattr(fid_metric, 'FEATURES', 48)
    monkeypatch.setattr(fid_metric, '_references', OrderedDict())
    monkeypatch.setattr(fid_metric, 'inception_features', lambda device: TinyInception())


def gather(metric, images):
    for img, img2 in images:
        metric.update(img, img2)
    return metric


def test_registered_classes_follow_the_protocol() -> None:
    for name in ('FID', 'PowerSpectrumDiscrepancy'):
        cls = METRIC_REGISTRY.get(name)
        assert isinstance(cls, type)
        assert isinstance(cls(), SetMetric)


def test_frechet_distance_equals_the_closed_forms_of_gaussians() -> None:
    zero, eye = torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    assert frechet_distance(mean, eye, zero, eye) == pytest.approx(9.0)
    first, second = torch.tensor([4.0, 1.0, 0.25]).double(), torch.tensor([1.0, 9.0, 0.0]).double()
    diagonal = frechet_distance(mean, first.diag(), zero, second.diag())
    assert diagonal == pytest.approx(9 + ((first.sqrt() - second.sqrt()) ** 2).sum().item())
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned = frechet_distance(turn @ mean, turn @ first.diag() @ turn.t(), zero, turn @ second.diag() @ turn.t())
    assert turned == pytest.approx(diagonal)


def test_frechet_distance_equals_scipys_matrix_root() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(40, 12)) @ rng.normal(size=(12, 12)) for _ in range(2))
    covariances = [np.cov(x, rowvar=False) for x in (a, b)]
    root = np.trace(sqrtm(covariances[0] @ covariances[1]).real)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * root
    tensors = [torch.from_numpy(x) for x in (a.mean(0), covariances[0], b.mean(0), covariances[1])]
    assert frechet_distance(*tensors) == pytest.approx(expected, rel=1e-8)


@pytest.mark.usefixtures('tiny')
def test_fid_equals_the_formula_on_gathered_features(images) -> None:
    value = gather(FID(), images).compute()
    features = [
        np.concatenate([TinyInception()(fid_metric.prepare(pair[k], 'clean')).double().numpy() for pair in images])
        for k in (0, 1)
    ]
    covariances = [torch.from_numpy(np.cov(x, rowvar=False)) for x in features]
    means = [torch.from_numpy(x.mean(0)) for x in features]
    assert value == pytest.approx(frechet_distance(means[0], covariances[0], means[1], covariances[1]), rel=1e-6)
    assert value > 0


@pytest.mark.usefixtures('tiny')
def test_references_pass_through_inception_once_whatever_the_number_of_validations(images, monkeypatch) -> None:
    passes = []
    network = TinyInception()
    monkeypatch.setattr(fid_metric, 'inception_features', lambda device: lambda x: passes.append(x) or network(x))
    first = gather(FID(), images).compute()
    assert len(passes) == 12
    assert gather(FID(), images).compute() == first
    assert len(passes) == 18  # results only
    gather(FID('legacy'), images)
    assert len(passes) == 30  # another input is another reference
    images[0][1][0, 0, 0] ^= 1
    gather(FID(), images)
    assert len(passes) == 37  # and so is another pixel


@pytest.mark.usefixtures('tiny')
def test_features_are_added_up_the_same_whatever_the_block(images, monkeypatch) -> None:
    states = []
    for block in (1, 4, 64):
        monkeypatch.setattr(fid_metric, 'BLOCK', block)
        states.append(gather(FID(), images).state())
    for state in states[1:]:
        for name, total in state.items():
            torch.testing.assert_close(total, states[0][name], rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures('tiny')
@pytest.mark.parametrize('metric', [FID, PowerSpectrumDiscrepancy])
def test_the_same_images_give_zero_and_worse_ones_more(metric, images) -> None:
    assert gather(metric(), [(x, x) for _, x in images]).compute() == pytest.approx(0, abs=1e-7)
    slightly = gather(metric(), images).compute()
    badly = gather(metric(), [(cv2.GaussianBlur(x, (15, 15), 4), x) for _, x in images]).compute()
    assert 0 < slightly < badly


@pytest.mark.usefixtures('tiny')
@pytest.mark.parametrize('metric', [FID, PowerSpectrumDiscrepancy])
def test_two_processes_give_the_value_of_one(metric, images) -> None:
    whole = gather(metric(), images)
    states = [gather(metric(), part).state() for part in (images[:2], images[2:])]
    for state in states:
        assert all(tensor.device.type == 'cpu' and tensor.dtype == torch.float64 for tensor in state.values())
    merged = metric()
    merged.merge(states)
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-9)
    idle = metric()
    idle.merge([*states, metric().state()])  # a process that had no image
    assert idle.compute() == pytest.approx(whole.compute(), rel=1e-9)


@pytest.mark.parametrize('mode', ['clean', 'legacy'])
def test_inputs_equal_pyiqas(mode, images, tmp_path) -> None:
    from pyiqa.archs.fid_arch import ResizeDataset

    file = tmp_path / 'image.png'
    cv2.imwrite(str(file), images[0][0])
    theirs = ResizeDataset([file], 'clean' if mode == 'clean' else 'legacy_pytorch')[0]
    theirs = (theirs - 128) / 128 if mode == 'clean' else 2 * (theirs / 255) - 1
    torch.testing.assert_close(fid_metric.prepare(images[0][0], mode)[0], theirs, rtol=1e-5, atol=2e-5)


def test_inception_equals_pyiqas_with_the_same_weights(hub, images) -> None:
    made_up = hub / 'checkpoints' / table()['inception'].file
    made_up_weights.inception(made_up)
    x = fid_metric.prepare(images[0][0], 'clean')
    with torch.inference_mode():
        ours = fid_metric.inception_features('cpu')(x)
        theirs = made_up_weights.pyiqa_inception(made_up)(x)[0].flatten(1)
    assert ours.shape == (1, 2048)
    assert ours.std() > 1e-3
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_fid_without_weights_is_missing_and_downloads_nothing(hub, images, reasons) -> None:
    assert math.isnan(gather(FID(), images).compute())
    assert 'FID needs the file pt_inception-2015-12-05-6726825d.pth' in reasons.messages[0]
    assert '0 images could be measured' in reasons.messages[1]
    assert len(reasons.messages) == 2
    assert not list(hub.rglob('*.pth'))


@pytest.mark.parametrize('scale', ['log', 'decades', 'power'])
def test_spectrum_discrepancy_equals_the_formula(scale, images) -> None:
    metric = gather(PowerSpectrumDiscrepancy(scale=scale, bins=33), images)
    spectra = [
        torch.stack([normalised_spectrum(luminance(as_tensor(pair[k]).double())[0, 0], scale, 33) for pair in images])
        for k in (0, 1)
    ]
    expected = ((spectra[0].mean(0) - spectra[1].mean(0)) ** 2).mean().item()
    assert metric.compute() == pytest.approx(expected)
    torch.testing.assert_close(metric.mean_spectra()[1], spectra[1].mean(0))


def test_decades_of_white_noise_of_two_strengths_in_closed_form() -> None:
    """Noise of variances v and 4v around gray: equal constants, every other bin log₁₀ 4 decades apart."""
    rng = np.random.default_rng(0)
    metric = PowerSpectrumDiscrepancy(scale='decades', bins=17)
    for _ in range(40):
        noise = rng.normal(size=(64, 64, 1))
        metric.update(*((128 + s * noise).round().clip(0, 255).astype(np.uint8).repeat(3, 2) for s in (10, 20)))
    assert metric.compute() == pytest.approx(16 / 17 * math.log10(4) ** 2, rel=0.02)


def test_small_and_lonely_images_are_left_out(images, hub, reasons) -> None:
    metric = PowerSpectrumDiscrepancy()
    metric.update(images[0][0][:32, :32], images[0][1][:32, :32])
    metric.update(images[0][0])
    assert math.isnan(metric.compute())
    assert 'have frequencies for 17 bins, got 65 bins' in reasons.messages[0]
    assert 'there is no reference to compare with' in reasons.messages[1]
    gather(metric, images[:1])
    assert metric.compute() > 0


def test_wrong_options_are_named() -> None:
    with pytest.raises(OptionError, match="Did you mean 'clean'"):
        FID(mode='clen')
    with pytest.raises(OptionError, match="Did you mean 'decades'"):
        PowerSpectrumDiscrepancy(scale='decade')
    with pytest.raises(OptionError, match='bins is 1'):
        PowerSpectrumDiscrepancy(bins=1)
