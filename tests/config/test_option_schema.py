"""The JSON schema of option files says what the runner says."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from metaf2n_arch.config.schema import option_schema
from metaf2n_arch.config.text import read_option_file
from metaf2n_arch.utils.resources import option_file, option_files

SHIPPED = option_file('train_metaf2n.yml').parent / 'options.schema.json'


@pytest.fixture(scope='module')
def validator() -> jsonschema.Draft7Validator:
    schema = option_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def plain(name: str) -> dict[str, Any]:
    return json.loads(json.dumps(read_option_file(option_file(name))))


@pytest.mark.parametrize('name', option_files())
def test_shipped_option_files_are_right_and_name_the_schema(validator, name):
    assert not [error.message for error in validator.iter_errors(plain(name))]
    first = option_file(name).read_text(encoding='utf-8').splitlines()[0]
    assert first == '# yaml-language-server: $schema=options.schema.json'


@pytest.mark.parametrize(
    ('place', 'wrong', 'message'),
    [
        (('train', 'ema_deacy'), 0.9, 'ema_deacy'),
        (('train', 'ema_decay'), 1.5, '1.5'),
        (('train', 'losses', 0, 'loss_wieght'), 1, 'loss_wieght'),
        (('train', 'losses', 0, 'type'), 'L1Los', 'L1Los'),
        (('train', 'augmentations'), [{'type': 'CutMx', 'prob': 0.5}], 'CutMx'),
        (('train', 'augmentations'), [{'type': 'CutMix', 'prob': 0.5, 'alfa': 1}], 'alfa'),
        (('train', 'augmentations'), [{'type': 'CutMix', 'prob': 1.5}], '1.5'),
        (('network_g', 'num_blok'), 3, 'num_blok'),
        (('datasets', 'train', 'use_hfilp'), True, 'use_hfilp'),
        (('datasets', 'train', 'io_backend', 'type'), 'disc', 'disc'),
        (('path', 'pretrain_netwrok_g'), 'x', 'pretrain_netwrok_g'),
        (('val', 'metrics', 'psnr', 'crop_bordre'), 4, 'crop_bordre'),
        (('model_type',), 'GANSRModl', 'GANSRModl'),
        (('trian',), {}, 'trian'),
    ],
    ids=lambda value: '.'.join(map(str, value)) if isinstance(value, tuple) else '',
)
def test_an_editor_sees_what_the_runner_refuses(validator, place, wrong, message):
    options = plain('train_esrgan_baseline.yml')
    block = options
    for key in place[:-1]:
        block = block[key]
    block[place[-1]] = wrong
    assert message in ' '.join(error.message for error in validator.iter_errors(options))


def long_names(value: Any) -> Any:
    """The same options with every part of ours called by its long name."""
    from basicsr.utils import registry

    registries = [getattr(registry, f'{kind}_REGISTRY') for kind in ('ARCH', 'LOSS', 'METRIC', 'DATASET', 'MODEL')]
    if isinstance(value, dict):
        return {key: long_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [long_names(item) for item in value]
    known = isinstance(value, str) and any(f'metaf2n/{value}' in r for r in registries)
    return f'metaf2n/{value}' if known else value


def test_long_names_of_parts_are_right_wherever_short_ones_are(validator):
    """And mean the same: what is checked, what weights are needed, how losses are logged."""
    from metaf2n_arch.config.option_file import check_option_file
    from metaf2n_arch.losses.terms import TermOptions
    from metaf2n_arch.weights.needs import needs_of

    short = plain('train_metaf2n_ssl.yml')
    options = long_names(short)
    assert options['model_type'] == 'metaf2n/MetaF2NModel'
    assert not [error.message for error in validator.iter_errors(options)]
    check_option_file(options, 'long.yml')
    assert needs_of(options) == needs_of(short)
    for long, entry in zip(options['train']['losses'], short['train']['losses']):
        assert TermOptions.parse(long, '') == TermOptions.parse(entry, '')
    options['datasets']['train']['gt_sise'] = 3
    options['train']['losses'][0]['loss_wieght'] = 1
    said = ' '.join(error.message for error in validator.iter_errors(options))
    assert 'gt_sise' in said
    assert 'loss_wieght' in said


def test_augmentations_that_the_runner_takes_are_right(validator):
    options = plain('train_esrgan_baseline.yml')
    options['train']['augmentations'] = [
        {'type': 'CutMix', 'prob': 0.5, 'alpha': 0.7},
        {'type': 'CutBlur', 'prob': 0.2},
    ]
    assert not list(validator.iter_errors(options))


def test_stock_models_have_their_own_train_block(validator):
    options = deepcopy(plain('train_esrgan_baseline.yml'))
    options['model_type'] = 'SRModel'
    train = options['train']
    train.pop('losses')
    train['pixel_opt'] = {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'}
    assert not list(validator.iter_errors(options))
    train['pixel_opt']['loss_wieght'] = 1
    assert list(validator.iter_errors(options))


def gist(schema: Any) -> Any:
    """Names, choices, defaults and words: what no version of pydantic phrases in its own way."""
    if isinstance(schema, list):
        return [gist(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = ('description', 'enum', 'const', 'default', 'required')
    own = {key: schema[key] for key in kept if key in schema}
    inner = {key: gist(value) for key, value in schema.items() if isinstance(value, dict) and key not in kept}
    return {**own, **{key: value for key, value in inner.items() if value}}


def test_the_shipped_schema_is_what_the_parts_say_now():
    shipped = json.loads(Path(SHIPPED).read_text(encoding='utf-8'))
    made = json.loads(json.dumps(option_schema()))
    assert gist(shipped) == gist(made), 'write it anew: metaf2n options schema -o options/options.schema.json'


def test_every_option_of_ours_is_explained():
    for name, definition in option_schema()['$defs'].items():
        for key, option in definition.get('properties', {}).items():
            assert option.get('description') or 'const' in option or 'enum' in option, f'{name}.{key}'
