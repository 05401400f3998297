"""`metaf2n options`: the schema and what an option means."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.config.explain import explain
from metaf2n_arch.utils.checks import OptionError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ['options', *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_schema_is_json(tmp_path):
    assert 'network_' in json.dumps(json.loads(run('schema'))['patternProperties'])
    run('schema', '-o', str(tmp_path / 's.json'))
    assert json.loads((tmp_path / 's.json').read_text(encoding='utf-8'))['$defs']


@pytest.mark.parametrize(
    ('key', 'lines'),
    [
        ('train.ema_decay', ['train.ema_decay: number >= 0 < 1, default 0', 'moving average']),
        ('inner_lr', ['meta.inner_lr: number >= 0 or learned, default 0.01', 'α']),
        ('datasets.val.filename_tmpl', ['datasets.train (PairedImageDataset).filename_tmpl: string, default {}']),
        ('SSLLoss', ['train.losses (SSLLoss).']),
        ('RRDBNet', ['network_g (RRDBNet).num_feat: default 64', 'Channel number of intermediate features']),
        ('gt_size', ['DegradationDataset', 'PairedImageDataset']),
        ('train.total_iter', ['must be given']),
    ],
)
def test_an_option_is_explained(key, lines):
    output = run('explain', key)
    assert all(line in output for line in lines), output


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(OptionError, match=r"ema_deacy: no such option or part. Did you mean 'ema_decay'"):
        explain('ema_deacy')
