"""Each row of docs/compared_models.md is a command: it measures the model that the published file holds."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from published_layouts import PUBLISHED

from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.resources import option_file
from metaf2n_arch.weights.search import table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / 'docs' / 'compared_models.md').read_text(encoding='utf-8')
ROWS = dict(re.findall(r'^\| (\w+) \| `T (.+?)` \|', DOCUMENT, flags=re.MULTILINE))


def file_of(row: str) -> str:
    name = re.search(r'pretrain_network_g=(\S+)', row).group(1)
    return table()[name].file if name in table() else name


def test_the_document_names_every_model_and_every_file():
    assert set(ROWS) == {'EDSR', 'RRDB', 'RankSRGAN', 'ESRGAN'}
    assert all(name in DOCUMENT for name in PUBLISHED)
    assert all(file_of(row) in PUBLISHED for row in ROWS.values())


@pytest.fixture
def benchmarks(tmp_path: Path, data_dir: Path) -> Path:
    """A working folder with a real photograph and its bicubic quarter in the place of each benchmark."""
    for name in ('Set5', 'Set14', 'BSD100', 'Urban100'):
        for ours, theirs in (('GT', 'gt'), ('LRx4', 'lq')):
            folder = tmp_path / 'datasets' / 'benchmarks' / name / ours
            folder.mkdir(parents=True)
            (folder / 'comic.png').symlink_to(data_dir / 'pairs_x4' / theirs / 'comic.png')
    return tmp_path


@pytest.mark.parametrize('model', ROWS)
def test_a_row_builds_the_network_of_the_published_size(model, benchmarks, monkeypatch):
    from basicsr.archs import build_network
    from basicsr.utils.options import parse_options

    argv = ['basicsr', '-opt', str(option_file('test_benchmarks.yml')), '--force_yml', *shlex.split(ROWS[model])]
    argv += ['val:allow_missing=true']  # of metrics, which this is not about
    monkeypatch.chdir(benchmarks)
    monkeypatch.setattr(sys, 'argv', argv)
    monkeypatch.setenv('METAF2N_WEIGHTS', str(benchmarks))
    (benchmarks / file_of(ROWS[model])).touch()
    options, _ = parse_options(str(benchmarks), is_train=False)
    assert options['name'] == model.lower()
    with torch.device('meta'):
        network = build_network(options['network_g'])
    published = PUBLISHED[file_of(ROWS[model])]
    tensors = published.shapes(*published.sizes)
    assert sum(p.numel() for p in network.parameters()) == sum(out * (9 * into + 1) for _, out, into in tensors)
    if model == 'EDSR':  # what no tensor tells
        assert all(options['network_g'].get(k, v) == v for k, v in published.network.items())


def luma(image: np.ndarray) -> np.ndarray:
    """BT.601 of RGB in [0, 255], as MATLAB has it."""
    return 16 + image @ np.array([65.481, 128.553, 24.966]) / 255


@pytest.mark.parametrize(
    'model', ['EDSR', *(pytest.param(name, marks=pytest.mark.slow) for name in ('RRDB', 'RankSRGAN', 'ESRGAN'))]
)
def test_the_runner_measures_what_the_published_file_makes(model, benchmarks, data_dir):
    file = file_of(ROWS[model])
    published = PUBLISHED[file]
    state = published.write(benchmarks / file, 8, 2)
    lq, gt = (read_image(data_dir / 'pairs_x4' / folder / 'comic.png') for folder in ('lq', 'gt'))
    photo = torch.from_numpy(np.ascontiguousarray(lq)).permute(2, 0, 1)[None].float() / 255
    output = published.forward(state, photo).clamp(0, 1)[0].permute(1, 2, 0).numpy()
    inside = slice(4, -4)
    error = luma((output * 255).round()[inside, inside]) - luma(gt[inside, inside].astype(float))
    expected = 10 * np.log10(255**2 / np.mean(error**2))

    forced = [*shlex.split(ROWS[model]), 'network_g:num_feat=8', 'network_g:num_block=2', 'num_gpu=0']
    forced += ['network_g:num_grow_ch=4'] if published.network['type'] == 'RRDBNet' else []
    forced.append('val:metrics={psnr: {type: calculate_psnr_y, crop_border: 4, better: higher}}')
    command = [sys.executable, '-m', 'basicsr.test', '-opt', 'options/test_benchmarks.yml', '--force_yml', *forced]
    environment = {**os.environ, 'METAF2N_WEIGHTS': str(benchmarks)}
    done = subprocess.run(command, cwd=benchmarks, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = [float(value) for value in re.findall(r'# psnr: ([\d.]+)', done.stdout + done.stderr)]
    assert measured == pytest.approx([expected] * 4, abs=2e-3)
