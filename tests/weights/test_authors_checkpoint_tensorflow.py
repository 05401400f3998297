"""Conversion of checkpoints that TensorFlow itself has written, against the networks as TensorFlow computes them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from authors_variables import ARCHITECTURE, RECORDED, networks, their_variables
from torch import Tensor
from typer.testing import CliRunner

from metaf2n_arch.archs.mask_net_arch import MaskNet, enlarge
from metaf2n_arch.cli.main import app
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.authors_checkpoint import convert
from metaf2n_arch.weights.files import load_into
from metaf2n_arch.weights.loading import load_generator, load_mask_net
from metaf2n_arch.weights.tensorflow_checkpoint import read_tensors

SUPPORT = {11: (2, 3, 8, 8), 12: (2, 3, 32, 32)}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('tensorflow') is None, reason='needs TensorFlow: pip install ".[tensorflow]"'
)

WRITE = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()
source, target, optimizer = sys.argv[1:]
arrays = np.load(source)
with tf.variable_scope('MODEL'):
    theirs = {n: tf.Variable(name=n[6:], initial_value=arrays[n]) for n in arrays if n.startswith('MODEL/')}
with tf.variable_scope('Mask'):
    for n in arrays:
        if n.startswith('Mask/'):
            theirs[n] = tf.get_variable(n[5:], arrays[n].shape, initializer=tf.constant_initializer(arrays[n]))
with tf.variable_scope('Discriminator'):
    tf.Variable(name='conv0/weight', initial_value=np.ones((3, 3, 3, 4), np.float32))
tf.Variable(3, name='global_step', trainable=False)
if optimizer == 'yes':
    loss = tf.add_n([tf.reduce_sum(tf.square(v)) for v in theirs.values()])
    pairs = [(tf.gradients(loss, v)[0], v) for v in theirs.values()]
    tf.train.AdamOptimizer(1e-4).apply_gradients(pairs)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, target, global_step=7)
"""

INTERPRET = """
import sys
import numpy as np
import tensorflow as tf

source, target = sys.argv[1:]
given = np.load(source)
p = {name: given[name] for name in given}
x, layers = p['x'], {}

def conv(x, name, kernel='weight', act=None):
    y = tf.nn.conv2d(x, p[f'{name}/{kernel}'], [1, 1, 1, 1], padding='SAME') + p[f'{name}/bias']
    layers[name] = y.numpy()
    return act(y) if act else y

leaky = lambda y: tf.nn.leaky_relu(y, 0.2)
head = result = conv(x, 'MODEL/conv_first')
blocks = 1 + max(int(n.split('/')[2]) for n in p if n.startswith('MODEL/body/'))
for i in range(blocks):
    before = result
    for j in (1, 2, 3):
        seen = [result]
        for k in (1, 2, 3, 4):
            seen.append(conv(tf.concat(seen, 3), f'MODEL/body/{i}/rdb{j}/conv{k}', act=leaky))
        result = result + 0.2 * conv(tf.concat(seen, 3), f'MODEL/body/{i}/rdb{j}/conv5')
    result = before + 0.2 * result
result = head + conv(result, 'MODEL/conv_body')
for name in ('conv_up1', 'conv_up2'):
    result = conv(tf.repeat(tf.repeat(result, 2, 1), 2, 2), f'MODEL/{name}', act=leaky)
output = conv(conv(result, 'MODEL/conv_hr', act=leaky), 'MODEL/conv_last')
y = p['y']
up = tf.compat.v1.image.resize_bicubic(x, y.shape[1:3], align_corners=False)
mask = tf.concat([up, y], 3)
for i in range(1, 9):
    mask = conv(mask, f'Mask/conv{i}', 'kernel', tf.nn.relu)
layers = {'layer ' + name: value for name, value in layers.items()}
np.savez(target, output=output.numpy(), mask=mask.numpy(), up=up.numpy(), **layers)
"""


def with_tensorflow(script: str, *arguments: str | Path) -> None:
    """In a process of its own, as the package reads checkpoints: see `utils.tensorflow_checkpoint`."""
    subprocess.run([sys.executable, '-c', script, *map(str, arguments)], check=True, capture_output=True)


def nhwc(image: Tensor) -> np.ndarray:
    return image.permute(0, 2, 3, 1).numpy()


def write(folder: Path, optimizer: bool = True, **sizes: float) -> Path:
    """A checkpoint of the recipe's tensors, with what the authors' Saver writes beside them."""
    np.savez(folder / 'variables.npz', **their_variables(*networks(**sizes)))
    with_tensorflow(WRITE, folder / 'variables.npz', folder / 'model', 'yes' if optimizer else 'no')
    return folder / 'model-7'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp('written'))


def test_the_command_converts_what_tensorflow_wrote(checkpoint, tmp_path):
    done = CliRunner().invoke(
        app,
        [
            'weights',
            'convert',
            str(checkpoint.parent),
            '-o',
            str(tmp_path / 'out'),
            '--architecture',
            '{type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 8, num_block: 2, num_grow_ch: 4}',
        ],
    )
    assert done.exit_code == 0, done.output
    variables = their_variables(*networks())
    # Adam keeps two moments of each tensor, and two powers.
    assert (
        f'{len(variables)} tensors converted; left out {2 * len(variables)} of the optimizer and 4 others'
        in done.output
    )
    for file, net in zip(('net_g.pth', 'net_m.pth'), networks()):
        params = torch.load(tmp_path / 'out' / file, weights_only=True)['params']
        # Adam has not moved them: the initial values were saved.
        assert params.keys() == net.state_dict().keys()
        assert all(torch.equal(params[key], value) for key, value in net.state_dict().items())


def test_every_layer_is_what_tensorflow_computes(checkpoint, tmp_path):
    found = convert(checkpoint, tmp_path, ARCHITECTURE)
    variables, _ = read_tensors(checkpoint, '(MODEL|Mask)/[^A]*$')
    x, y = (torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side)) for side in (8, 32))
    np.savez(tmp_path / 'given.npz', x=nhwc(x), y=nhwc(y), **variables)
    with_tensorflow(INTERPRET, tmp_path / 'given.npz', tmp_path / 'theirs.npz')
    theirs = {
        name: torch.from_numpy(array).permute(0, 3, 1, 2) for name, array in np.load(tmp_path / 'theirs.npz').items()
    }

    generator = networks()[0]
    generator.load_state_dict(torch.load(found.generator)['params'])
    mask = load_mask_net(found.mask)
    ours: dict[str, Tensor] = {}
    for scope, net in (('MODEL', generator), ('Mask', mask)):
        for name, module in net.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                place = f'layer {scope}/{name.replace(".", "/")}'
                module.register_forward_hook(lambda m, i, output, place=place: ours.__setitem__(place, output.clone()))
    with torch.no_grad():
        ours |= {'output': generator(x), 'mask': mask(x, y), 'up': enlarge(x, (32, 32), 'authors')}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name] - value).abs().max() <= 1e-5 * value.abs().max(), name
    assert ours['mask'].std() > 0.01
    assert ours['output'].std() > 0.01


@pytest.mark.slow
def test_a_converted_checkpoint_gives_the_numbers_recorded_from_the_authors_program(tmp_path):
    """Their sizes and their made-up tensors, as in the test of the engine; there MaskNet is on the usual grid."""
    found = convert(write(tmp_path, optimizer=False, scale=0.03, **RECORDED), tmp_path / 'out')
    generator, mask = load_generator(found.generator).net, MaskNet().eval()
    load_into(mask, found.mask)
    lq, hq = (torch.rand(size, generator=torch.Generator().manual_seed(seed)) for seed, size in SUPPORT.items())
    with torch.no_grad():
        confidence = mask(lq, hq)
        loss = (confidence * (hq - generator(lq)).abs()).mean()
    assert confidence.mean().item() == pytest.approx(0.99677106, rel=1e-5)
    assert confidence.min().item() == pytest.approx(0.92987937, rel=1e-5)
    assert confidence.max().item() == pytest.approx(1.06145585, rel=1e-5)
    assert loss.item() == pytest.approx(0.49925074, rel=1e-5)
    direct = networks(0.03, **RECORDED)[0]
    with torch.no_grad():
        assert (generator(lq) - direct(lq)).abs().max() <= 1e-5


def test_damaged_files_end_in_one_line(checkpoint, tmp_path):
    damaged = tmp_path / 'model-7.index'
    damaged.write_bytes((checkpoint.with_name('model-7.index')).read_bytes()[:40])
    with pytest.raises(DataError, match='model-7: TensorFlow cannot read it') as caught:
        convert(damaged, tmp_path / 'out', ARCHITECTURE)
    assert '\n' not in str(caught.value)
    damaged.write_bytes((checkpoint.with_name('model-7.index')).read_bytes())
    with pytest.raises(DataError, match='model-7: TensorFlow cannot read it'):
        convert(damaged, tmp_path / 'out', ARCHITECTURE)
    assert not (tmp_path / 'out').exists()
