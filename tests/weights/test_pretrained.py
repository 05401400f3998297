"""Weights that must be on this machine: found, or one line that says all a user needs."""

from __future__ import annotations

import pytest
import torch

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.pretrained import checkpoint_folders, find_weights, read_weights, select_weights


def test_folders_follow_the_environment(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    assert checkpoint_folders() == [tmp_path / 'hub' / 'checkpoints', tmp_path / 'hub' / 'pyiqa']


def test_the_first_folder_that_has_the_file_wins(tmp_path) -> None:
    folders = [tmp_path / 'a', tmp_path / 'b', tmp_path / 'c']
    for folder in folders[1:]:
        folder.mkdir()
        (folder / 'net.pth').touch()
    assert find_weights('net.pth', 'https://example.org/net.pth', folders=folders) == folders[1] / 'net.pth'


def test_a_missing_file_is_one_line_with_name_folders_address_and_checksum(tmp_path) -> None:
    folders = [tmp_path / 'a', tmp_path / 'b']
    with pytest.raises(DataError) as error:
        find_weights('net.pth', 'https://example.org/net.pth', 'abcd1234', folders, what='Judge')
    message = str(error.value)
    for part in ('Judge', 'net.pth', str(folders[0]), str(folders[1]), 'https://example.org/net.pth', 'abcd1234'):
        assert part in message
    assert '\n' not in message


def test_weights_round_trip_under_new_names(tmp_path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    torch.save({'features.0.weight': weight, 'other': torch.zeros(1)}, tmp_path / 'net.pth')
    state = read_weights(tmp_path / 'net.pth')
    chosen = select_weights(state, {'conv': ('features.0.weight', torch.Size([2, 3]))}, tmp_path / 'net.pth')
    assert list(chosen) == ['conv']
    assert torch.equal(chosen['conv'], weight)


def test_a_file_that_executes_something_is_refused(tmp_path) -> None:
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    torch.save({'weight': Evil()}, tmp_path / 'net.pth')
    with pytest.raises(DataError, match='refused, it holds a pickled Python object'):
        read_weights(tmp_path / 'net.pth')
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'PK\x03\x04 half a zip'])
def test_damaged_files_are_named_with_their_checksum(content, tmp_path) -> None:
    import hashlib

    file = tmp_path / 'net.pth'
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:8]
    with pytest.raises(DataError, match=rf'net\.pth: cannot be read.*starts with {digest}, expected abcd1234'):
        read_weights(file, 'abcd1234')


def test_weights_of_another_network_are_named(tmp_path) -> None:
    path = tmp_path / 'net.pth'
    with pytest.raises(DataError, match="holds no tensor 'a'"):
        select_weights({}, {'x': ('a', torch.Size([1]))}, path)
    with pytest.raises(DataError, match=r"'a' has shape \(2,\), expected \(1,\)"):
        select_weights({'a': torch.zeros(2)}, {'x': ('a', torch.Size([1]))}, path)
    torch.save(torch.zeros(1), path)
    with pytest.raises(DataError, match='holds Tensor, expected a state dict'):
        read_weights(path)
