"""Check of a whole option file before anything is built: each wrong key gives one line with its key path.

BasicSR ignores unknown keys, so that with ``ema_deacy: 0.999`` a training runs for days without an average. Files with
a ``model_type`` of this package are checked completely. In files of other models that name a part of this package, this
part is checked, and the blocks of BasicSR's models and data sets. In other files, only options that BasicSR's model
ignores and ours read are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any

from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

from metaf2n_arch.config import stock
from metaf2n_arch.config.names import (
    REGISTRIES,
    check_arguments,
    check_part,
    is_ours,
    named_in,
    names_a_part_of_ours,
    without_type,
)
from metaf2n_arch.config.ours_alone import KEYS as OURS_ALONE
from metaf2n_arch.config.ours_alone import STOCK_MODELS, passed_over
from metaf2n_arch.config.shapes import shown_line
from metaf2n_arch.data.augmentations import Augmentations
from metaf2n_arch.losses.terms import TermOptions
from metaf2n_arch.models.learning_rates import parts
from metaf2n_arch.models.model_options import (
    ColorFixOptions,
    FaceOptions,
    GANTrainOptions,
    LoggerOptions,
    MetaOptions,
    PerformanceOptions,
    ValOptions,
)
from metaf2n_arch.models.optimizers import optimizer_class
from metaf2n_arch.utils.checks import DataError, OptionError, nearest
from metaf2n_arch.utils.options import Strict, parse_block
from metaf2n_arch.utils.registries import find, require

Options = Mapping[str, Any]

# Keys that BasicSR adds to the options after reading the file.
_OF_HOST = ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path')
_TOP = ('name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'path', 'train', 'val', 'logger')
_TOP_RARE = ('dist_params', 'find_unused_parameters', 'meta', 'face', 'performance', 'color_fix', 'plugins')
_PATH_PREFIXES = ('pretrain_network_', 'param_key_', 'strict_load_')
_PATH = ('resume_state', 'ignore_resume_networks', 'experiments_root', 'models', 'training_states', 'log')
_PATH_RARE = ('visualization', 'results_root')


def check_option_file(opt: Options, file: str) -> None:
    """Checks the options of a run.

    Args:
        opt: the options.
        file: name of their file, for the messages.

    Raises:
        OptionError: one line per mistake: file, key path, what was expected, the nearest known key.
    """
    mistakes: list[str] = []
    for check in _checks(opt):
        try:
            check()
        except OptionError as error:
            mistakes.extend(shown_line(line) for line in str(error).splitlines())
    if mistakes:
        raise OptionError('\n'.join(f'{file}: {mistake}' for mistake in mistakes))


def _checks(opt: Options) -> Iterable[Callable[[], object]]:
    yield partial(require, MODEL_REGISTRY, opt.get('model_type'), 'model_type')
    if is_ours(MODEL_REGISTRY, opt.get('model_type')):
        yield partial(_known_keys, opt, (*_TOP, *_TOP_RARE, *_OF_HOST), '', prefixes=('network_',))
        yield partial(_known_keys, opt.get('path') or {}, (*_PATH, *_PATH_RARE), 'path', prefixes=_PATH_PREFIXES)
        yield from _blocks(opt)
        for key in [key for key in opt if key.startswith('network_')]:
            yield partial(check_part, ARCH_REGISTRY, opt[key], key, 'network')
        yield from _train_checks(opt.get('train') or {})
        for name, metric in ((opt.get('val') or {}).get('metrics') or {}).items():
            yield partial(check_part, METRIC_REGISTRY, metric, f'val.metrics.{name}', 'metric')
    elif names_a_part_of_ours(opt):
        yield from _stock_checks(opt)
    yield from (partial(_refuse, line) for line in passed_over(opt))
    stock_too = names_a_part_of_ours(opt)
    yield from _schemas(opt)
    for phase, options in (opt.get('datasets') or {}).items():
        yield partial(_check_data_set, options, f'datasets.{phase}', stock_too)


def _stock_checks(opt: Options) -> Iterable[Callable[[], object]]:
    """Checks of a run that trains a model of BasicSR with parts of this package."""
    train = opt.get('train')
    if opt.get('is_train', True) and opt.get('model_type') in STOCK_MODELS and isinstance(train, Mapping):
        own = {key: value for key, value in train.items() if key not in OURS_ALONE['train']}
        yield partial(parse_block, stock.StockTrainOptions, own, 'train')
        yield from _step_checks(train)
        for key in [key for key in train if key.endswith('_opt') and train[key]]:
            yield partial(check_part, LOSS_REGISTRY, train[key], f'train.{key}', 'loss')
    for key in [key for key in opt if key.startswith('network_')]:
        yield partial(check_part, ARCH_REGISTRY, opt[key], key, 'network')


def _schemas(opt: Options) -> Iterable[Callable[[], object]]:
    """Checks of parts with a schema, their attribute ``options_schema``; for a model it maps blocks to schemas."""
    schemas = getattr(find(MODEL_REGISTRY, opt.get('model_type')), 'options_schema', None) or {}
    for where, schema in schemas.items():
        yield partial(parse_block, schema, opt.get(where), where)
    for kind, place, name in named_in(opt):
        schema = getattr(find(REGISTRIES[kind], name), 'options_schema', None)
        if schema is not None and kind in ('network', 'loss', 'metric'):
            where = place.removesuffix('.type')
            yield partial(parse_block, schema, without_type(opt, where), where)


def _blocks(opt: Options) -> Iterable[Callable[[], object]]:
    schemas: dict[str, type[Strict]] = {
        'meta': MetaOptions,
        'face': FaceOptions,
        'val': ValOptions,
        'logger': LoggerOptions,
        'performance': PerformanceOptions,
        'color_fix': ColorFixOptions,
    }
    if opt.get('is_train', True):
        schemas['train'] = GANTrainOptions
    for where, schema in schemas.items():
        yield partial(parse_block, schema, opt.get(where), where)


def _train_checks(train: Options) -> Iterable[Callable[[], object]]:
    for number, entry in enumerate(train.get('losses') or ()):
        yield partial(_check_loss, entry, f'train.losses.{number}')
    if isinstance(train.get('augmentations'), list):
        yield partial(Augmentations, train['augmentations'])
    yield from _step_checks(train)


def _step_checks(train: Options) -> Iterable[Callable[[], object]]:
    """Checks of schedule and optimizers, for models of this package and of BasicSR."""
    if isinstance(train.get('scheduler'), Mapping):
        yield partial(_check_scheduler, train['scheduler'])
    for key in ('optim_g', 'optim_d'):
        if isinstance(train.get(key), Mapping) and 'type' in train[key]:  # a missing type is reported by the schema
            yield partial(_check_optimizer, train[key], f'train.{key}')


def _check_loss(entry: Options, where: str) -> None:
    TermOptions.parse(entry, where)
    check_part(LOSS_REGISTRY, {k: v for k, v in entry.items() if k not in TermOptions.model_fields}, where, 'loss')


def _check_optimizer(options: Options, where: str) -> None:
    check_arguments(optimizer_class(options['type'], f'{where}.type'), options, where, 'optimizer')


def _check_scheduler(options: Options) -> None:
    for kind, own, where in parts(options, 'train.scheduler'):
        check_arguments(kind, own, where, 'scheduler')


def _check_data_set(options: Options, where: str, stock_too: bool) -> None:
    if not isinstance(options, Mapping):
        raise OptionError(f'{where} is {options!r}, expected a mapping of options.')
    part = require(DATASET_REGISTRY, options.get('type'), f'{where}.type')
    schema = getattr(part, 'options_schema', None)
    if schema is None and stock_too and part.__module__.startswith('basicsr.'):
        schema = stock.DATASETS.get(options['type'])
    if schema is not None:
        parse_block(schema, options, where)


def _refuse(line: str) -> None:
    raise OptionError(line)


def _known_keys(options: Options, known: tuple[str, ...], where: str, prefixes: tuple[str, ...] = ()) -> None:
    for key in options:
        if key not in known and not str(key).startswith(prefixes):
            path = f'{where}.{key}' if where else key
            raise OptionError(f'{path}: unknown key.{nearest(key, [*known, *prefixes])}')


def build_data_sets(opt: Options, file: str) -> dict[str, Any]:
    """Builds the data sets of this package, which check their files, before the folder of the experiment is made.

    Returns:
        Phase -> data set.

    Raises:
        DataError: a file or folder does not exist or cannot be used.
        OptionError: an option is wrong, or an epoch has fewer items than a batch.
    """
    built = {}
    for phase, options in (opt.get('datasets') or {}).items():
        if is_ours(DATASET_REGISTRY, options['type']):
            try:
                built[phase] = find(DATASET_REGISTRY, options['type'])(deepcopy(dict(options)))
                _require_a_batch(built[phase], options)
            except (DataError, OptionError) as error:
                message = str(error)
                place = '' if phase in message else f'datasets.{phase}: '
                raise type(error)(f'{file}: {place}{message}') from None
    return built


def _require_a_batch(dataset: Any, options: Options) -> None:
    """Raises `OptionError` if an epoch is shorter than a batch: BasicSR would drop it, and train nothing."""
    visits = len(dataset) * options.get('dataset_enlarge_ratio', 1)
    batch = options.get('batch_size_per_gpu', 1)
    if options.get('phase') == 'train' and visits < batch:
        raise OptionError(
            f'batch_size_per_gpu is {batch}, but an epoch has only {visits:g} items, and incomplete batches are '
            'dropped; lower it, or raise dataset_enlarge_ratio.'
        )
