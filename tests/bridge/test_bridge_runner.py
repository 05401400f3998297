"""`python -m basicsr.train` and `.test` as a user runs them: where they write, how they resume, how they end."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import basicsr
import pytest
import torch

from metaf2n_arch.run import ending, folders
from metaf2n_arch.utils.checks import OptionError, TrainingDiverged


def files(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob('*') if f.is_file()}


def test_train_resume_and_test_stay_in_the_working_folder(tmp_path, tiny, write_options, run):
    beside_the_host = set(Path(basicsr.__file__).parents[1].iterdir())
    write_options(tiny)

    done = run('-m', 'basicsr.train', '-opt', 'tiny.yml')
    assert done.returncode == 0, done.stderr
    assert 'RuntimeWarning' not in done.stderr
    run_folder = tmp_path / 'experiments' / 'tiny'
    assert {'models/net_g_2.pth', 'models/net_g_4.pth', 'models/net_g_latest.pth'} <= files(run_folder)
    assert {'training_states/2.state', 'training_states/4.state'} <= files(run_folder)
    assert 'Grüße' in (run_folder / 'tiny.yml').read_text(encoding='utf-8')
    assert (tmp_path / 'tb_logger' / 'tiny').is_dir()
    assert 'iter:       4' in done.stderr
    assert 'Best: ' in done.stderr
    assert '@ 4 iter' in done.stderr, 'the last validation belongs to the last iteration'

    newest = run_folder / 'training_states' / '4.state'
    newest.write_bytes(newest.read_bytes()[:500])
    done = run('-m', 'basicsr.train', '-opt', 'tiny.yml', '--auto_resume', '--force_yml', 'train:total_iter=6')
    assert done.returncode == 0, done.stderr
    assert '4.state: cannot be read as a checkpoint' in done.stdout
    assert 'Resuming training from epoch: 0, iter: 2.' in done.stderr
    assert 'training_states/6.state' in files(run_folder)
    assert [f.name for f in (tmp_path / 'experiments').iterdir()] == ['tiny'], 'nothing was archived'

    tiny['datasets'] = {'test_1': {**tiny['datasets']['val'], 'phase': 'test'}}
    tiny['path']['pretrain_network_g'] = 'experiments/tiny/models/net_g_6.pth'
    write_options(tiny, 'test.yml')
    done = run('-m', 'basicsr.test', '-opt', 'test.yml')
    assert done.returncode == 0, done.stderr
    assert '# psnr: ' in done.stderr
    assert 'visualization/val/0_tiny.png' in files(tmp_path / 'results' / 'tiny')
    assert set(Path(basicsr.__file__).parents[1].iterdir()) == beside_the_host


def test_a_run_that_never_began_is_one_line_and_leaves_the_run_before_alone(tmp_path, tiny, write_options, run):
    write_options(tiny)
    earlier = tmp_path / 'experiments' / 'tiny' / 'models'
    earlier.mkdir(parents=True)
    (earlier / 'net_g_2.pth').write_bytes(b'earlier')
    for i in range(4):
        (tmp_path / 'pairs' / 'lq' / f'{i}.png').write_text('not an image')
    before = files(tmp_path)

    workers = 'datasets:train:num_worker_per_gpu=1'
    done = run('-m', 'basicsr.train', '-opt', 'tiny.yml', '--force_yml', workers)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f'DataError: {tmp_path}/pairs/lq/')
    assert 'not an image that OpenCV can read (12 bytes)' in last
    assert 'Traceback' not in done.stderr
    assert files(tmp_path) == before


@pytest.fixture
def guarded(monkeypatch):
    monkeypatch.setattr(sys, 'excepthook', sys.__excepthook__)
    monkeypatch.delenv('METAF2N_TRACEBACK', raising=False)
    ending.guard()

    def end(error):
        try:
            raise error
        except type(error) as caught:
            sys.excepthook(type(caught), caught, caught.__traceback__)

    return end


def test_only_errors_that_a_user_can_act_on_end_in_one_line(guarded, capsys, monkeypatch):
    with pytest.raises(SystemExit) as end:
        guarded(OptionError('a.yml: train.x: unknown key.'))
    assert end.value.code == 2
    assert capsys.readouterr().err == 'OptionError: a.yml: train.x: unknown key.\n'

    for error, said in (
        (TrainingDiverged('iteration 3: not finite.'), 'TrainingDiverged: iteration 3: not finite.'),
        (OSError(errno.ENOSPC, 'No space left on device', 'a.png'), 'DataError: a.png: No space left on device; free'),
        (OSError(errno.ENOSPC, 'No space left on device'), 'DataError: a file of this run: No space left'),
    ):
        with pytest.raises(SystemExit):
            guarded(error)
        written = capsys.readouterr().err
        assert written.startswith(said)
        assert written.count('\n') == 1

    for bug in (RuntimeError('a bug'), FileNotFoundError(errno.ENOENT, 'No such file', 'a.png')):
        guarded(bug)
        assert 'Traceback' in capsys.readouterr().err

    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit):
        guarded(OptionError('every process finds the same; one says so'))
    assert capsys.readouterr().err == ''


def test_the_line_is_said_among_several_processes_too(tmp_path, run):
    program = f"""
import torch.distributed as dist
from metaf2n_arch.run import ending, folders
from metaf2n_arch.utils.checks import DataError

ending.guard()
dist.init_process_group('gloo', init_method='file://{tmp_path / 'meeting'}', rank=0, world_size=1)
raise DataError('a.png: broken.')
"""
    done = run('-c', program)
    assert done.returncode == 2
    assert 'DataError: a.png: broken.' in done.stderr.splitlines()
    assert 'Traceback' not in done.stderr


def test_traceback_on_request(monkeypatch):
    monkeypatch.setattr(sys, 'excepthook', sys.__excepthook__)
    monkeypatch.setenv('METAF2N_TRACEBACK', '1')
    ending.guard()
    assert sys.excepthook is sys.__excepthook__


def test_what_a_run_made_is_taken_back_only_before_it_began(tmp_path, capsys):
    old, new = tmp_path / 'experiments' / 'a', tmp_path / 'results' / 'b'
    old.mkdir(parents=True)
    (old / 'earlier.pth').write_text('')
    for folder in (old, new):
        folders.archive_and_make(folder)
        (folder / 'train.log').write_text('')
    assert 'Rename it' in capsys.readouterr().out
    folders.take_back()
    assert files(tmp_path) == {'experiments/a/earlier.pth'}
    assert not new.parent.exists()

    folders.archive_and_make(new)
    (new / 'image.png').write_text('')
    folders.take_back()
    assert files(new) == {'image.png'}, 'a folder with results is never removed'
    folders.archive_and_make(old)
    folders.has_begun()
    folders.take_back()
    assert len(list(old.parent.iterdir())) == 2


def test_two_archives_of_one_second_have_two_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folders.time, 'strftime', lambda form: '20260101_000000')
    for number in range(4):
        folders.archive_and_make(tmp_path / 'a', remember=False)
        (tmp_path / 'a' / 'number').write_text(str(number))
    kept = {f'a_archived_20260101_000000{end}': str(i) for i, end in enumerate(('', '_2', '_3'))}
    assert {f.name: (f / 'number').read_text() for f in tmp_path.iterdir()} == {**kept, 'a': '3'}


@pytest.mark.parametrize('name', ['a\x1b[31mb', 'a\nb', '../b', 'a\\b', '..', ''])
def test_a_name_that_is_no_plain_folder_is_refused(name):
    from metaf2n_arch.config.checks import check_keys

    opt = {'name': name, 'model_type': 'x', 'num_gpu': 0, 'datasets': {}, 'path': {}, 'val': {'save_img': False}}
    with pytest.raises(OptionError, match='expected the name of a folder') as caught:
        check_keys(opt, False, 'a.yml')
    assert str(caught.value).isprintable(), 'nothing of it reaches the terminal'


def test_a_root_chosen_by_a_script_is_kept_and_that_of_the_host_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert folders.working_root(Path(basicsr.__file__).parents[1]) == tmp_path
    assert folders.working_root('/chosen') == Path('/chosen')


def test_the_host_alone_could_not_resume_here(original):
    """Without a GPU its `load_resume_state` stops at the first call of CUDA, before it has looked at the file."""
    if torch.cuda.is_available():
        pytest.skip('shows what happens without a CUDA device')
    with pytest.raises((AssertionError, RuntimeError), match=r'CUDA|NVIDIA'):
        original('basicsr.train.load_resume_state')({'auto_resume': False, 'path': {'resume_state': 'any.state'}})
