"""JSON schema of whole option files, with which an editor checks and explains a file while it is written.

It is made from the pydantic schemas of the blocks and from the signatures of all registered parts, so that it agrees
with the checks of the runner. ``metaf2n options schema`` writes it; the shipped file is beside the option files.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from metaf2n_arch.config import stock
from metaf2n_arch.config.ours_alone import STOCK_MODELS
from metaf2n_arch.config.signatures import Schema, part_schema
from metaf2n_arch.data.augmentations import KINDS
from metaf2n_arch.losses.terms import TermOptions
from metaf2n_arch.models.model_options import (
    ColorFixOptions,
    FaceOptions,
    GANTrainOptions,
    LoggerOptions,
    MetaOptions,
    PerformanceOptions,
    ValOptions,
)
from metaf2n_arch.utils.registries import find, names, spellings

BLOCKS: dict[str, type[BaseModel]] = {
    'meta': MetaOptions,
    'face': FaceOptions,
    'performance': PerformanceOptions,
    'color_fix': ColorFixOptions,
    'val': ValOptions,
    'logger': LoggerOptions,
}
_BETTER = {'better': {'enum': ['higher', 'lower'], 'description': 'Whether higher or lower values are better.'}}
_PATHS = {
    'pretrain_network_': 'Initial weights: a file, or a name of `metaf2n weights list`; null for random weights.',
    'param_key_': 'Key of the weights in their file, such as params or params_ema; null if the file has no keys.',
    'strict_load_': 'Whether the file must contain exactly the tensors of the network.',
}
_OWN_PATHS = {
    'resume_state': 'Training state to resume from, a file in training_states/; null starts a new training.',
    'ignore_resume_networks': 'Networks that are not loaded from the resumed run.',
    'experiments_root': 'Folder for the folders of trainings; null: experiments/ in the working directory.',
    'results_root': 'Folder for the folders of tests; null: results/ in the working directory.',
}


def option_schema() -> Schema:
    """Returns the JSON schema (draft 7) of an option file; the ``type`` of a part selects the schema of its block."""
    load_parts()
    from basicsr.utils import registry

    definitions = _pydantic_definitions()
    networks = _parts(registry.ARCH_REGISTRY, definitions, 'network')
    terms = definitions['TermOptions']['properties']
    losses = _parts(registry.LOSS_REGISTRY, definitions, 'loss', more=terms)
    bare_losses = _parts(registry.LOSS_REGISTRY, definitions, 'stock_loss')
    metrics = _parts(registry.METRIC_REGISTRY, definitions, 'metric', given=('img', 'img2'), more=_BETTER)
    definitions['GANTrainOptions']['properties']['losses']['items'] = losses
    definitions['GANTrainOptions']['properties']['augmentations']['items'] = _augmentations(definitions)
    for key in ('pixel_opt', 'perceptual_opt', 'ldl_opt', 'gan_opt'):
        block = definitions['StockTrainOptions']['properties'][key]
        block.pop('default', None)
        block['anyOf'] = [bare_losses, {'type': 'null'}]
    definitions['ValOptions']['properties']['metrics']['anyOf'] = [
        {'type': 'object', 'additionalProperties': metrics},
        {'type': 'null'},
    ]
    run = definitions.pop('RunOptions')
    run['properties']['model_type'] = {
        'enum': _spelt(registry.MODEL_REGISTRY, names(registry.MODEL_REGISTRY)),
        'description': run['properties']['model_type']['description'],
    }
    run['properties'].update(
        datasets={
            'description': 'Data sets by phase: train, val, val_2, test_1 and so on.',
            'type': 'object',
            'additionalProperties': _data_sets(registry.DATASET_REGISTRY, definitions),
        },
        path=_path_schema(),
        train={'description': GANTrainOptions.__doc__},
        **{key: _described(_reference(block.__name__), block) for key, block in BLOCKS.items()},
    )
    run['patternProperties'] = {'^network_': {**networks, 'description': 'A network: its type and its arguments.'}}
    run['required'] = ['name', 'model_type', 'num_gpu', 'datasets', 'path']
    run['allOf'] = [_train_of(_ours(registry.MODEL_REGISTRY), 'GANTrainOptions')]
    run['allOf'].append(_train_of(list(STOCK_MODELS), 'StockTrainOptions'))
    head = {'$schema': 'http://json-schema.org/draft-07/schema#', 'title': 'Option file of MetaF2N for BasicSR'}
    schema: Schema = _as_draft_7({**head, **run, '$defs': definitions})
    return schema


def schema_text() -> str:
    """Returns the schema as the text of the shipped file."""
    return json.dumps(option_schema(), indent=1, ensure_ascii=False, sort_keys=True) + '\n'


def load_parts() -> None:
    """Imports all modules that register parts, of BasicSR and of this package."""
    for folder in ('archs', 'losses', 'metrics', 'data', 'models'):
        import_module(f'basicsr.{folder}')
        package = import_module(f'metaf2n_arch.{folder}')
        suffix = {'archs': '_arch', 'losses': '_loss', 'metrics': '_metric', 'data': '_dataset', 'models': '_model'}
        for module in pkgutil.iter_modules(package.__path__):
            if module.name.endswith(suffix[folder]):
                import_module(f'{package.__name__}.{module.name}')


def _pydantic_definitions() -> Schema:
    """Definitions of all pydantic schemas, also of data sets, and of the schemas inside them."""
    from basicsr.utils.registry import DATASET_REGISTRY

    data_sets = [schema for _, part in DATASET_REGISTRY if (schema := getattr(part, 'options_schema', None))]
    blocks = [*BLOCKS.values(), GANTrainOptions, TermOptions, *data_sets, *stock.DATASETS.values()]
    blocks += [*KINDS.values(), stock.StockTrainOptions, stock.RunOptions]
    made = models_json_schema([(block, 'validation') for block in blocks], ref_template='#/$defs/{model}')[1]
    return dict(made['$defs'])


def _parts(
    registry: Any, definitions: Schema, kind: str, given: Iterable[str] = (), more: Schema | None = None
) -> Schema:
    """Adds a definition for each part of a registry; returns the schema of a block that may name any of them."""
    for name in names(registry):
        spelt = spellings(registry, name)
        definitions[f'{kind}.{name}'] = part_schema(find(registry, name), spelt, given, more, kind == 'metric')
    return _by_type(registry, {name: f'{kind}.{name}' for name in names(registry)})


def _data_sets(registry: Any, definitions: Schema) -> Schema:
    described = {}
    for name in names(registry):
        schema = getattr(find(registry, name), 'options_schema', None) or stock.DATASETS.get(name)
        if schema is not None:
            described[name] = schema.__name__
            definitions[schema.__name__]['properties']['type'] = {
                **definitions[schema.__name__]['properties']['type'],
                'enum': _spelt(registry, names(registry)),
            }
    return _by_type(registry, described)


def _augmentations(definitions: Schema) -> Schema:
    for name in KINDS:
        definitions[name]['properties']['type'] = {'enum': [name], 'description': 'Kind of augmentation.'}
    return _by_type(KINDS.items(), {name: name for name in KINDS})


def _by_type(registry: Any, described: dict[str, str]) -> Schema:
    """The schema of a block whose ``type`` decides which other keys it has."""
    conditions = []
    for name, definition in described.items():
        named = {'properties': {'type': {'enum': spellings(registry, name)}}, 'required': ['type']}
        conditions.append({'if': named, 'then': _reference(definition)})
    known = {'type': {'enum': _spelt(registry, names(registry))}}
    return {'type': 'object', 'required': ['type'], 'properties': known, 'allOf': conditions}


def _spelt(registry: Any, known: list[str]) -> list[str]:
    return [spelling for name in known for spelling in spellings(registry, name)]


def _train_of(models: list[str], definition: str) -> Schema:
    return {
        'if': {'properties': {'model_type': {'enum': models}}},
        'then': {'properties': {'train': _reference(definition)}},
    }


def _ours(registry: Any) -> list[str]:
    return _spelt(registry, [n for n in names(registry) if find(registry, n).__module__.startswith('metaf2n_arch.')])


def _path_schema() -> Schema:
    return {
        'description': 'Initial weights, the state to resume from, and folders.',
        'type': ['object', 'null'],
        'properties': {key: {'description': text} for key, text in _OWN_PATHS.items()},
        'patternProperties': {f'^{prefix}': {'description': text} for prefix, text in _PATHS.items()},
        'additionalProperties': False,
    }


def _reference(definition: str) -> Schema:
    return {'$ref': f'#/$defs/{definition}'}


def _described(schema: Schema, block: type[BaseModel]) -> Schema:
    return {**schema, 'description': block.__doc__ or ''}


def _as_draft_7(value: Any) -> Any:
    """Converts pydantic's draft 2020-12 to draft 7, which every editor supports; puts descriptions into one line."""
    if isinstance(value, list):
        return [_as_draft_7(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _as_draft_7(item) for key, item in value.items() if not (key == 'title' and '$defs' not in value)}
    if isinstance(made.get('description'), str):
        made['description'] = ' '.join(made['description'].partition('\n\n')[0].split())
    if 'prefixItems' in made:
        made['items'] = made.pop('prefixItems')
    if '$ref' in made and len(made) > 1:
        made['allOf'] = [{'$ref': made.pop('$ref')}, *made.get('allOf', [])]
    return made
