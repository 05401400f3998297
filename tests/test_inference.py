"""Restoring photos: against the equations, with real detector and generator weights where they are."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metaf2n_arch import MetaF2N
from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.inference import RestoreOptions
from metaf2n_arch.meta.guarded import HELD_OUT
from metaf2n_arch.meta.support import random_patches, weighted_l1
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import Generator

SCALE, RATE = 2, 0.1


class GivenFaces(Detector):
    """Finds faces where it is told."""

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        super().__init__(DetectorOptions(type='cascade', min_size=1))
        self.boxes = boxes

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face(box, None, 1.0) for box in self.boxes if box[2] <= image.shape[1] and box[3] <= image.shape[0]]


class Sharpening(nn.Module):
    """A small generator that begins as nearest-neighbour enlargement."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3 * SCALE**2, 3, padding=1)
        self.register_buffer('gain', torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = F.pixel_shuffle(self.last(F.leaky_relu(self.first(x), 0.1)), SCALE)
        return F.interpolate(x, scale_factor=SCALE) + 0.1 * self.gain * change


FACE = (30.0, 10.0, 62.0, 50.0)


def build(*boxes, mask: nn.Module | None = None, **options) -> MetaF2N:
    parsed = RestoreOptions(**{'inner_lr': RATE, 'patch_size': 16, **options})
    generator = Generator(Sharpening().requires_grad_(False).eval(), SCALE)
    detector = GivenFaces(*(boxes or (FACE,)))
    return MetaF2N(generator, mask, detector, build_restorer('identity'), torch.device('cpu'), parsed)


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.ascontiguousarray(astronaut[60:140, 170:290])


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def test_the_result_is_that_of_the_equations_written_out(photo):
    torch.manual_seed(1)
    mask = MaskNet(num_feat=8, num_conv=3, bias_last=1.0).requires_grad_(False)
    sr = build(mask=mask, patches=4, seed=7, color_fix='none', force_adapt=True)
    result = sr(photo, unadapted=True)
    [face] = result.faces
    rng = numpy_generator(7)
    lq, hq = random_patches([(face.lq, face.hq)], 4, 8, rng)
    held_lq, held_hq = random_patches([(face.lq, face.hq)], HELD_OUT, 8, rng)
    net = Sharpening()
    theta = dict(net.named_parameters())
    loss = (mask(lq, hq) * (hq - net(lq)).abs()).mean()
    grads = torch.autograd.grad(loss, list(theta.values()))
    fast = {name: p - RATE * g for (name, p), g in zip(theta.items(), grads)}
    expected = {'image': functional_call(net, fast, (tensor(photo),)), 'unadapted': net(tensor(photo))}
    for name, output in expected.items():
        levels = (output.detach().clamp(0, 1) * 255)[0].permute(1, 2, 0).numpy()
        assert np.abs(getattr(result, name) - levels).max() < 0.51
    weight = mask(held_lq, held_hq)
    for told, output in (
        (result.gain.loss_before, net(held_lq)),
        (result.gain.loss_after, functional_call(net, fast, (held_lq,))),
    ):
        assert told == pytest.approx((weight * (held_hq - output.clamp(0, 1)).abs()).mean().item(), rel=1e-5)
    assert result.adapted
    assert result.inner_lr == RATE
    assert result.gain.loss > 0
    assert np.allclose(result.confidence[0], mask(face.lq[None], face.hq[None])[0, 0], atol=1e-6)


def test_without_mask_net_every_pixel_is_trusted_alike(photo):
    result = build()(photo)
    [face], [confidence] = result.faces, result.confidence
    assert confidence.shape == face.hq.shape[-2:]
    assert (confidence == 1).all()
    assert result.unadapted is None


def test_without_a_face_or_without_steps_the_weights_are_used_as_they_are(photo):
    for sr in (build((0, 0, 500, 500)), build(inner_steps=0)):
        result = sr(photo, unadapted=True)
        assert np.array_equal(result.image, result.unadapted)
        assert not result.adapted
        assert result.gain is None


@pytest.mark.parametrize('options', [{}, {'force_adapt': True}, {'inner_steps': 3}])
def test_a_rate_far_too_large_is_one_line_and_no_photo(photo, options):
    with pytest.raises(DataError, match=r'^the step size 1e\+30 is far too large; give a smaller one, or auto\.$'):
        build(inner_lr=1e30, **options)(photo)


def test_threads_give_what_one_after_the_other_gives_and_leave_the_weights_alone(astronaut):
    """Each photo adapts far enough to be another picture, so that a mixed-up weight would show."""
    torch.manual_seed(1)
    sr = build(
        mask=MaskNet(num_feat=8, num_conv=3, bias_last=1.0).requires_grad_(False),
        inner_lr=10.0,
        inner_steps=5,
        force_adapt=True,
    )
    before = {name: p.clone() for name, p in sr.generator.net.state_dict().items()}
    photos = [np.ascontiguousarray(astronaut[y : y + 80, 150 : 150 + 90]) for y in range(0, 240, 20)] * 2
    one_by_one = [sr(photo, unadapted=True) for photo in photos]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda photo: sr(photo, unadapted=True), photos))
    for alone, result in zip(one_by_one, together):
        for name in ('image', 'unadapted'):
            a, b = getattr(alone, name).astype(int), getattr(result, name).astype(int)
            assert np.abs(a - b).max() <= 1
    assert np.abs(one_by_one[0].image.astype(int) - one_by_one[0].unadapted).max() > 3
    after = sr.generator.net.state_dict()
    assert all(torch.equal(p, before[name]) for name, p in after.items())


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32, np.float64])
def test_the_same_photo_of_another_kind_gives_the_same_picture(photo, dtype):
    sr = build()
    levels = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1.0
    result = sr((photo / 255 * levels).round(12 if levels == 1.0 else 0).astype(dtype)).image
    assert result.dtype == dtype
    assert np.abs(result / levels - sr(photo).image / 255).max() < 0.6 / 255


def test_grey_and_alpha_come_back_as_they_went_in(photo):
    sr = build()
    grey = sr(photo[..., 1])
    assert grey.image.shape == (160, 240)
    assert np.abs(grey.image - sr(np.repeat(photo[..., 1:2], 3, 2)).image.mean(2)).max() < 20
    alpha = np.dstack([photo, np.full(photo.shape[:2], 200, np.uint8)])
    result = sr(alpha).image
    assert np.array_equal(result[..., :3], sr(photo).image)
    assert (result[..., 3] == 200).all()


def test_tiles_give_the_same_picture(photo):
    whole, tiled = build()(photo), build(tile=48, overlap=4)(photo)
    assert np.abs(whole.image.astype(int) - tiled.image).max() <= 1


def test_outscale_sets_the_size(photo):
    assert build()(photo, outscale=3.5, unadapted=True).unadapted.shape == (280, 420, 3)


@pytest.mark.parametrize('size', [(1, 1), (1, 40), (17, 5)])
def test_the_smallest_photos_are_restored(photo, size):
    assert build()(photo[: size[0], : size[1]]).image.shape == (size[0] * SCALE, size[1] * SCALE, 3)


def test_bfloat16_restores_the_same_picture_but_for_its_rounding(photo):
    full, half = build()(photo), build(precision='bfloat16')(photo)
    difference = np.abs(full.image.astype(int) - half.image)
    assert difference.max() <= 4
    assert difference.mean() < 1
    assert half.gain == full.gain
    with pytest.raises(OptionError, match='needs a GPU'):
        build(precision='float16')


@pytest.mark.parametrize('emulated', [True, False])
def test_a_slow_precision_is_mentioned(monkeypatch, emulated):
    monkeypatch.setattr('metaf2n_arch.inference.metaf2n.emulates_bfloat16', lambda device: emulated)
    assert ('ten times as long' in build(precision='bfloat16').about) is emulated
    assert 'ten times as long' not in build().about


@pytest.mark.parametrize('tile', [0, 40])
def test_ncnn_gives_the_picture_of_torch_within_one_grey_level(photo, tile):
    pytest.importorskip('ncnn')
    options = {'tile': tile, 'overlap': 6, 'force_adapt': True, 'inner_lr': 3.0, 'color_fix': 'none'}
    found = [build(backend=backend, **options)(photo, unadapted=True) for backend in ('torch', 'ncnn')]
    assert all(one.adapted for one in found)
    torch_, ncnn = (np.stack([one.image, one.unadapted]).astype(int) for one in found)
    assert np.abs(torch_ - ncnn).max() <= 1
    assert np.abs(ncnn[0] - ncnn[1]).max() > 1  # the step is seen in it


@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['float32', 'float16', 'bfloat16'])
def test_a_gpu_gives_the_picture_of_the_cpu(photo, precision):
    generator = Generator(Sharpening().requires_grad_(False).eval(), SCALE)
    options = RestoreOptions(inner_lr=RATE, patch_size=16, precision=precision)
    parts = (generator, None, GivenFaces(FACE), build_restorer('identity'), torch.device('cuda'), options)
    expected = build()(photo).image.astype(int)
    assert np.abs(MetaF2N(*parts)(photo).image - expected).max() <= (1 if precision == 'float32' else 4)


def test_a_real_generator_adapts_to_the_faces_of_a_real_photo(data_dir, photo):
    weights = data_dir / 'weights'
    sr = MetaF2N.load(
        weights / 'realesr-animevideov3.pth',
        detector={'type': 'yunet', 'weights': str(weights / 'face_detection_yunet_2023mar.onnx')},
        restorer='identity',
        device='cpu',
    )
    result = sr(photo, unadapted=True)
    assert sr.scale == 4
    assert len(result.faces) == 1
    assert result.image.shape == (320, 480, 3)
    assert result.gain.psnr > 0
    assert 0 < np.abs(result.image.astype(int) - result.unadapted).mean() < 5


def test_attention_in_windows_adapts_to_a_face_smaller_than_a_patch(photo, tmp_path):
    """SwinIR takes sides that are multiples of its window only: photo, tiles and face have none such."""
    from basicsr.archs.swinir_arch import SwinIR

    torch.manual_seed(0)
    options = {'upscale': 2, 'window_size': 8, 'depths': [2], 'num_heads': [2], 'embed_dim': 8, 'img_size': 16}
    options |= {'upsampler': 'pixelshuffledirect', 'mlp_ratio': 2}
    torch.save({'params': SwinIR(**options).state_dict()}, tmp_path / 'swin.pth')
    sr = MetaF2N.load(
        tmp_path / 'swin.pth',
        architecture={'type': 'SwinIR', **options},
        detector=GivenFaces((30.0, 10.0, 41.0, 23.0)),
        restorer='identity',
        device='cpu',
        tile=70,
        overlap=4,
        adapt_only=('*.qkv.weight',),
        inner_lr=0.01,
        force_adapt=True,
    )
    result = sr(photo[:77, :111])
    assert result.adapted
    assert result.image.shape == (154, 222, 3)
    assert {name.rsplit('.', 2)[1] for name in sr.adapt_only} == {'qkv'}


def test_learned_rates_are_those_of_the_file(photo, tmp_path):
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    from metaf2n_arch.models.inner_rates import InnerRates

    architecture = {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 1, 'upscale': 2}
    torch.manual_seed(0)
    net = SRVGGNetCompact(num_feat=8, num_conv=1, upscale=2)
    rates = InnerRates([name for name, _ in net.named_parameters()], 0.05)
    torch.nn.init.constant_(rates.rates['body/0/weight'], 0.0)
    path = tmp_path / 'learned.pth'
    torch.save({'params': net.state_dict(), 'inner_lr': rates.state_dict()}, path)
    parts = {'architecture': architecture, 'detector': GivenFaces(FACE), 'restorer': 'identity', 'device': 'cpu'}
    sr = MetaF2N.load(path, **parts, learned_rates=True, patch_size=16)
    learned, fixed = sr.adapt(sr.find_faces(photo)), MetaF2N.load(path, **parts, inner_lr=0.05, patch_size=16)
    expected = fixed.adapt(fixed.find_faces(photo)).fast_params
    for name, p in learned.fast_params.items():
        same = net.state_dict()[name] if name == 'body.0.weight' else expected[name]
        assert torch.allclose(p, same, atol=1e-7)
    torch.save({'params': net.state_dict()}, path)
    with pytest.raises(DataError, match='no learned inner rates'):
        MetaF2N.load(path, **parts, learned_rates=True)


def test_tiles_of_a_real_generator_show_no_seam(data_dir, photo):
    """Its 18 convolutions look 18 pixels far."""
    weights = data_dir / 'weights' / 'realesr-animevideov3.pth'
    parts = {'detector': GivenFaces(), 'restorer': 'identity', 'device': 'cpu'}
    whole = MetaF2N.load(weights, **parts)(photo).image.astype(int)
    tiled = MetaF2N.load(weights, **parts, tile=92, overlap=18)(photo).image
    assert np.abs(whole - tiled).max() <= 1


def test_wrong_options_and_missing_weights_are_one_line(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv('METAF2N_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    weights = data_dir / 'weights' / 'realesr-animevideov3.pth'
    cases = [
        (OptionError, "iner_lr: unknown key. Did you mean 'inner_lr'", {'iner_lr': 1}),
        (OptionError, 'device is ', {'device': 'gpu'}),
        (OptionError, 'tile is 30', {'tile': 30, 'detector': 'cascade', 'restorer': 'identity'}),
        (OptionError, 'matches no name', {'adapt_only': ('head.*',), 'detector': 'cascade', 'restorer': 'identity'}),
        (DataError, 'weights fetch retinaface_resnet50', {}),
        (DataError, 'weights fetch gpen_bfr_512', {'detector': 'cascade'}),
    ]
    for error, message, arguments in cases:
        with pytest.raises(error, match=message) as caught:
            MetaF2N.load(weights, **arguments)
        assert '\n' not in str(caught.value)
    with pytest.raises(DataError, match='weights fetch realesrgan_x4plus'):
        MetaF2N.load('realesrgan_x4plus')


def test_exporting_it_loads_nothing():
    code = 'import sys, metaf2n_arch; assert "MetaF2N" in dir(metaf2n_arch); print("torch" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == 'False'


class Shifted(Sharpening):
    """A generator whose tones are off, as if trained on other photos, by a bias that a step can move."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([shift, 0.0, -shift]).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.shift


def shifted(**options) -> MetaF2N:
    generator = Generator(Shifted(0.05).requires_grad_(False).eval(), SCALE)
    parsed = RestoreOptions(patch_size=16, **options)
    parts = GivenFaces(FACE), build_restorer('identity'), torch.device('cpu')
    return MetaF2N(generator, None, *parts, parsed)


@pytest.mark.parametrize('kind', ['lowfreq', 'wavelet'])
def test_the_colour_fix_gives_the_result_the_photos_tones(kind, photo):
    means = {k: shifted(inner_steps=0, color_fix=k)(photo).image.mean((0, 1)) for k in (kind, 'none')}
    assert np.abs(means['none'] - photo.mean((0, 1))).max() > 8
    assert np.abs(means[kind] - photo.mean((0, 1))).max() < 1.5


def test_tiles_do_not_make_tones_jump(photo):
    whole, tiled = (shifted(inner_steps=0, tile=tile, overlap=4)(photo).image for tile in (0, 40))
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_grey_photo_with_alpha_in_16_bits_is_fixed_in_its_kind(photo):
    grey = (photo.mean(-1) * 257).astype(np.uint16)
    image = np.stack([grey, np.full_like(grey, 65535)], -1)
    result = shifted(inner_steps=0)(image, outscale=1.5).image
    assert (result.shape, result.dtype) == ((120, 180, 2), np.uint16)
    assert abs(result[..., 0].mean() - grey.mean()) < 300


def test_a_step_that_loses_on_unseen_patches_is_not_kept_unless_forced(photo):
    refused, forced = build(inner_lr=1e3), build(inner_lr=1e3, force_adapt=True)
    result = refused(photo, unadapted=True)
    assert not result.adapted
    assert result.gain.loss < 0
    assert result.reason == 'no gain on the faces'
    assert np.array_equal(result.image, result.unadapted)
    assert forced(photo).adapted


def test_auto_takes_a_step_that_gains_and_says_which(photo):
    """The faces tell the true sharpness here: the identity restorer's face is the enlarged photo."""
    result = build(inner_lr='auto')(photo)
    if result.adapted:
        assert result.gain.loss > 0
        assert result.inner_lr in (0.01, pytest.approx(0.003), pytest.approx(0.001))
    else:
        assert result.reason


def test_a_face_whose_colours_are_wrong_does_not_move_the_photo(photo):
    """The step would learn the restorer's cast; the tones of the photo forbid it."""
    sr = shifted(inner_lr=0.3, color_fix='none', adapt_only=('shift',))
    for p in (*sr.generator.net.last.parameters(), sr.generator.net.shift):
        p.zero_()  # right tones before the step
    faces = sr.find_faces(photo)
    cast = [replace(face, hq=(face.hq + 0.2).clamp(0, 1)) for face in faces]
    x = tensor(photo)
    found = sr.adapt(cast, probed=sr.networks.probe(x))
    assert found.gain.loss > 0
    assert not found.kept
    assert found.reason == 'adaptation would shift the tones of the photo'


def test_without_steps_no_face_is_looked_for_and_no_weights_of_it_are_asked_for(photo, tmp_path):
    sr = MetaF2N.load(_saved(tmp_path), architecture=None, device='cpu', inner_steps=0)
    assert sr.detector is None
    assert sr(photo).faces == []
    with pytest.raises(OptionError, match='require_face is set'):
        sr(photo, require_face=True)


def test_many_faces_share_32_patches(photo, monkeypatch):
    seen = []
    boxes = [(float(x), 10.0, float(x + 20), 40.0) for x in range(0, 100, 8)]
    sr = build(*boxes)
    monkeypatch.setattr(
        'metaf2n_arch.meta.guarded.weighted_l1', lambda g, c, lq, hq: seen.append(len(lq)) or weighted_l1(g, c, lq, hq)
    )
    sr.adapt([face for face in sr.find_faces(photo)] * 3)
    assert seen == [32]


def _saved(folder) -> str:
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

    path = folder / 'net.pth'
    torch.save({'params': SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).state_dict()}, path)
    return str(path)
