"""The authors' checkpoint as our files: names, layout, grid and mistakes. TensorFlow is not needed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_variables import ARCHITECTURE, networks, their_variables
from typer.testing import CliRunner

from metaf2n_arch.cli.main import app
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.authors_checkpoint import convert
from metaf2n_arch.weights.loading import load_generator, load_mask_net
from metaf2n_arch.weights.tensorflow_checkpoint import Tensors

SKIPPED = {
    'MODEL/conv_first/weight/Adam': (3, 3, 3, 8),
    'MODEL/conv_first/weight/Adam_1': (3, 3, 3, 8),
    'Mask/conv1/kernel/Adam': (3, 3, 6, 64),
    'Discriminator/conv0/weight': (3, 3, 3, 64),
    'Discriminator/conv1/u': (1, 128),
    'beta1_power': (),
    'global_step': (),
}


@pytest.fixture
def variables() -> Tensors:
    return {**their_variables(*networks()), **{name: np.ones(shape, np.float32) for name, shape in SKIPPED.items()}}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    (tmp_path / 'model-7.index').write_bytes(b'')
    return tmp_path / 'model-7'


def reader(variables: Tensors) -> Callable[[Path, str], tuple[Tensors, list[str]]]:
    """Reads from memory as TensorFlow would from a file."""

    def read(path: Path, pattern: str) -> tuple[Tensors, list[str]]:
        assert path.name == 'model-7'
        own = {name: array for name, array in variables.items() if re.match(pattern, name)}
        return own, [name for name in variables if name not in own]

    return read


def test_both_networks_come_out_as_they_went_in(variables, checkpoint, tmp_path):
    generator, mask = networks()
    found = convert(checkpoint, tmp_path / 'out', ARCHITECTURE, reader(variables))
    assert (found.tensors, found.moments, found.others) == (len(variables) - len(SKIPPED), 3, 4)
    for path, net in ((found.generator, generator), (found.mask, mask)):
        params = torch.load(path, weights_only=True)['params']
        assert params.keys() == net.state_dict().keys()
        assert all(torch.equal(params[key], value) for key, value in net.state_dict().items())
    assert sorted(f.name for f in found.mask.parent.iterdir()) == ['net_g.pth', 'net_m.pth']


def test_the_mask_networks_file_brings_its_grid_along(variables, checkpoint, tmp_path, astronaut_tensor):
    generator, mask = networks()
    found = convert(checkpoint, tmp_path, ARCHITECTURE, reader(variables))
    x, y = astronaut_tensor[..., :8, :8], astronaut_tensor[..., :32, :32]
    for given in (None, {'type': 'MaskNet'}, {'upsample': 'authors'}):
        loaded = load_mask_net(found.mask, given)
        assert loaded.upsample == 'authors'
        assert torch.equal(loaded(x, y), mask(x, y))
    with pytest.raises(OptionError, match=r"mask_architecture.upsample is 'half_pixel', but .*net_m.pth .*'authors'"):
        load_mask_net(found.mask, {'upsample': 'half_pixel'})
    x = astronaut_tensor[..., 100:120, 200:224]
    assert torch.allclose(load_generator(found.generator, ARCHITECTURE).net(x), generator(x), atol=1e-6)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'MODEL/body/1/rdb3/conv5/bias': None}, r'1 missing \(MODEL/body/1/rdb3/conv5/bias\)'),
        ({'Mask/conv9/kernel': np.ones((3, 3, 64, 1))}, r'1 unknown \(Mask/conv9/kernel\)'),
        ({'MODEL/alpha': np.ones(3)}, r'1 unknown \(MODEL/alpha\)'),
        (
            {'MODEL/conv_first/weight': np.ones((3, 3, 8, 3))},
            r'1 of another shape \(MODEL/conv_first/weight: \(3, 3, 8, 3\), expected \(3, 3, 3, 8\)\)',
        ),
        ({'Mask/conv8/bias': np.array([np.nan], np.float32)}, r'1 not finite \(Mask/conv8/bias\)'),
        ({'Mask/conv8/bias': np.array([3])}, r'1 no floating-point numbers \(Mask/conv8/bias\)'),
    ],
)
def test_what_does_not_fit_is_one_line_and_writes_nothing(variables, checkpoint, tmp_path, change, message):
    changed = {name: array for name, array in {**variables, **change}.items() if array is not None}
    with pytest.raises(DataError, match=message) as caught:
        convert(checkpoint, tmp_path / 'out', ARCHITECTURE, reader(changed))
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'out').exists()


def test_another_program_and_another_size_are_named(variables, checkpoint, tmp_path):
    with pytest.raises(DataError, match=r'no checkpoint of the MetaF2N program: of its 1 variables \(dense/kernel\)'):
        convert(checkpoint, tmp_path / 'out', ARCHITECTURE, reader({'dense/kernel': np.ones((2, 2))}))
    with pytest.raises(DataError, match=r'630 missing .* 93 of another shape|missing .*of another shape'):
        convert(checkpoint, tmp_path / 'out', None, reader(variables))
    with pytest.raises(DataError, match='cannot be made'):
        convert(checkpoint, checkpoint.with_name('model-7.index') / 'out', ARCHITECTURE, reader(variables))


def test_the_command_needs_a_checkpoint_and_tensorflow(checkpoint, tmp_path, monkeypatch):
    absent = CliRunner().invoke(app, ['weights', 'convert', str(tmp_path / 'model-9'), '-o', str(tmp_path)])
    assert isinstance(absent.exception, DataError)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    without = CliRunner().invoke(app, ['weights', 'convert', str(checkpoint), '-o', str(tmp_path)])
    assert isinstance(without.exception, OptionError)
    assert 'run: pip install "tensorflow>=2.16"' in str(without.exception)
