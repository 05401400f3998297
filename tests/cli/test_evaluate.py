"""`metaf2n evaluate`: numbers made elsewhere, the same numbers as `basicsr.test`, and mistakes in folders."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.report.evaluation import evaluate, metric_entries
from metaf2n_arch.report.folders import common_suffix, match_results
from metaf2n_arch.utils.checks import DataError, OptionError


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ['evaluate', *map(str, arguments)], env={'COLUMNS': '200'})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def bicubic(source: Path, target: Path, suffix: str = '') -> Path:
    """Enlarges LR images four times by BasicSR's MATLAB-like `imresize`."""
    from basicsr.utils.matlab_functions import imresize

    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        image = cv2.imread(str(path)).astype(np.float32) / 255
        large = np.clip(imresize(image, 4) * 255, 0, 255).round().astype(np.uint8)
        cv2.imwrite(str(target / f'{path.stem.removesuffix("x4")}{suffix}.png'), large)
    return target


@pytest.mark.parametrize(('name', 'psnr', 'ssim'), [('Set5', 28.43, 0.8113), ('Set14', 26.09, 0.7049)])
def test_bicubic_has_the_values_that_papers_print(data_dir, tmp_path, name, psnr, ssim):
    root = data_dir / 'benchmarks' / name
    results = bicubic(root / 'LRx4', tmp_path / 'bicubic', suffix='_bicubic')
    # references of odd sizes were cut before they were shrunk
    means = evaluate([results], root / 'GT', metric_entries(['psnr', 'ssim'], 4), mod_crop=4).mean['bicubic']
    assert means['psnr'] == pytest.approx(psnr, abs=0.005)
    assert means['ssim'] == pytest.approx(ssim, abs=0.00005)


OPTIONS = """
name: tiny
model_type: SRModel
scale: 4
num_gpu: 0
manual_seed: 0
datasets:
  test_1:
    name: Set5
    type: PairedImageDataset
    dataroot_gt: {root}/GT
    dataroot_lq: {root}/LRx4
    filename_tmpl: '{template}'
    io_backend: {{type: disk}}
network_g: {{type: SRVGGNetCompact, num_feat: 64, num_conv: 16, upscale: 4, act_type: prelu}}
path:
  pretrain_network_g: {weights}
  param_key_g: params
val:
  save_img: true
  suffix: ~
  metrics:
    psnr: {{type: calculate_psnr, crop_border: 4, test_y_channel: true}}
    ssim: {{type: calculate_ssim, crop_border: 4, test_y_channel: true}}
    niqe: {{type: calculate_niqe_y, crop_border: 4}}
"""


@pytest.mark.slow
def test_a_published_generator_has_its_value_and_evaluate_agrees_with_basicsr_test(data_dir, tmp_path):
    import re
    import subprocess
    import sys

    root = data_dir / 'benchmarks' / 'Set5'
    template = '{}x4' if all(path.stem.endswith('x4') for path in (root / 'LRx4').iterdir()) else '{}'
    weights = data_dir / 'weights' / 'realesr-animevideov3.pth'
    file = tmp_path / 'tiny.yml'
    file.write_text(OPTIONS.format(root=root, template=template, weights=weights))
    command = [sys.executable, '-m', 'basicsr.test', '-opt', str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    logged = {name: float(value) for name, value in re.findall(r'# (\w+): ([\d.]+)', log)}
    assert logged['psnr'] == pytest.approx(28.23, abs=0.005)
    results = tmp_path / 'results' / 'tiny' / 'visualization' / 'Set5'
    code, _ = run(results, root / 'GT', '--opt', file, '--json', tmp_path / 'out.json')
    assert code == 0
    means = json.loads((tmp_path / 'out.json').read_text())['mean']['Set5']
    assert {name: round(value, 4) for name, value in means.items()} == logged


@pytest.fixture
def sets(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """`gt/`, and three folders of results: blurred by two programs with their suffixes, one in a subfolder too."""
    bgr = astronaut[..., ::-1]
    for folder in ('gt', 'weak', 'strong', 'weak/unadapted'):
        (tmp_path / folder).mkdir(parents=True)
    for i, name in enumerate(('img_1', 'img_1_2', 'img_10')):
        photo = np.ascontiguousarray(bgr[100 * i : 100 * i + 200, 100:300])
        cv2.imwrite(str(tmp_path / 'gt' / f'{name}.png'), photo)
        cv2.imwrite(str(tmp_path / 'weak' / f'{name}_mine.png'), cv2.GaussianBlur(photo, (0, 0), 1))
        cv2.imwrite(str(tmp_path / 'weak' / 'unadapted' / f'{name}_mine.png'), photo)
        cv2.imwrite(str(tmp_path / 'strong' / f'{name}.jpg'), cv2.GaussianBlur(photo, (0, 0), 3))
    return tmp_path


def test_folders_stand_side_by_side_and_each_value_is_the_hosts(sets):
    from basicsr.metrics import calculate_psnr

    evaluation = evaluate([sets / 'weak', sets / 'strong'], sets / 'gt', metric_entries(['psnr', 'spectrum'], 4))
    for folder, ending in (('weak', '_mine.png'), ('strong', '.jpg')):
        for name, value in evaluation.images[folder]['psnr'].items():
            pair = [cv2.imread(str(sets / path)) for path in (f'{folder}/{name}{ending}', f'gt/{name}.png')]
            assert value == calculate_psnr(*pair, crop_border=4, test_y_channel=True)
        values = evaluation.images[folder]['psnr'].values()
        assert evaluation.mean[folder]['psnr'] == pytest.approx(sum(values) / 3)
    assert evaluation.count == 3
    assert evaluation.best('psnr') == 'weak'
    assert evaluation.best('spectrum') == 'weak'


def test_the_command_prints_a_table_and_writes_every_value(sets):
    code, output = run(sets / 'weak', sets / 'strong', sets / 'gt', '--json', sets / 'out.json')
    assert code == 0
    assert 'psnr ↑' in output
    content = json.loads((sets / 'out.json').read_text())
    assert f'{content["mean"]["weak"]["psnr"]:.4f}' in output
    assert sorted(content['images']['strong']['ssim']) == ['img_1', 'img_10', 'img_1_2']
    assert content['metrics']['psnr'] == {
        'type': 'metaf2n/calculate_psnr_y', 'better': 'higher', 'crop_border': 4,
    }  # fmt: skip


def test_each_value_stands_under_its_metric_whatever_the_order(sets):
    code, output = run(
        sets / 'weak', sets / 'strong', sets / 'gt', '--metrics', 'spectrum,psnr,ssim', '--json', sets / 'out.json'
    )
    assert code == 0
    row = next(line for line in output.splitlines() if 'weak' in line)
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    means = json.loads((sets / 'out.json').read_text())['mean']['weak']
    assert cells == ['weak', *(f'{means[metric]:.4f}' for metric in ('spectrum', 'psnr', 'ssim'))]


def test_what_cannot_be_measured_is_missing_and_not_a_number(sets, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(sets))
    small = cv2.imread(str(sets / 'gt' / 'img_1.png'))[:64, :64]
    for folder in ('a', 'b'):
        (sets / folder).mkdir()
        cv2.imwrite(str(sets / folder / 'x.png'), small)
    code, output = run(sets / 'a', sets / 'b', '--metrics', 'ssim,niqe', '--json', sets / 'out.json')
    assert code == 0
    assert 'missing' in output
    assert json.loads((sets / 'out.json').read_text())['mean']['a'] == {'ssim': pytest.approx(1), 'niqe': None}


def test_metrics_without_weights_end_it_in_one_message_unless_allowed(sets, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(sets))
    monkeypatch.setenv('METAF2N_WEIGHTS', str(sets / 'weights'))
    wanted = ('--metrics', 'psnr,lpips,brisque', '--json', sets / 'out.json')
    with pytest.raises(DataError, match='2 weights files are not on this machine') as error:
        run(sets / 'strong', sets / 'gt', *wanted)
    assert 'the metric lpips' in str(error.value)
    assert 'metaf2n weights fetch lpips_alex brisque' in str(error.value)
    assert '--allow-missing measures without lpips, brisque' in str(error.value)
    assert '\n' not in str(error.value)
    code, output = run(sets / 'strong', sets / 'gt', *wanted, '--allow-missing')
    assert code == 0
    assert len([line for line in output.splitlines() if 'not on this machine' in line]) == 1
    mean = json.loads((sets / 'out.json').read_text())['mean']['strong']
    assert mean['psnr'] > 10
    assert mean['lpips'] is mean['brisque'] is None


def test_a_metric_of_pyiqa_is_named_on_the_command_line(sets):
    import pyiqa
    import torch

    from metaf2n_arch.metrics.measure import as_tensor

    code, output = run(sets / 'strong', '--no-reference', '--metrics', 'entropy', '--json', sets / 'out.json')
    assert code == 0
    assert 'entropy ↑' in output
    assert 'entropy from 0 to 8' in output
    metric = pyiqa.create_metric('entropy', device=torch.device('cpu'))
    values = [float(metric(as_tensor(cv2.imread(str(path))))) for path in sorted((sets / 'strong').iterdir())]
    found = json.loads((sets / 'out.json').read_text())['mean']['strong']['entropy']
    assert found == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_sets_without_truth_have_metrics_without_reference_only(sets):
    code, output = run(sets / 'strong', '--no-reference', '--metrics', 'niqe')
    assert code == 0
    assert 'niqe ↓' in output
    with pytest.raises(OptionError, match='psnr cannot be measured without references'):
        run(sets / 'strong', '--no-reference', '--metrics', 'psnr,niqe')


def test_suffixes_of_names_that_begin_alike_are_told_apart(sets):
    matches = {match.name: match.result.name for match in match_results(sets / 'weak', sets / 'gt')}
    assert matches == {name: f'{name}_mine.png' for name in ('img_1', 'img_1_2', 'img_10')}
    assert common_suffix(['img_1', 'img_1_2'], ['img_1', 'img_1_2']) == ''


def test_a_reference_may_be_cut_to_a_multiple(sets):
    odd = cv2.imread(str(sets / 'gt' / 'img_1.png'))
    cv2.imwrite(str(sets / 'gt' / 'img_1.png'), cv2.copyMakeBorder(odd, 0, 3, 0, 1, cv2.BORDER_REFLECT))
    with pytest.raises(DataError, match='203x201'):
        match_results(sets / 'strong', sets / 'gt')
    assert evaluate([sets / 'strong'], sets / 'gt', metric_entries(['psnr']), mod_crop=4).count == 3


def test_folders_that_do_not_match_are_told_in_one_line(sets):
    metrics = metric_entries(['psnr'])
    (sets / 'empty').mkdir()
    (sets / 'empty' / 'notes.txt').write_text('no image')
    with pytest.raises(DataError, match=r'no image in .*empty, only files such as notes.txt'):
        evaluate([sets / 'empty'], sets / 'gt', metrics)
    with pytest.raises(DataError, match='no folder'):
        evaluate([sets / 'nowhere'], sets / 'gt', metrics)
    with pytest.raises(OptionError, match=r"'psnrr'.*Did you mean 'psnr'"):
        metric_entries(['psnrr'])
    (sets / 'strong' / 'other.png').write_bytes((sets / 'gt' / 'img_1.png').read_bytes())
    with pytest.raises(DataError, match=r'4 images in .* 3 in .*: other is without a reference'):
        evaluate([sets / 'strong'], sets / 'gt', metrics)
    (sets / 'weak' / 'img_10_mine.png').unlink()
    with pytest.raises(DataError, match='img_10 is without a result; expected one result called <name>_mine'):
        evaluate([sets / 'weak'], sets / 'gt', metrics)


def test_low_quality_images_are_not_results(sets):
    for path in (sets / 'strong').iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path))[::4, ::4])
    with pytest.raises(DataError, match=r'img_1.jpg \(50x50, its reference 200x200\)'):
        evaluate([sets / 'strong'], sets / 'gt', metric_entries(['psnr']))


def test_folders_of_one_name_are_called_by_their_parents(sets):
    for program in ('one', 'two'):
        (sets / program).mkdir()
        (sets / 'strong').rename(sets / program / 'out') if program == 'one' else None
    (sets / 'weak').rename(sets / 'two' / 'out')
    evaluation = evaluate([sets / 'one/out', sets / 'two/out'], sets / 'gt', metric_entries(['psnr']))
    assert list(evaluation.mean) == ['one/out', 'two/out']


def test_an_option_file_without_metrics_is_named(sets):
    (sets / 'a.yml').write_text('name: a\n')
    with pytest.raises(OptionError, match=r'a.yml: val.metrics is missing'):
        run(sets / 'strong', sets / 'gt', '--opt', sets / 'a.yml')
    with pytest.raises(OptionError, match='one folder is given'):
        run(sets / 'strong')
    with pytest.raises(OptionError, match='no metric'):
        run(sets / 'strong', sets / 'gt', '--metrics', ',')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\xff\xd8', 'not UTF-8 at byte 0'),
        (b'val: [1]', 'val.metrics is missing'),
        (b'val: {metrics: [psnr]}', 'val.metrics is missing'),
        (b'val: {metrics: {a: 5}}', r'val.metrics.a is 5'),
        (b'val: {metrics: {a: {type: nope}}}', r"val.metrics.a.type is 'nope'"),
        (b'val: {metrics: {a: {type: calculate_psnr}}}', 'val.metrics.a.crop_border: missing'),
        (b'val: {metrics: {a: {type: calculate_psnr, crop_border: 4, crop: 4}}}', 'val.metrics.a.crop: unknown'),
    ],
)
def test_a_wrong_metric_of_an_option_file_is_told_before_anything_is_measured(sets, content, message):
    (sets / 'a.yml').write_bytes(content)
    with pytest.raises(OptionError, match=message):
        run(sets / 'strong', sets / 'gt', '--opt', sets / 'a.yml')


def test_shares_are_joined_to_what_one_process_measures(data_dir, tmp_path):
    truth = data_dir / 'benchmarks' / 'Set5' / 'GT'
    results = tmp_path / 'results'
    results.mkdir()
    for path in truth.iterdir():
        cv2.imwrite(str(results / path.name), cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 1))
    assert run(results, truth, '--json', tmp_path / 'one.json')[0] == 0
    for part in ('2/3', '3/3', '1/3'):
        assert not (tmp_path / 'all.json').exists()
        code, output = run(results, truth, '--json', tmp_path / 'all.json', '--shard', part)
        assert code == 0, output
    one, joined = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('one', 'all'))
    assert (joined['count'], joined['images']) == (one['count'], one['images'])
    for metric, value in one['mean']['results'].items():
        assert joined['mean']['results'][metric] == pytest.approx(value, rel=1e-12)
    with pytest.raises(OptionError, match='needs --json'):
        run(results, truth, '--shard', '1/3')
    with pytest.raises(OptionError, match='whole sets'):
        run(results, truth, '--shard', '1/3', '--metrics', 'fid', '--json', tmp_path / 'x.json')
