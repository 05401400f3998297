"""Weights files: what is accepted, what is refused and how, and that a failed write leaves the old file."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter

import pytest
import torch
from torch import nn

from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.files import (
    load_into,
    load_state_dict,
    load_strictly,
    read_checkpoint,
    save_atomically,
    with_recorded,
)
from metaf2n_arch.weights.loading import load_generator


def small_net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, 3, 3))


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return small_net().state_dict()


def test_every_container_gives_the_same_state_dict(tmp_path, state):
    from safetensors.torch import save_file

    torch.save(state, tmp_path / 'bare.pth')
    torch.save({'params': state}, tmp_path / 'params.pth')
    torch.save({'params': {}, 'params_ema': state}, tmp_path / 'both.pth')
    torch.save({'params': {f'module.{k}': v for k, v in state.items()}}, tmp_path / 'parallel.pth')
    save_file(state, tmp_path / 'bare.safetensors')
    for file in tmp_path.iterdir():
        assert equal(load_state_dict(file, 'params_ema'), state), file.name
    assert load_state_dict(tmp_path / 'both.pth', 'params') == {}
    assert equal(load_state_dict(tmp_path / 'bare.pth', None), state)


def test_real_generator_loads_although_its_tensors_are_tagged_cuda(data_dir):
    path = data_dir / 'weights' / 'realesr-animevideov3.pth'
    state = load_state_dict(path)
    assert all(v.device.type == 'cpu' for v in state.values())
    with pytest.raises(DataError, match=r'animevideov3\.pth: these are not the weights of the Sequential') as caught:
        load_into(small_net(), path)
    assert 'missing (0.weight, 0.bias, 1.weight, …)' in str(caught.value)
    assert 'unexpected (body.0.weight' in str(caught.value)
    assert '\n' not in str(caught.value)


def test_another_width_is_named_by_its_shapes(tmp_path, state):
    torch.save(state, tmp_path / 'net.pth')
    with pytest.raises(DataError, match=r'0\.weight: \(4, 3, 3, 3\) in the file, \(8, 3, 3, 3\) in the network'):
        load_into(small_net(8), tmp_path / 'net.pth')
    net = small_net()
    load_strictly(net, state, 'net.pth')
    assert equal(net.state_dict(), state)


def test_pickled_objects_are_refused_and_nothing_runs(tmp_path, data_dir):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'params': Evil()}, tmp_path / 'evil.pth')
    for path in (tmp_path / 'evil.pth', data_dir / 'odd' / 'pickle_needs_numpy_objects.pth'):
        with pytest.raises(DataError, match='refused, it holds a pickled Python object') as caught:
            load_state_dict(path)
        assert str(path) in str(caught.value)
    assert not (tmp_path / 'executed').exists()


def test_missing_damaged_and_foreign_files_are_named(tmp_path, state):
    torch.save({'params': state}, tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'page.pth').write_text('<html>404</html>')
    (tmp_path / 'page.safetensors').write_text('<html>404</html>')
    torch.save([1, 2], tmp_path / 'list.pth')
    torch.save({'optimizer': {'state': {0: state}}, 'epoch': 3}, tmp_path / 'other.pth')
    torch.save({'params': {'model': 'later'}}, tmp_path / 'deep.pth')
    for name, message in {
        'absent.pth': 'no such file',
        'cut.pth': 'damaged or another kind of file',
        'page.pth': r'damaged or another kind of file \(not written by torch.save\)',
        'page.safetensors': 'damaged or another kind of file',
        'list.pth': 'holds list, expected a state dict',
        'deep.pth': r'no state dict in it, only params; give the weights file of a network',
        'other.pth': r'no state dict in it, only optimizer, epoch; give the weights file of a network',
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            load_state_dict(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert '\n' not in str(caught.value)


def test_training_states_with_schedules_are_readable(tmp_path):
    content = {'epoch': 1, 'schedulers': [{'milestones': Counter([2, 4]), 'last_epoch': 2}], 'optimizers': []}
    torch.save(content, tmp_path / '2.state')
    assert read_checkpoint(tmp_path / '2.state') == content


def test_a_write_that_dies_half_way_leaves_the_old_file_and_no_other(tmp_path, state, monkeypatch):
    save_atomically(state, tmp_path / 'net.pth')
    before = (tmp_path / 'net.pth').read_bytes()

    def dies(content, file):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', dies)
    with pytest.raises(DataError, match=r'net\.pth: could not be written \(No space left on device\)'):
        save_atomically(state, tmp_path / 'net.pth')
    assert [f.name for f in tmp_path.iterdir()] == ['net.pth']
    assert (tmp_path / 'net.pth').read_bytes() == before


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path):
    """The limit on file size stands for the disk: the first file fits, the second does not."""
    program = (
        'import sys, torch\n'
        'from metaf2n_arch.weights.files import save_atomically\n'
        'save_atomically({"w": torch.zeros(10)}, "net.pth")\n'
        'save_atomically({"w": torch.zeros(100_000)}, "net.pth")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        cwd=tmp_path,
        env={**os.environ, 'METAF2N_BRIDGE': '0'},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert done.returncode == 1
    assert 'DataError: net.pth: could not be written (File too large); free space' in done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ['net.pth']
    assert torch.load(tmp_path / 'net.pth')['w'].numel() == 10


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused_unread(tmp_path, state):
    """What torch.save stores as it is, packed by another program: zeros shrink a thousandfold."""
    torch.save({'w': torch.zeros(25_000_000)}, tmp_path / 'whole.pth')
    with zipfile.ZipFile(tmp_path / 'whole.pth') as whole, zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', 8) as bomb:
        for item in whole.infolist():
            bomb.writestr(item.filename, whole.read(item))
    assert (tmp_path / 'bomb.pth').stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(DataError, match=r'bomb\.pth: refused, 0\.1 MB that unpack to 100 MB') as caught:
        read_checkpoint(tmp_path / 'bomb.pth')
    assert '\n' not in str(caught.value)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert equal(read_checkpoint(tmp_path / 'whole.pth'), {'w': torch.zeros(25_000_000)})


def test_options_that_share_their_parts_are_refused_before_anybody_prints_them(tmp_path):
    """Few bytes in the file, 2**60 items when walked."""
    value = ['authors']
    for _ in range(60):
        value = [value, value]
    torch.save({'params': {}, 'options': {'upsample': value}}, tmp_path / 'm.pth')
    assert (tmp_path / 'm.pth').stat().st_size < 30_000
    with pytest.raises(DataError, match=r'm\.pth: its options: more values than a network needs') as caught:
        with_recorded({'type': 'MaskNet', 'upsample': 'half_pixel'}, tmp_path / 'm.pth', 'network_m')
    assert len(str(caught.value)) < 300


def test_long_values_in_options_are_cut_in_the_message(tmp_path):
    torch.save({'params': {}, 'options': {'upsample': 'x' * 900}}, tmp_path / 'm.pth')
    with pytest.raises(OptionError) as caught:
        with_recorded({'upsample': 'authors'}, tmp_path / 'm.pth', 'network_m')
    assert len(str(caught.value)) < 400


def test_names_from_a_file_are_cut_and_stay_in_one_line(tmp_path):
    torch.save({'a\nb' + 'x' * 100_000: torch.zeros(1), 'c': torch.zeros(1)}, tmp_path / 'net.pth')
    with pytest.raises(DataError) as caught:
        load_into(small_net(), tmp_path / 'net.pth')
    assert '\n' not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_tensor_that_repeats_one_number_builds_no_large_network(tmp_path):
    """A view of one number can have any shape: the network of this shape would fill the memory."""
    huge = torch.zeros(()).expand(200_000, 3, 3, 3)
    torch.save({'conv_first.weight': huge, 'body.0.rdb1.conv1.weight': huge}, tmp_path / 'net.pth')
    with pytest.raises(DataError, match=r'net\.pth: conv_first\.weight repeats what is stored once'):
        load_generator(tmp_path / 'net.pth')
