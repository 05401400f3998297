"""The runner's command line and option file, parsed and checked as the host's own `parse_options` never does."""

from __future__ import annotations

import argparse
import os
import random
import sys
from os import path as osp
from pathlib import Path
from typing import Any

import torch

from metaf2n_arch.bridge import option_checks, runner
from metaf2n_arch.bridge.option_text import find_option_file, force_option, read_option_file
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.download import locate


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Returns the options and the command line, like the host's function of this name, which it replaces.

    Nothing is built or written before everything that can be checked has been checked.

    Args:
        root_path: where the host would put its folders; see `runner.working_root`.
        is_train: whether this is `basicsr.train` or `basicsr.test`.

    Raises:
        OptionError, DataError: one clear line; `runner.guard` makes the program end with just that.
    """
    from metaf2n_arch.bridge.repairs.resume import adopt_program

    runner.guard()
    adopt_program()
    args = command_line().parse_args()
    given, args.opt = args.opt, str(find_option_file(args.opt))
    if Path(given) != Path(args.opt):
        print(f'{given} is not in this folder; using the shipped {args.opt}', flush=True)
    opt: dict[str, Any] = read_option_file(args.opt)
    for entry in args.force_yml or []:
        force_option(opt, entry)
    opt['path'] = opt.get('path') or {}
    option_checks.check_keys(opt, is_train, args.opt)
    _settle(opt, args, is_train)
    option_checks.check_device(opt, args.opt)
    option_checks.check_sizes(opt, args.opt)
    _find_weights(opt['path'], args.opt)
    _check(opt, args.opt)
    _distribute(opt, args)
    _set_paths(opt, runner.working_root(root_path), is_train)
    return opt, args


def command_line() -> argparse.ArgumentParser:
    """The host's arguments; `--local-rank` is what torchrun's predecessor has passed since torch 2.0."""
    parser = argparse.ArgumentParser(prog=osp.basename(sys.argv[0]))
    parser.add_argument('-opt', type=str, required=True, help='Path to option YAML file.')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none', help='job launcher')
    parser.add_argument('--auto_resume', action='store_true')
    parser.add_argument('--debug', action='store_true')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=int(os.environ.get('LOCAL_RANK', 0)))
    parser.add_argument(
        '--force_yml', nargs='+', default=None, help='Overrule options, for example: train:ema_decay=0.999'
    )
    return parser


def _settle(opt: dict[str, Any], args: argparse.Namespace, is_train: bool) -> None:
    """Fills in what the command line and the machine decide."""
    opt['auto_resume'] = args.auto_resume
    opt['is_train'] = is_train
    opt['dist'] = args.launcher != 'none'
    if args.debug and not opt['name'].startswith('debug'):
        opt['name'] = 'debug_' + opt['name']
    if opt['num_gpu'] == 'auto':
        opt['num_gpu'] = torch.cuda.device_count()
    for phase, dataset in opt['datasets'].items():
        dataset['phase'] = phase.split('_')[0]
        if 'scale' in opt:
            dataset['scale'] = opt['scale']
        for key, value in dataset.items():
            if key.startswith('dataroot'):
                dataset[key] = _expand(value)
    for key, value in opt['path'].items():
        if 'resume_state' in key or 'pretrain_network' in key:
            opt['path'][key] = _expand(value)


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(item) for item in value]
    return osp.expanduser(value) if isinstance(value, str) else value


def _find_weights(paths: dict[str, Any], file: str) -> None:
    """Turns names of ``metaf2n weights list`` into the files they stand for, for any model."""
    for key, value in paths.items():
        if key.startswith('pretrain_network') and value is not None:
            try:
                paths[key] = str(locate(value))
            except DataError as error:
                raise DataError(f'{file}: path.{key}: {error}') from None


def _check(opt: dict[str, Any], file: str) -> None:
    from metaf2n_arch.bridge import registration
    from metaf2n_arch.models.option_file import check_option_file

    registration.require_all()
    check_option_file(opt, file)
    option_checks.check_names(opt, file)
    option_checks.check_files(opt, file)


def _distribute(opt: dict[str, Any], args: argparse.Namespace) -> None:
    """Starts the process group, and seeds each process: one seed for all, plus the rank."""
    from basicsr.utils import set_random_seed
    from basicsr.utils.dist_util import get_dist_info, init_dist

    if opt['dist']:
        parameters = dict(opt.get('dist_params') or {}) if args.launcher == 'slurm' else {}
        if opt['num_gpu'] == 0:
            parameters['backend'] = 'gloo'
        init_dist(args.launcher, **parameters)
    else:
        print('Disable distributed.', flush=True)
    opt['rank'], opt['world_size'] = get_dist_info()
    seed = opt.get('manual_seed')
    if seed is None:
        seed = _agreed(random.randint(1, 10000), opt['dist'])
    if not isinstance(seed, int) or seed < 0:
        raise OptionError(f'{args.opt}: manual_seed is {seed!r}, expected a non-negative integer or ~.')
    opt['manual_seed'] = seed
    _seed_data_sets(opt['datasets'], seed)
    set_random_seed(seed + opt['rank'])


def _seed_data_sets(datasets: dict[str, Any], seed: int) -> None:
    """Hands the seed to data sets that draw by it; the host keeps it where they cannot see it."""
    from basicsr.utils.registry import DATASET_REGISTRY

    for block in datasets.values():
        schema = getattr(DATASET_REGISTRY.get(block['type']), 'options_schema', None)
        if schema is not None and 'seed' in schema.model_fields:
            block.setdefault('seed', seed)


def _agreed(seed: int, distributed: bool) -> int:
    """Returns rank 0's seed: the processes must shuffle alike."""
    if not distributed:
        return seed
    box = [seed]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _set_paths(opt: dict[str, Any], root: Path, is_train: bool) -> None:
    """Names the run's folders; `path.experiments_root` and `path.results_root` may move them, as in git master."""
    if not is_train:
        results = osp.join(root, opt['path'].get('results_root') or 'results', opt['name'])
        opt['path'].update(results_root=results, log=results, visualization=osp.join(results, 'visualization'))
        return
    folder = osp.join(root, opt['path'].get('experiments_root') or 'experiments', opt['name'])
    opt['path'].update(experiments_root=folder, log=folder)
    opt['path'].update({key: osp.join(folder, key) for key in ('models', 'training_states', 'visualization')})
    if 'debug' in opt['name']:
        if opt.get('val') is not None:
            opt['val']['val_freq'] = 8
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)
