"""Weights that say how they were trained: restored with the step, the patches and the colour fix of their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from torch.func import functional_call
from typer.testing import CliRunner

from metaf2n_arch import MetaF2N
from metaf2n_arch.cli.main import app
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.inference import RestoreOptions
from metaf2n_arch.meta.guarded import FRACTIONS, UNTRAINED_LR
from metaf2n_arch.meta.support import random_patches
from metaf2n_arch.models.inner_rates import InnerRates
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.records import RECORD, TrainingRecord

MOVED = 'body.0.*'
TRAINING = {'model': 'MetaF2NModel', 'scale': 2, 'iteration': 9, 'inner_lr': 0.05, 'inner_steps': 2}
PATCHES = {'patches': 3, 'patch_size': 24, 'adapt_only': (MOVED,)}


class OneFace(Detector):
    """Finds a face where the photo of these tests has one."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade', min_size=1))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((30.0, 10.0, 62.0, 50.0), None, 1.0)]


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.ascontiguousarray(astronaut[60:140, 170:290])


def saved(folder: Path, rates: dict[str, float] | None = None, **record: Any) -> tuple[Path, SRVGGNetCompact]:
    """A small generator's file, with its training record and, for `rates`, learned step sizes."""
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2)
    content: dict[str, Any] = {'params': net.state_dict()}
    if record:
        content[RECORD] = TrainingRecord(**record).plain()
    if rates is not None:
        learned = InnerRates(list(rates), 0.0)
        for name, value in rates.items():
            torch.nn.init.constant_(learned.rates[name.replace('.', '/')], value)
        content['inner_lr'] = learned.state_dict()
    torch.save(content, folder / 'net.pth')
    return folder / 'net.pth', net


def load(path: Path, **options: Any) -> MetaF2N:
    return MetaF2N.load(path, detector=OneFace(), restorer='identity', device='cpu', **options)


@pytest.mark.parametrize('fix', [None, 'lowfreq'])
@pytest.mark.parametrize('learned', [False, True])
def test_auto_takes_the_recorded_rates_steps_patches_and_colour_fix(photo, tmp_path, learned, fix):
    """The inner loop written out: recorded step sizes times the fraction that was taken, two steps, three patches."""
    rates = {'body.0.weight': 0.07, 'body.0.bias': 0.02} if learned else None
    record = {**TRAINING, **PATCHES, 'color_fix': fix, 'color_fix_sigma': 1.5 if fix else None}
    path, net = saved(tmp_path, rates, **{**record, **({'inner_lr': 'learned'} if learned else {})})
    sr = load(path, force_adapt=True)
    assert sr.meta_trained
    [face] = sr.find_faces(photo)
    probed = sr.networks.probe(torch.from_numpy(photo / np.float32(255)).permute(2, 0, 1)[None])
    inside = ColorFix('lowfreq', 1.5, probed.traits())
    found = sr.adapt([face], seed=5, fix=inside)
    lq, hq = random_patches([(face.lq, face.hq)], 3, 12, numpy_generator(5))
    theta = {name: p.detach().requires_grad_() for name, p in net.named_parameters()}
    for _ in range(2):
        output = functional_call(net, theta, (lq,))
        output = inside(output, lq) if fix else output
        loss = (hq - output).abs().mean()
        moved = [name for name in theta if name.startswith('body.0.')]
        grads = torch.autograd.grad(loss, [theta[name] for name in moved])
        for name, g in zip(moved, grads):
            rate = rates[name] if rates is not None else 0.05
            theta[name] = (theta[name] - found.fraction * rate * g).detach().requires_grad_()
    assert found.fraction in FRACTIONS
    for name, p in found.fast_params.items():
        assert torch.allclose(p, theta[name], rtol=1e-4, atol=1e-6), name
    assert any(not torch.equal(p, net.state_dict()[name]) for name, p in found.fast_params.items())


def test_what_is_asked_for_wins_over_the_record(tmp_path):
    path, _ = saved(tmp_path, **TRAINING, **PATCHES, color_fix='wavelet')
    asked = load(path, inner_lr=0.2, inner_steps=1, patches=5, color_fix='none', adapt_only=None)
    assert asked.rates == 0.2
    options = asked.options
    assert (options.inner_steps, options.patches, options.color_fix, options.adapt_only) == (1, 5, 'none', None)
    assert options.patch_size == 24
    assert 'inside' not in asked.about
    assert load(path).about == (
        'the weights are meta-trained; step size 0.05 or less, 2 steps, colour fix wavelet inside the generator'
    )


@pytest.mark.parametrize(
    'record', [{}, {'model': 'GANSRModel', 'scale': 2, 'iteration': 7}, {**TRAINING, 'iteration': 0}]
)
def test_weights_without_meta_training_get_the_defaults(tmp_path, record):
    sr = load(saved(tmp_path, **record)[0])
    assert not sr.meta_trained
    assert sr.rates == UNTRAINED_LR
    assert sr.options == RestoreOptions()


def test_the_colour_fix_of_an_ordinary_training_is_taken_too(photo, tmp_path):
    path, _ = saved(tmp_path, model='GANSRModel', iteration=7, color_fix='wavelet')
    recorded, asked = load(path, inner_steps=0), load(path, inner_steps=0, color_fix='wavelet')
    assert np.array_equal(recorded(photo).image, asked(photo).image)
    assert not np.array_equal(recorded(photo).image, load(path, inner_steps=0, color_fix='none')(photo).image)


def test_the_restorer_of_the_training_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv('METAF2N_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    path, _ = saved(tmp_path, **TRAINING, restorer='gpen 256')
    with pytest.raises(Exception, match='weights fetch gpen_bfr_256'):
        MetaF2N.load(path, detector='cascade', device='cpu')


def test_the_same_networks_under_other_options(photo, tmp_path):
    path, _ = saved(tmp_path, **TRAINING)
    sr = load(path)
    other = sr.with_options(inner_lr=0.01, color_fix='none', force_adapt=True)
    assert other.generator.net is sr.generator.net
    assert np.array_equal(
        other(photo).image, load(path, inner_lr=0.01, color_fix='none', force_adapt=True)(photo).image
    )
    assert other.options.inner_steps == 2
    plain = sr.with_options(inner_steps=0)(photo)
    assert (plain.faces, plain.adapted) == ([], False)
    with pytest.raises(OptionError, match='unknown key'):
        sr.with_options(inner=1)
    unable = MetaF2N.load(path, device='cpu', inner_steps=0)
    with pytest.raises(OptionError, match='needs a detector'):
        unable.with_options(inner_steps=1)


def test_faces_are_found_to_be_pasted_where_nothing_adapts(photo, tmp_path):
    sr = load(saved(tmp_path)[0], inner_steps=0, paste_faces=1.0)
    result = sr(photo, require_face=True)
    assert len(result.faces) == 1
    assert not result.adapted
    plain = load(saved(tmp_path)[0], inner_steps=0)(photo).image
    changed = (plain != result.image).any(-1)
    assert changed[60, 90]
    assert not changed[:, 200:].any()


@pytest.mark.parametrize('words', [['--steps', '0'], ['--inner-lr', '0']])
@pytest.mark.parametrize('flag', ['--require-face', '--save-faces'])
def test_faces_that_nothing_looks_for_are_refused_before_anything_is_loaded(tmp_path, monkeypatch, words, flag):
    monkeypatch.setattr(MetaF2N, 'load', lambda *_, **__: pytest.fail('networks were loaded'))
    result = CliRunner().invoke(app, ['restore', 'absent.png', '-o', str(tmp_path / 'out'), flag, *words])
    assert isinstance(result.exception, OptionError)
    assert f'{flag} needs adaptation or --paste-faces' in str(result.exception)
    assert '\n' not in str(result.exception)
    assert not (tmp_path / 'out').exists()


def test_the_command_leaves_to_the_weights_what_is_not_given(photo, tmp_path):
    from PIL import Image

    path, _ = saved(tmp_path, **TRAINING, **PATCHES)
    Image.fromarray(photo).save(tmp_path / 'photo.png')
    words = ['restore', str(tmp_path / 'photo.png'), '-o', str(tmp_path / 'out'), '--weights', str(path)]
    words += ['--detector', 'cascade', '--restorer', 'identity', '--device', 'cpu']
    assert '0.05 or less, 2 steps' in CliRunner().invoke(app, words).output
    assert '0.3, 1 step' in CliRunner().invoke(app, [*words, '--steps', '1', '--inner-lr', '0.3']).output
