"""The start-up file: what it costs, where it reaches, and what happens without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaf2n_arch.bridge import registration, table

LINE = Path(registration.__file__).with_name('metaf2n_bridge.pth')


def test_startup_costs_under_five_milliseconds_and_loads_nothing_heavy():
    """The least of several runs: other programs may share the machine."""
    program = 'import sys; assert not {"torch", "basicsr", "typing"} & set(sys.modules), sys.modules.keys()'
    costs = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, '-I', '-X', 'importtime', '-c', f'{LINE.read_text()}\n{program}'],
            capture_output=True,
            text=True,
            check=True,
        )
        line = next(line for line in done.stderr.splitlines() if line.endswith('metaf2n_arch.bridge.startup'))
        costs.append(int(line.split('|')[1]))
    assert min(costs) < 5000, costs


def test_startup_file_is_silent_when_the_package_is_gone(tmp_path):
    (tmp_path / 'metaf2n_bridge.pth').write_text(LINE.read_text())
    # Without site-packages (-S), and with a folder of ours processed as one.
    program = f'import site; site.addsitedir({str(tmp_path)!r}); import sys; print("metaf2n_arch" in sys.modules)'
    done = subprocess.run([sys.executable, '-S', '-I', '-c', program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, 'False\n', '')


def test_without_the_bridge_basicsr_cannot_be_imported_on_a_new_torchvision():
    program = 'import basicsr'
    env = {**os.environ, 'METAF2N_BRIDGE': '0'}
    done = subprocess.run([sys.executable, '-c', program], env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "No module named 'torchvision.transforms.functional_tensor'" in done.stderr


WORKERS = """
import multiprocessing, sys

def known(queue):
    assert 'basicsr' not in sys.modules
    from basicsr.utils.registry import LOSS_REGISTRY
    from basicsr.data.degradations import rgb_to_grayscale
    queue.put('LPIPSLoss' in LOSS_REGISTRY)

if __name__ == '__main__':
    contexts = [multiprocessing.get_context(m) for m in ('spawn', 'forkserver')]
    queues = [c.Queue() for c in contexts]
    processes = [c.Process(target=known, args=(q,)) for c, q in zip(contexts, queues)]
    for p in processes: p.start()
    print([q.get(timeout=300) for q in queues])
"""


def test_parts_are_known_in_spawned_and_forkserver_workers(tmp_path, run):
    (tmp_path / 'program.py').write_text(WORKERS)
    assert run('program.py').stdout == '[True, True]\n'


def test_importing_one_part_first_registers_all(run):
    """A part that is imported before BasicSR starts the host's import, which must not find it half-made."""
    program = (
        'import metaf2n_arch.losses.lpips_loss\n'
        'from basicsr.utils import registry as r\n'
        'from metaf2n_arch.bridge import registration\n'
        'print(registration.failed, all(n in __import__("sys").modules for n in registration.part_names()))\n'
    )
    done = run('-W', 'error::RuntimeWarning', '-c', program)
    assert done.stdout == '{} True\n', done.stderr


def test_every_repair_is_listed_explained_and_reached(original):
    rows = table.REPAIRS
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.why and row.applied is not None for row in rows)
    report = table.report().splitlines()
    assert len(report) == len(rows)
    assert all(line.startswith(('applied', 'not needed')) for line in report), report


def test_a_part_that_cannot_be_imported_is_one_line_and_stops_a_run_of_ours(monkeypatch, capsys):
    monkeypatch.setattr(registration, 'failed', {})
    monkeypatch.setattr(registration, 'part_names', lambda: ['metaf2n_arch.losses.nothing_loss'])
    monkeypatch.setitem(registration._state, 'pending', True)
    registration.register_pending()
    said = capsys.readouterr().err
    assert 'nothing_loss cannot be registered with BasicSR: ModuleNotFoundError' in said
    assert said.count('\n') == 1
    with pytest.raises(ImportError, match=r'nothing_loss cannot be registered'):
        registration.require_all()


def test_repairs_leave_a_mended_host_alone(original):
    """Stand-ins for functions of a later host, without the lines that the repairs are about."""
    from types import SimpleNamespace

    from metaf2n_arch.bridge.host import base_model, dist_util, registry

    def mended(*args):
        """Does what it should."""

    model = type('BaseModel', (), dict.fromkeys(('save_network', 'save_training_state', 'model_to_device'), mended))
    host = SimpleNamespace(BaseModel=model, _init_dist_pytorch=mended, Registry=type('Registry', (), {'get': mended}))
    for apply in (base_model._save, dist_util._start, base_model._wrap, registry._get):
        assert apply(host) is False
    assert model.save_network is mended
    assert host.Registry.get is mended
