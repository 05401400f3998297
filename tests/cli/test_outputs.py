"""Every command finds out before its work, not after, that its results cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaf2n_arch.cli.main import main
from metaf2n_arch.images.writing import write_image

sys.path.insert(0, str(Path(__file__).parents[1] / 'report'))
from report_helpers import make_run


@pytest.mark.parametrize(
    'command',
    ['report run -o taken', 'evaluate GT GT --json taken/values.json', 'evaluate GT GT --json GT', 'demo -o taken'],
)
def test_an_output_that_cannot_be_written_is_one_line_before_the_work(
    tmp_path, monkeypatch, capsys, astronaut, command
):
    def work(*arguments, **options):
        raise AssertionError('the work was begun')

    make_run(tmp_path, 'run')
    (tmp_path / 'GT').mkdir()
    write_image(tmp_path / 'GT' / 'a.png', astronaut[:64, :64])
    (tmp_path / 'taken').write_text('a file')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, 'Popen', work)
    monkeypatch.setattr('metaf2n_arch.report.evaluation.evaluate', work)
    monkeypatch.setattr('metaf2n_arch.report.build.loss_curves', work)
    monkeypatch.setattr('sys.argv', ['metaf2n', *command.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    error = capsys.readouterr().err.strip()
    assert caught.value.code == 2
    assert ('taken' if 'taken' in command else 'GT') in error
    assert '\n' not in error
