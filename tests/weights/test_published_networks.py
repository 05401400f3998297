"""Networks from published files: filled under other names, or one line that says all a user needs."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch
from torch import nn

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.published_networks import load_published
from metaf2n_arch.weights.search import table

ENTRY = table()['lpips_alex']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('METAF2N_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    return tmp_path


def test_weights_round_trip_under_new_names(folder) -> None:
    weight = torch.arange(6.0).view(2, 3)
    torch.save({'features.0.weight': weight, 'other': torch.zeros(1)}, folder / ENTRY.file)
    net = nn.Sequential(nn.Linear(3, 2, bias=False))
    load_published(net, 'lpips_alex', lambda name: f'features.{name}')
    assert torch.equal(net[0].weight, weight)


def test_a_file_that_executes_something_is_refused(folder) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(folder / 'executed'),)

    torch.save({'weight': Evil()}, folder / ENTRY.file)
    with pytest.raises(DataError, match='refused, it holds a pickled Python object'):
        load_published(nn.Linear(1, 1), 'lpips_alex')
    assert not (folder / 'executed').exists()


@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'PK\x03\x04 half a zip'])
def test_damaged_files_are_named_with_their_checksum_and_the_command(content, folder) -> None:
    (folder / ENTRY.file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()[:8]
    with pytest.raises(
        DataError, match=rf'7be5be79\.pth: cannot be read.*begins with {digest}, published: sha256 7be5'
    ) as e:
        load_published(nn.Linear(1, 1), 'lpips_alex')
    assert str(e.value).endswith('metaf2n weights fetch lpips_alex')
    assert '\n' not in str(e.value)


def test_weights_of_another_network_are_named(folder) -> None:
    torch.save({'a': torch.zeros(2)}, folder / ENTRY.file)
    with pytest.raises(DataError, match=r'2 missing \(weight, bias\)'):
        load_published(nn.Linear(2, 2), 'lpips_alex')
    torch.save({'weight': torch.zeros(2), 'bias': torch.zeros(2)}, folder / ENTRY.file)
    with pytest.raises(DataError, match=r'weight: \(2,\) in the file, \(2, 2\) in the network'):
        load_published(nn.Linear(2, 2), 'lpips_alex')
    torch.save(torch.zeros(1), folder / ENTRY.file)
    with pytest.raises(DataError, match='holds Tensor, expected a state dict'):
        load_published(nn.Linear(2, 2), 'lpips_alex')


def test_a_path_of_ones_own_that_is_not_there_is_named(folder) -> None:
    with pytest.raises(DataError, match=r'LPIPS \(alex\): .*mine\.pth does not exist; run: metaf2n weights fetch'):
        load_published(nn.Linear(2, 2), 'lpips_alex', path=folder / 'mine.pth', what='LPIPS (alex)')
