"""Command line of the runner and the option file it names, read and checked before anything is built or written."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from os import path as osp
from pathlib import Path
from typing import Any

import torch

from metaf2n_arch.config import checks, names
from metaf2n_arch.config.option_file import build_data_sets, check_option_file
from metaf2n_arch.config.plugins import load_plugins
from metaf2n_arch.config.shapes import check_shapes
from metaf2n_arch.config.text import find_option_file, force_option, read_option_file
from metaf2n_arch.models.evaluation import without_weights
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.needs import needs_of
from metaf2n_arch.weights.search import locate, locate_all


def read_options(is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Returns the options and the command line.

    Args:
        is_train: whether this is `basicsr.train` or `basicsr.test`.

    Raises:
        OptionError, DataError: one clear line for each mistake.
    """
    args = command_line().parse_args()
    given, args.opt = args.opt, str(find_option_file(args.opt))
    if Path(given) != Path(args.opt):
        print(f'{given} is not in this folder; using the shipped {args.opt}', flush=True)
    opt = _read(args, is_train)
    checks.check_device(opt, args.opt)
    _find_weights(opt, args.opt)
    check_option_file(opt, args.opt)
    names.check_names(opt, args.opt)
    checks.check_files(opt, args.opt)
    return opt, args


def check_alone(file: str, forced: Sequence[str] = (), files: bool = False) -> str:
    """Checks an option file as the runner would before it builds anything, on any machine.

    Args:
        file: an option file, or a shipped one's name.
        forced: entries of ``--force_yml``.
        files: whether images and weights must be there, too.

    Returns:
        What it is for: ``basicsr.train``, or ``basicsr.test`` where it has no block ``train``.

    Raises:
        OptionError, DataError: one clear line for each mistake.
    """
    args = command_line().parse_args(['-opt', str(find_option_file(file))])
    args.force_yml = list(forced)
    is_train = 'train' in read_option_file(args.opt)
    opt = _read(args, is_train)
    if files:
        _find_weights(opt, args.opt)
    check_option_file(opt, args.opt)
    names.check_names(opt, args.opt)
    if files:
        checks.check_files(opt, args.opt)
        build_data_sets(opt, args.opt)
    return 'basicsr.train' if is_train else 'basicsr.test'


def _read(args: argparse.Namespace, is_train: bool) -> dict[str, Any]:
    """The options of a file with what the command line adds, their keys and sizes checked."""
    opt: dict[str, Any] = read_option_file(args.opt)
    for entry in args.force_yml or []:
        force_option(opt, entry)
    check_shapes(opt, args.opt)
    load_plugins(opt.get('plugins'), args.opt)
    opt['path'] = opt.get('path') or {}
    checks.check_keys(opt, is_train, args.opt)
    _settle(opt, args, is_train)
    checks.check_sizes(opt, args.opt)
    return opt


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


def _require_metrics(val: dict[str, Any], file: str) -> None:
    """A test measures all that it was asked to measure, unless it may go on without."""
    lacking, message = without_weights(val.get('metrics') or {})
    if lacking and not val.get('allow_missing', False):
        raise DataError(f'{file}: {message} val.allow_missing: true tests without {", ".join(lacking)}.')


def _find_weights(opt: dict[str, Any], file: str) -> None:
    """Turns names of ``metaf2n weights list`` into the files they stand for, for any model; names all that is missing.

    Addresses (``https://``, ``s3://``) are the host's to fetch.
    """
    needs = needs_of(opt)
    try:
        locate_all(needs.required, needs.optional)
    except DataError as error:
        raise DataError(f'{file}: {error}') from None
    if not opt['is_train']:
        _require_metrics(opt.get('val') or {}, file)
    paths = opt['path']
    for key, value in paths.items():
        if key.startswith('pretrain_network') and isinstance(value, str) and '://' not in value:
            paths[key] = str(locate(value))
