"""`metaf2n demo` stopped by Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

TRAINING = """
import pathlib, signal, sys, time

def save(*_):
    time.sleep(1)
    pathlib.Path('saved').touch()
    sys.exit(130)

signal.signal(signal.SIGINT, save)
pathlib.Path('training').touch()
time.sleep(60)
"""


@pytest.mark.skipif(os.name == 'nt', reason='sends a POSIX signal')
def test_ctrl_c_lets_the_training_save_and_says_that_it_stopped(tmp_path):
    script = tmp_path / 'python'
    script.write_text(f'#!{sys.executable}\n{TRAINING}', encoding='utf-8')
    script.chmod(0o755)
    code = f'import sys; sys.argv = ["metaf2n", "demo"]; sys.executable = {str(script)!r}'
    code += '; from metaf2n_arch.cli.main import main; main()'
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not (tmp_path / 'training').exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.5)  # until the command waits for the training that it has just started
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130, error
    assert error.strip() == 'metaf2n: stopped.'
    assert (tmp_path / 'saved').exists()
