"""A checkpoint set knows when one of its files is not what was saved, at whatever moment the writing stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from metaf2n_arch.run import saving
from metaf2n_arch.run.checkpoint_sets import SetFolders, SetWriter, check_archive, check_set, prune
from metaf2n_arch.run.manifests import LATEST, read_manifest
from metaf2n_arch.run.saving import Saver, Serialised, stage_content
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.staging import sha256_of, stage, sweep

MADE_WITH = {'options': {'manual_seed': 7}}
NETWORKS = ('g', 'd')


def names(iteration: int) -> list[str]:
    return [f'net_{label}_{iteration}.pth' for label in NETWORKS]


def contents(iteration: int) -> dict[str, object]:
    """Networks of that iteration and the state that belongs to them."""
    generator = torch.Generator().manual_seed(iteration)
    weights = {label: {'params': {'w': torch.randn(8, 3, 3, 3, generator=generator)}} for label in NETWORKS}
    return {**weights, 'state': {'epoch': 0, 'iter': iteration, 'moments': torch.randn(400, generator=generator)}}


def save(folders: SetFolders, iteration: int, writer: SetWriter | None = None) -> None:
    writer = writer or SetWriter(folders)
    made = contents(iteration)
    for label in NETWORKS:
        writer.publish_network(
            iteration, stage_content(made[label], folders.models / f'net_{label}_{iteration}.pth', print)
        )
    writer.commit(iteration, 0, MADE_WITH, stage_content(made['state'], folders.states / f'{iteration}.state', print))


@pytest.fixture
def folders(tmp_path) -> SetFolders:
    folders = SetFolders(tmp_path / 'models', tmp_path / 'training_states')
    save(folders, 4)
    save(folders, 8)
    return folders


def files(folders: SetFolders, iteration: int) -> list[Path]:
    return [
        *(folders.models / name for name in names(iteration)),
        folders.states / f'{iteration}.state',
        folders.manifests / f'{iteration}.json',
    ]


def test_a_set_is_what_was_saved_and_says_what_it_was_made_with(folders):
    manifest = check_set(folders, 8, names(8))
    assert manifest is not None
    assert manifest.made_with == MADE_WITH
    for path in files(folders, 8)[:-1]:
        assert manifest.files[f'{path.parent.name}/{path.name}'].sha256 == (sha256_of(path),)
        out = subprocess.run(['sha256sum', path], capture_output=True, text=True, check=True).stdout
        assert out.split()[0] == sha256_of(path)
    assert torch.equal(torch.load(folders.models / 'net_g_8.pth')['params']['w'], contents(8)['g']['params']['w'])


def test_every_flipped_bit_and_every_zeroed_page_is_noticed(folders):
    """600 bits and 120 pages of 512 bytes, drawn from all files of the set; the oracle is that nothing else changed."""
    draw = np.random.default_rng(0)
    paths = files(folders, 8)
    for number in range(720):
        path = paths[number % len(paths)]
        good = path.read_bytes()
        bad = bytearray(good)
        if number < 600:
            bad[draw.integers(len(bad))] ^= 1 << int(draw.integers(8))
        else:
            start = int(draw.integers(max(1, len(bad) - 512)))
            bad[start : start + 512] = bytes(len(bad[start : start + 512]))
        if bad == good:  # a page of zeros before
            continue
        path.write_bytes(bad)
        with pytest.raises(DataError, match=path.name) as error:
            check_set(folders, 8, names(8))
        assert '\n' not in str(error.value)
        path.write_bytes(good)
    assert check_set(folders, 8, names(8)) is not None


@pytest.mark.parametrize('number', range(4))
def test_a_file_of_another_set_is_noticed_and_said(folders, number):
    shutil.copy(files(folders, 4)[number], files(folders, 8)[number])
    other = [
        'but models/net_g_4.pth',
        'but models/net_d_4.pth',
        'but training_states/4.state',
        'manifest of iteration 4',
    ]
    with pytest.raises(DataError, match=other[number]):
        check_set(folders, 8, names(8))
    assert check_set(folders, 4, names(4)) is not None


@pytest.mark.parametrize('number', range(3))
def test_a_missing_file_is_named(folders, number):
    path = files(folders, 8)[number]
    path.unlink()
    with pytest.raises(DataError, match=f'{path.name}: no such file'):
        check_set(folders, 8, names(8))


def test_a_network_that_the_set_does_not_know_is_named(folders):
    with pytest.raises(DataError, match=r'net_m_8\.pth: does not belong to the checkpoint of iteration 8'):
        check_set(folders, 8, [*names(8), 'net_m_8.pth'])


def test_without_a_manifest_the_checksums_inside_the_files_count(folders):
    """Oracle: Python's own zip reader, on bits inside the records."""
    shutil.rmtree(folders.manifests)
    assert check_set(folders, 8, names(8)) is None
    path = folders.models / 'net_d_8.pth'
    with zipfile.ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda item: item.file_size)
    good = path.read_bytes()
    middle = good.index(archive_content(path, record.filename)) + record.file_size // 2
    path.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    assert torch.load(path).keys() == {'params'}, 'torch reads it without a word'
    with pytest.raises(DataError, match=r'net_d_8\.pth: is damaged, the checksum of its record .*data'):
        check_set(folders, 8, names(8))


def archive_content(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def test_a_file_of_old_torch_has_no_checksums_and_passes(tmp_path):
    torch.save({'w': torch.zeros(3)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    check_archive(tmp_path / 'old.pth')


class Killed(BaseException):
    """Stands for a SIGKILL: nothing runs after it."""


@pytest.mark.parametrize('what', ['again the same', 'other weights', 'only the state'])
def test_stopped_at_any_rename_no_two_sets_are_mixed(tmp_path, monkeypatch, what):
    """The set 8 is written over: afterwards it is the old one, the new one, or known not to be whole.

    A run that fell back to 4 and comes to 8 again writes it again; the same if nothing was changed, another if the
    options were. After a validation the state alone is written again, and then no moment may cost the set.
    """
    replace = os.replace
    outcomes = Counter()
    for moment in range(12):
        folders = SetFolders(tmp_path / str(moment) / 'models', tmp_path / str(moment) / 'training_states')
        writer = SetWriter(folders)
        save(folders, 4, writer)
        save(folders, 8, writer)
        renames = 0

        def stop(source, target, at=moment):
            nonlocal renames
            if renames == at:
                raise Killed
            renames += 1
            replace(source, target)

        new = contents(8 if what == 'again the same' else 80)
        old = contents(8)
        done = False
        with monkeypatch.context() as patch:
            patch.setattr(os, 'replace', stop)
            try:
                if what != 'only the state':
                    writer = SetWriter(folders)
                    for label in NETWORKS:
                        writer.publish_network(
                            8, stage_content(new[label], folders.models / f'net_{label}_8.pth', print)
                        )
                writer.commit(8, 0, MADE_WITH, stage_content(new['state'], folders.states / '8.state', print))
                done = True
            except Killed:
                pass
        try:
            check_set(folders, 8, names(8))
        except DataError:
            outcomes['not whole'] += 1
            assert check_set(folders, 4, names(4)) is not None
            continue
        found = {label: torch.load(folders.models / f'net_{label}_8.pth')['params']['w'] for label in NETWORKS}
        moments = torch.load(folders.states / '8.state')['moments']
        expected = [old, {**old, 'state': new['state']}] if what == 'only the state' else [old, new]
        which = [
            i
            for i, made in enumerate(expected)
            if all(torch.equal(found[label], made[label]['params']['w']) for label in NETWORKS)
            and torch.equal(moments, made['state']['moments'])
        ]
        assert which, f'stopped at rename {moment}: a mixture that passes'
        assert not done or 1 in which
        outcomes[which[-1]] += 1
    assert outcomes[1] > 0
    if what != 'other weights':
        assert outcomes['not whole'] == 0, 'what was whole before stays whole'


def test_the_end_of_a_training_has_a_manifest_without_a_state(folders):
    writer = SetWriter(folders)
    writer.publish_network(LATEST, stage_content({'params': {}}, folders.models / 'net_g_latest.pth', print))
    writer.commit(LATEST, 0, MADE_WITH)
    manifest = read_manifest(folders.manifests, LATEST)
    assert manifest is not None
    assert list(manifest.files) == ['models/net_g_latest.pth']
    assert folders.iterations() == [8, 4]


def test_pruning_takes_manifests_with_the_networks(folders):
    save(folders, 12)
    prune(folders, keep=1, newest=12, best=frozenset({4}))
    assert folders.iterations() == [12]
    assert sorted(f.name for f in folders.manifests.iterdir()) == ['12.json', '4.json']
    assert sorted(f.name for f in folders.models.iterdir()) == sorted([*names(12), *names(4)])


def test_the_manifest_is_plain_json(folders):
    content = json.loads((folders.manifests / '8.json').read_text())
    assert content['iteration'] == 8
    assert content['complete'] is True


# staging and saving ---------------------------------------------------------------------------------------------------


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path):
    first, second = (stage(tmp_path / 'a.pth', lambda file, t=text: file.write(t)) for text in (b'first', b'second'))
    assert first.temporary != second.temporary
    second.publish()
    first.publish()
    assert (tmp_path / 'a.pth').read_bytes() == b'first'


def test_what_a_killed_process_left_is_swept(tmp_path):
    stage(tmp_path / 'a.pth', lambda file: file.write(b'x'))
    (tmp_path / '.a.pth.tmp').write_text('of an older version')
    (tmp_path / 'b.pth').write_text('a file')
    sweep(tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ['b.pth']


def test_in_the_background_the_files_are_those_of_the_moment_of_saving(tmp_path):
    weights = torch.zeros(1000)
    saver = Saver(background=True)
    kept = Serialised({'w': weights})
    saver.do(lambda: stage_content(kept, tmp_path / 'a.pth', print).publish())
    weights += 1
    saver.wait()
    assert torch.equal(torch.load(tmp_path / 'a.pth')['w'], torch.zeros(1000))
    stage_content({'w': torch.zeros(1000)}, tmp_path / 'b.pth').publish()
    assert sha256_of(tmp_path / 'a.pth') == sha256_of(tmp_path / 'b.pth'), 'the same file to the bit'


@pytest.mark.parametrize('method', ['do', 'check', 'wait'])
def test_an_error_of_the_thread_arrives_and_nothing_of_its_set_follows(method):
    saver, done = Saver(background=True), []

    def fails():
        raise DataError('the disk is full')

    saver.do(fails)
    saver._pending[-1].exception()  # waits for the thread
    call = {'do': lambda: saver.do(lambda: done.append('more')), 'check': saver.check, 'wait': saver.wait}[method]
    with pytest.raises(DataError, match='the disk is full'):
        call()
    assert done == []
    saver.do(lambda: done.append('the next set'))
    saver.wait()
    assert done == ['the next set']


def test_a_bad_moment_of_the_drive_is_tried_again(tmp_path, monkeypatch):
    failures, said = [OSError(5, 'Input/output error')], []
    save = torch.save

    def fails_once(content, file):
        if failures:
            raise failures.pop()
        save(content, file)

    monkeypatch.setattr(torch, 'save', fails_once)
    monkeypatch.setattr(saving, 'PAUSE', 0)
    stage_content({}, tmp_path / 'a.pth', said.append).publish()
    assert said == [
        f'{tmp_path}/a.pth: could not be written (Input/output error); free space there, then resume. Tries left: 2.'
    ]


def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path):
    """SIGKILL at random moments of a process that saves all the time."""
    code = (
        'import sys, torch\nfrom pathlib import Path\nfrom metaf2n_arch.run.saving import stage_content\n'
        'torch.set_num_threads(1)\nnumber = 0\n'
        'while True:\n    number += 1\n'
        '    stage_content({"w": torch.full((50_000,), float(number))}, Path(sys.argv[1]), print).publish()\n'
        '    print(number, flush=True)\n'
    )
    draw = np.random.default_rng(1)
    process = subprocess.Popen([sys.executable, '-c', code, str(tmp_path / 'a.pth')], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(int(draw.integers(5, 30))):
        last = int(process.stdout.readline())
    process.kill()
    process.wait()
    last = max([last, *map(int, process.stdout.read().split())])
    weights = torch.load(tmp_path / 'a.pth')['w']
    assert float(weights[0]) in (last, last + 1)
    assert bool((weights == weights[0]).all())
