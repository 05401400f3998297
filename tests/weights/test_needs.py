"""What an option file needs: every published file of a run, with the key that asks for it."""

from __future__ import annotations

import pytest
import yaml
from typer.testing import CliRunner

from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.cli.main import app
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights import download
from metaf2n_arch.weights.needs import needs_of
from metaf2n_arch.weights.search import table


def test_the_training_recipe_needs_alexnet_beside_what_it_names(root):
    needs = needs_of(yaml.safe_load((root / 'options' / 'train_metaf2n_ssl.yml').read_text()))
    assert needs.required == {
        'realesrgan_x4plus': 'path.pretrain_network_g',
        'realesrgan_x4plus_netd': 'path.pretrain_network_d',
        'lpips_alex': 'train.losses.1',
        'gpen_bfr_256': 'face.restorer',
    }
    assert needs.optional == {}


def test_every_shipped_option_file_needs_known_weights_or_those_of_a_run_before(root):
    for file in sorted((root / 'options').glob('*.yml')):
        for name in needs_of(yaml.safe_load(file.read_text())).all:
            assert name in table() or name.startswith('experiments/'), file.name


@pytest.mark.parametrize('net', TRUNKS)
def test_a_loss_inside_another_is_found_with_its_trunk(net):
    inner = {'type': 'LPIPSLoss', 'net': net}
    losses = [{'type': 'L1Loss'}, {'type': 'FrequencySeparation', 'band': 'low', 'loss': inner}]
    assert needs_of({'train': {'losses': losses}}).required == {TRUNKS[net].weights: 'train.losses.1.loss'}


def test_metrics_and_what_the_host_fetches_itself_do_not_stop_a_run():
    metrics = {'fid': {'type': 'FID'}, 'lpips': {'type': 'calculate_lpips'}, 'dists': {'type': 'calculate_dists'}}
    needs = needs_of({'train': {'perceptual_opt': {'type': 'PerceptualLoss'}}, 'val': {'metrics': metrics}})
    assert needs.required == {}
    assert set(needs.optional) == {'vgg19', 'inception', 'lpips_alex', 'lpips_vgg', 'dists'}


def test_own_files_need_nothing_published_and_addresses_are_the_hosts():
    path = {'pretrain_network_g': 'https://example.org/g.pth', 'pretrain_network_d': None, 'strict_load_g': True}
    losses = [{'type': 'LPIPSLoss', 'trunk_path': 'mine.pth'}]
    face = {'restorer': {'type': 'gpen', 'size': 256, 'weights': 'mine.pth'}}
    needs = needs_of({'path': path, 'train': {'losses': losses}, 'face': face})
    assert needs.required == {'mine.pth': 'face.restorer'}


@pytest.mark.parametrize('opt', [{'path': 3}, {'train': [1]}, {'val': {'metrics': [[]]}}, {'face': {'restorer': [2]}}])
def test_wrong_blocks_are_for_the_checks_to_tell(opt):
    assert needs_of({'train': None, **opt}).required == {}


def test_fetch_for_a_recipe_fetches_all_it_needs(monkeypatch):
    fetched = []
    monkeypatch.setattr(download, 'fetch', lambda entry: fetched.append(entry.name) or entry.file)
    done = CliRunner().invoke(app, ['weights', 'fetch', 'inception', '--for', 'options/train_metaf2n_ssl.yml'])
    assert done.exit_code == 0, done.output
    assert fetched == ['inception', 'realesrgan_x4plus', 'realesrgan_x4plus_netd', 'lpips_alex', 'gpen_bfr_256']


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (['inceptoin'], DataError, "Did you mean 'inception'"),
        ([], OptionError, 'nothing to fetch'),
        (['--for', 'absent.yml'], OptionError, r'--for absent\.yml: No such file'),
    ],
)
def test_what_cannot_be_fetched_is_one_line(arguments, error, message):
    done = CliRunner().invoke(app, ['weights', 'fetch', *arguments])
    assert isinstance(done.exception, error)
    with pytest.raises(error, match=message):
        raise done.exception
