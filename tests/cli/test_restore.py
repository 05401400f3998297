"""`metaf2n restore` and the work behind it, with the real small generator where the test data is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from metaf2n_arch.cli.blocks import network_block
from metaf2n_arch.cli.main import app, main
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.photo import Photo
from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_photo
from metaf2n_arch.inference import MetaF2N, RestoreOptions
from metaf2n_arch.photos.jobs import collect, remove_done
from metaf2n_arch.photos.outcomes import Summary
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.photos.sheet import comparison
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.loading import Generator

SCALE = 2


class FaceInWidePhotos(Detector):
    """Says that every photo wider than high shows one face."""

    def __init__(self) -> None:
        super().__init__(DetectorOptions(type='cascade'))

    def _search(self, image: np.ndarray) -> list[Face]:
        return [Face((4.0, 4.0, 24.0, 28.0), None, 1.0)] if image.shape[1] > image.shape[0] else []


@pytest.fixture
def sr() -> MetaF2N:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.PixelShuffle(SCALE)).requires_grad_(False)
    torch.nn.init.dirac_(net[0].weight[:3])
    options = RestoreOptions(patch_size=16, inner_lr=0.1, force_adapt=True)
    return MetaF2N(
        Generator(net, SCALE), None, FaceInWidePhotos(), build_restorer('identity'), torch.device('cpu'), options
    )


@pytest.fixture
def folder(tmp_path, astronaut) -> Path:
    """A wide photo with alpha, a high one of 16 bits in a subfolder, one that is no image, and a text."""
    photos = tmp_path / 'in'
    wide = np.dstack([astronaut[60:100, 200:250], np.full((40, 50), 255, np.uint8)])
    write_photo(photos / 'a.png', Photo(wide))
    write_photo(photos / 'sub' / 'b.tif', Photo(astronaut[60:110, 200:240].astype(np.uint16) * 257))
    (photos / 'broken.jpg').write_bytes(b'no picture')
    (photos / 'notes.txt').write_text('no photo', encoding='utf-8')
    return photos


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob('*') if file.is_file())


def test_a_folder_is_done_but_for_what_cannot_be_read(sr, folder, tmp_path):
    jobs = collect([folder], tmp_path / 'out')
    outcomes = {outcome.job.source.name: outcome for outcome in restore_photos(sr, jobs, compare=True)}
    assert files(tmp_path / 'out') == ['a.png', 'compare/a.png', 'compare/sub/b.png', 'sub/b.tif']
    assert 'it is not a PNG' in outcomes['broken.jpg'].failed
    assert (outcomes['a.png'].faces, outcomes['a.png'].adapted, outcomes['a.png'].psnr > 0) == (1, True, True)
    assert (outcomes['b.tif'].faces, outcomes['b.tif'].adapted) == (0, False)
    for name, dtype in (('a.png', np.uint8), ('sub/b.tif', np.uint16)):
        source, result = read_photo(folder / name).pixels, read_photo(tmp_path / 'out' / name).pixels
        assert result.dtype == dtype
        assert result.shape == (source.shape[0] * SCALE, source.shape[1] * SCALE, source.shape[2])
        assert np.array_equal(result, sr(source).image)


def test_the_summary_counts_every_outcome(sr, folder, tmp_path):
    summary = Summary(skipped=3)
    for outcome in restore_photos(sr, collect([folder], tmp_path / 'out')):
        summary.add(outcome)
    text = str(summary)
    for part in ('2 photos restored', '1 face,', '1 adapted', '1 without a face', '3 skipped', '1 failed'):
        assert part in text
    assert str(Summary(skipped=3)) == '0 photos restored, 0 faces, 0 adapted, 3 skipped'


def test_a_required_face_that_is_not_there_is_a_failure(sr, folder, tmp_path):
    outcomes = list(restore_photos(sr, collect([folder], tmp_path / 'out'), require_face=True))
    assert [outcome.failed for outcome in outcomes if outcome.job.source.name == 'b.tif'] == ['no face found.']
    assert files(tmp_path / 'out') == ['a.png']


def test_a_result_that_cannot_be_written_is_a_failure_of_that_photo(sr, folder, tmp_path, monkeypatch):
    (tmp_path / 'out' / 'a.png').mkdir(parents=True)
    outcomes = {outcome.job.source.name: outcome for outcome in restore_photos(sr, collect([folder], tmp_path / 'out'))}
    assert 'cannot be written' in outcomes['a.png'].failed
    assert outcomes['b.tif'].failed is None
    assert next(restore_photos(sr, collect([folder / 'a.png'], tmp_path / 'o', 'jpg'))).failed is None  # opaque
    clear = read_photo(folder / 'a.png').pixels.copy()
    clear[0, 0, 3] = 7
    write_photo(folder / 'clear.png', Photo(clear))
    with monkeypatch.context() as patch:  # before anything is computed
        patch.setattr(type(sr), 'open', None)
        [outcome] = restore_photos(sr, collect([folder / 'clear.png'], tmp_path / 'o', 'jpg'))
    assert 'no transparency' in outcome.failed


def test_lack_of_memory_is_said_in_a_way_that_helps(sr, folder, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 8 GiB.')

    with monkeypatch.context() as patch:
        patch.setattr(type(sr), 'find_faces', fail)
        [outcome] = restore_photos(sr, collect([folder / 'a.png'], tmp_path / 'out'))
    assert 'not enough memory for the faces' in outcome.failed
    assert 'tile' not in outcome.failed
    monkeypatch.setattr(sr.generator.net, 'forward', fail)
    outcomes = {outcome.job.source.name: outcome for outcome in restore_photos(sr, collect([folder], tmp_path / 'out'))}
    assert 'not enough memory' in outcomes['b.tif'].failed
    assert not files(tmp_path / 'out')


def test_smaller_tiles_are_tried_where_memory_is_short(sr, astronaut, tmp_path, monkeypatch):
    write_photo(tmp_path / 'in' / 'a.png', Photo(astronaut[:300, :260]))
    wanted = sr(astronaut[:300, :260]).image
    run = type(sr.generator.net).forward

    def forward(net, x):
        if x.shape[-2] * x.shape[-1] > 150 * 150:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return run(net, x)

    monkeypatch.setattr(type(sr.generator.net), 'forward', forward)
    [outcome] = restore_photos(sr, collect([tmp_path / 'in'], tmp_path / 'out'), compare=True)
    assert outcome.failed is None
    assert outcome.notes == ('in tiles of 150, because memory was not enough',)
    difference = read_photo(tmp_path / 'out' / 'a.png').pixels.astype(int) - wanted
    assert np.abs(difference).max() <= 1


def test_whatever_one_photo_raises_the_others_are_done(sr, folder, tmp_path, monkeypatch):
    opened = MetaF2N.open

    def stumble(self, image, **options):
        if image.ndim == 3 and image.shape[2] == 4:
            raise LookupError('what nobody foresaw\nin two lines')
        return opened(self, image, **options)

    monkeypatch.setattr(MetaF2N, 'open', stumble)
    outcomes = {outcome.job.source.name: outcome for outcome in restore_photos(sr, collect([folder], tmp_path / 'out'))}
    assert outcomes['a.png'].failed == 'LookupError: what nobody foresaw'
    assert outcomes['b.tif'].failed is None


def test_values_that_are_not_finite_are_refused_with_the_remedy(sr, folder, tmp_path):
    torch.nn.init.constant_(sr.generator.net[0].bias, float('nan'))
    outcomes = list(restore_photos(sr, collect([folder], tmp_path / 'out')))
    assert [o.failed for o in outcomes if o.job.source.name != 'broken.jpg'] == [
        'the output of the generator is not finite; its weights are damaged or do not belong to it: give other'
        ' --weights.'
    ] * 2
    assert not files(tmp_path / 'out')


def test_a_stop_is_passed_on_and_what_was_done_is_whole(sr, tmp_path, astronaut):
    for number in range(4):
        write_photo(tmp_path / 'in' / f'{number}.png', Photo(astronaut[:40, number : number + 50]))
    opened = MetaF2N.open

    class Stopping(MetaF2N):
        def open(self, image, **options):
            if np.array_equal(image, astronaut[:40, 2:52]):
                raise KeyboardInterrupt
            return opened(self, image, **options)

    sr.__class__ = Stopping
    with pytest.raises(KeyboardInterrupt):
        list(restore_photos(sr, collect([tmp_path / 'in'], tmp_path / 'out')))
    assert files(tmp_path / 'out') == ['0.png', '1.png']
    assert read_photo(tmp_path / 'out' / '1.png').pixels.shape == (80, 100, 3)


def test_collecting_takes_files_folders_and_patterns_once(folder, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    names = [job.target.relative_to(out).as_posix() for job in collect([folder], out)]
    assert names == ['a.png', 'broken.jpg', 'sub/b.tif']
    assert len(collect([folder, folder / 'a.png', str(folder / '*.png')], out)) == 3
    assert [job.target.name for job in collect([str(folder / '**' / '*.tif')], out, 'webp')] == ['b.webp']
    monkeypatch.chdir(folder)
    inside = folder / 'out'
    write_photo(inside / 'a.png', read_photo(folder / 'a.png'))
    assert len(collect(['.'], 'out')) == 3
    assert [job.source.name for job in remove_done(collect(['.'], 'out'))] == ['broken.jpg', 'b.tif']


@pytest.mark.parametrize(
    ('paths', 'out', 'suffix', 'error', 'message'),
    [
        (['in'], 'in', None, OptionError, 'would be overwritten'),
        (['in/a.png', 'in/other/a.png'], 'out', None, OptionError, 'would both become'),
        (['in'], 'out', 'gif', OptionError, "format is 'gif'"),
        (['in/*.bmp'], 'out', None, DataError, 'no photo matches'),
        (['empty'], 'out', None, DataError, 'holds no photo'),
        (['in', ''], 'out', None, OptionError, 'without a name'),
        (['in'], 'out.png', None, OptionError, 'out.png names a file; give a folder'),
        (['in'], 'in/a.png', None, OptionError, 'a.png names a file; give a folder'),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_starts(
    folder, tmp_path, monkeypatch, paths, out, suffix, error, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    write_photo(folder / 'other' / 'a.png', read_photo(folder / 'a.png'))
    with pytest.raises(error, match=message):
        collect(paths, out, suffix)


def test_a_comparison_shows_all_three_pixel_by_pixel_on_white(astronaut):
    lq = np.dstack([astronaut[:20, :30], np.zeros((20, 30), np.uint8)])
    plain, adapted = astronaut[:40, :60], astronaut[40:80, :60]
    sheet = comparison(lq, plain, adapted)
    assert sheet.shape[1] == 3 * 60 + 2 * 8
    assert (sheet[-40:, :60] == 255).all()
    assert np.array_equal(sheet[-40:, 68:128], plain)
    assert np.array_equal(sheet[-40:, 136:], adapted)


# the command ----------------------------------------------------------------------------------------------------------


def command(data_dir: Path, *arguments: object) -> list[str]:
    weights = data_dir / 'weights'
    fixed = ['--weights', weights / 'realesr-animevideov3.pth', '--restorer', 'identity', '--device', 'cpu']
    yunet = f'{{type: yunet, weights: {weights / "face_detection_yunet_2023mar.onnx"}}}'
    return ['restore', *map(str, arguments), *map(str, fixed), '--detector', yunet]


@pytest.fixture
def real(tmp_path, data_dir, astronaut) -> Path:
    """A small photo with a face, EXIF rotation and a profile; a grey one without a face."""
    photos = tmp_path / 'real'
    photos.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.rot90(astronaut[40:168, 170:282]).copy())
    turned.save(photos / 'face.jpg', quality=95, exif=exif, icc_profile=b'profile' * 30)
    Image.fromarray(astronaut[400:440, 20:80, 0]).save(photos / 'grey.png')
    return photos


def test_the_command_restores_photos_and_says_what_it_did(data_dir, real, tmp_path):
    out = tmp_path / 'out'
    result = CliRunner().invoke(app, command(data_dir, real, '-o', out, '--compare', '--tile', 120))
    assert result.exit_code == 0, result.output
    assert 'face.jpg: 448 x 512, 1 face, +' in result.output
    assert 'grey.png: 240 x 160, no face, restored unadapted' in result.output
    assert '2 photos restored, 1 face, 1 adapted (+' in result.output
    with Image.open(out / 'face.jpg') as image:
        assert image.size == (448, 512)
        assert image.info['icc_profile'] == b'profile' * 30
        assert image.getexif().get(0x0112, 1) == 1
    with Image.open(out / 'grey.png') as image:
        assert image.mode == 'L'
    again = CliRunner().invoke(app, command(data_dir, real, '-o', out, '--skip-existing'))
    assert again.exit_code == 0
    assert '0 photos restored' in again.output
    assert '2 skipped' in again.output


def test_the_command_ends_with_1_where_a_photo_failed(data_dir, real, tmp_path):
    (real / 'broken.png').write_bytes(b'no picture')
    result = CliRunner().invoke(app, command(data_dir, real, '-o', tmp_path / 'out', '--require-face', '--bf16'))
    assert result.exit_code == 1
    assert 'grey.png: no face found.' in result.output
    assert 'broken.png: cannot be read as an image: it is not a PNG' in result.output
    assert [name for name in files(tmp_path / 'out') if not name.startswith('.')] == ['face.jpg']


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_a_photo_over_the_limit_of_pixels_is_refused_in_one_line_and_the_others_are_restored(
    data_dir, real, tmp_path, monkeypatch
):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', Image.MAX_IMAGE_PIXELS)  # which the command sets for its process
    results = tmp_path / 'results.jsonl'
    limited = CliRunner().invoke(
        app, command(data_dir, real, '-o', tmp_path / 'out', '--max-pixels', 0.0143, '--results', results)
    )
    assert limited.exit_code == 1
    [line] = [line for line in limited.output.splitlines() if line.startswith('failed')]
    assert line.endswith('face.jpg: is larger than 0.014 megapixels; allow more with --max-pixels.')  # 112 x 128
    assert 'grey.png: 240 x 160' in limited.output
    assert [name for name in files(tmp_path / 'out') if not name.startswith('.')] == ['grey.png']
    assert len(results.read_text().splitlines()) == 2
    allowed = CliRunner().invoke(app, command(data_dir, real, '-o', tmp_path / 'out', '--max-pixels', 0.01434))
    assert allowed.exit_code == 0, allowed.output
    assert 'face.jpg: 448 x 512' in allowed.output
    assert 'Warning' not in allowed.output


def test_every_option_reaches_the_network(data_dir, real, tmp_path, monkeypatch):
    seen = {}

    def load(weights, **options):
        seen.update(options, weights=weights)
        raise DataError('seen')

    monkeypatch.setattr(MetaF2N, 'load', load)
    file = tmp_path / 'options.yml'
    file.write_text('network_g: {type: MSRResNet, upscale: 4}', encoding='utf-8')
    given = '--steps 3 --inner-lr 0.5 --patches 8 --seed 9 --tile 100 --overlap 10 --half --learned-rates'
    (tmp_path / 'm.pth').touch()
    given = [*given.split(), '--mask-weights', tmp_path / 'm.pth', '--architecture', file]
    CliRunner().invoke(app, command(data_dir, real, '-o', tmp_path / 'out', *given))
    assert seen['architecture'] == {'type': 'MSRResNet', 'upscale': 4}
    assert seen['detector']['type'] == 'yunet'
    wanted = {'inner_steps': 3, 'inner_lr': 0.5, 'patches': 8, 'seed': 9, 'tile': 100, 'overlap': 10}
    wanted |= {
        'precision': 'float16',
        'mask_weights': str(tmp_path / 'm.pth'),
        'learned_rates': True,
        'device': 'cpu',
        'restorer': 'identity',
    }
    assert {key: seen[key] for key in wanted} == wanted


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--inner-lr', '-1'], 'inner_lr is -1.0'),
        (['--detector', 'yolo'], "detector is 'yolo'"),
        (['--detector', '{type: yunet'], 'not valid YAML'),
        (['--weights', 'realesrgan_x4plus'], 'weights fetch realesrgan_x4plus'),
        (['--architecture', 'absent.yml'], 'No such file'),
        (['--architecture', '{type: RRDBNett}'], "Did you mean 'RRDBNet'"),
        (['--outscale', '0'], 'outscale is 0'),
        (['--format', 'gif'], "format is 'gif'"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    data_dir, real, tmp_path, monkeypatch, capsys, arguments, message
):
    for name in ('METAF2N_WEIGHTS', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(name, str(tmp_path / 'nothing'))
    monkeypatch.setattr('sys.argv', ['metaf2n', *command(data_dir, real, '-o', tmp_path / 'out'), *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert message in error
    assert '\n' not in error
    assert not (tmp_path / 'out').exists()


def test_a_photo_is_no_option_file(real):
    with pytest.raises(OptionError, match=r'face.jpg: not a text file'):
        network_block(str(real / 'face.jpg'), 'network_g', '--architecture')


def test_help_needs_no_torch():
    code = (
        'import sys; from metaf2n_arch.cli.main import app; print([m for m in ("torch", "numpy") if m in sys.modules])'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout.strip() == '[]'


@pytest.mark.slow
@pytest.mark.skipif(os.name == 'nt', reason='sends a POSIX signal')
def test_stopping_leaves_whole_files_only(data_dir, tmp_path, astronaut):
    photos, out = tmp_path / 'in', tmp_path / 'out'
    for number in range(30):
        write_photo(photos / f'{number:02}.png', Photo(astronaut[:64, number : number + 96]))
    code = 'from metaf2n_arch.cli.main import main; main()'
    arguments = command(data_dir, photos, '-o', out)
    process = subprocess.Popen(
        [sys.executable, '-c', code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    start = time.monotonic()
    while not list(out.glob('*.png')) and time.monotonic() < start + 120 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    done = [name for name in files(out) if not name.startswith('.restore/')]  # what a later run reads
    assert process.returncode not in (0, None), output
    assert 0 < len(done) < 30
    assert ' restored, ' in output
    assert 'Traceback' not in output
    for name in done:
        assert read_photo(out / name).pixels.shape == (256, 384, 3)
