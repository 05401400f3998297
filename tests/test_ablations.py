"""Each row of docs/ablations.md is a command: it parses, builds, and takes a step of training."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from test_options import provide, weights, workplace  # noqa: F401  # fixtures used by name

from metaf2n_arch.utils.resources import option_file

ROOT = Path(__file__).resolve().parents[1]
FILES = {'B': 'train_esrgan_baseline.yml', 'P': 'train_esrgan_lpips_ragp_fft.yml'}


def rows() -> list[str]:
    text = (ROOT / 'docs' / 'ablations.md').read_text(encoding='utf-8')
    return re.findall(r'^\|[^|]+\| `([BP] .+?)`', text, flags=re.MULTILINE)


def test_the_document_has_a_row_for_each_part():
    text = ' '.join(rows())
    for part in ('LPIPSLoss', 'DISTSLoss', 'RaLS', 'SpectralLoss', 'DCTLoss', 'FocalFrequencyLoss', 'SSDDiscriminator'):
        assert part in text


@pytest.mark.parametrize('row', rows(), ids=lambda row: re.search(r'name=(\w+)', row).group(1))
def test_a_row_builds_and_takes_a_step(row, workplace, weights, monkeypatch, astronaut, astronaut_tensor):  # noqa: F811
    import yaml
    from basicsr.models import build_model
    from basicsr.utils.options import parse_options

    letter, *forced = shlex.split(row)
    file = option_file(FILES[letter])
    provide(yaml.safe_load(file.read_text(encoding='utf-8')), weights, astronaut)
    monkeypatch.setattr(sys, 'argv', ['basicsr', '-opt', str(file), '--force_yml', *forced])
    if 'DISTSLoss' in row:
        pytest.skip('DISTS reads a VGG-16 file of half a gigabyte; the loss has tests of its own')
    options, _ = parse_options(str(workplace), is_train=True)
    options['network_g'].update(num_feat=8, num_block=1, num_grow_ch=4)
    discriminator = options['network_d'].get('discriminator', options['network_d'])
    discriminator['num_feat'] = 4
    torch.manual_seed(0)
    model = build_model(options)
    before = torch.cat([p.detach().flatten() for p in model.net_g.parameters()])
    gt = astronaut_tensor[:, :, 40:168, 160:288].repeat(2, 1, 1, 1)
    model.feed_data({'gt': gt, 'lq': gt[:, :, ::4, ::4]})
    model.optimize_parameters(1)
    after = torch.cat([p.detach().flatten() for p in model.net_g.parameters()])
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)
    assert options['name'] == re.search(r'name=(\w+)', row).group(1)
