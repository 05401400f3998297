"""`metaf2n report`: the command writes both forms and tells mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.utils.checks import DataError

sys.path.insert(0, str(Path(__file__).parents[1] / 'report'))
from report_helpers import make_run


def test_two_experiments_become_one_report(tmp_path, monkeypatch):
    make_run(tmp_path, 'first')
    make_run(tmp_path, 'second', shift=-1)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ['report', 'first', 'second', '-o', 'out', '--panels', '1'])
    assert result.exit_code == 0, result.output
    assert 'Written: out/report.html' in result.output
    assert '23.00' in (tmp_path / 'out' / 'report.md').read_text(encoding='utf-8')
    assert (tmp_path / 'out' / 'figures' / 'FFHQ_iid_pictures.png').is_file()


def test_an_unknown_experiment_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match='no experiment nothing'):
        CliRunner().invoke(app, ['report', 'nothing'], catch_exceptions=False)
