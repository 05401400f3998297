"""Command line of the runner and its option file: read and checked before anything is built or written."""

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
    """Returns the checked options and the command line.

    Args:
        is_train: True for `basicsr.train`, False for `basicsr.test`.

    Raises:
        OptionError: a wrong option, one line for each.
        DataError: a file, folder or weights that are missing.
    """
    args = command_line().parse_args()
    given, args.opt = args.opt, str(find_option_file(args.opt))
    if Path(given) != Path(args.opt):
        print(f'There is no file {given} in this folder; using the shipped {args.opt}.', flush=True)
    opt = _read(args, is_train)
    checks.check_device(opt, args.opt)
    _find_weights(opt, args.opt)
    check_option_file(opt, args.opt)
    names.check_names(opt, args.opt)
    checks.check_files(opt, args.opt)
    return opt, args


def check_alone(file: str, forced: Sequence[str] = (), files: bool = False) -> str:
    """Checks an option file as the runner does before it builds anything, on any machine.

    Args:
        file: an option file, or the name of a shipped one.
        forced: entries of ``--force_yml``.
        files: whether images and weights are checked too.

    Returns:
        The program that the file is for: ``basicsr.train``, or ``basicsr.test`` if it has no block ``train``.

    Raises:
        OptionError: a wrong option, one line for each.
        DataError: with `files`, a file, folder or weights that are missing.
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
    """Reads a file, applies the command line, and checks keys and sizes."""
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
    """Returns the parser of BasicSR's arguments; `torch.distributed.launch` passes `--local-rank` since torch 2.0."""
    parser = argparse.ArgumentParser(prog=osp.basename(sys.argv[0]))
    parser.add_argument('-opt', type=str, required=True, help='Path of the option file (YAML).')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm'],
        default='none',
        help='What starts the processes: none (one process), pytorch (torchrun) or slurm (srun).',
    )
    parser.add_argument('--auto_resume', action='store_true', help='Resume from the newest complete checkpoint.')
    parser.add_argument('--debug', action='store_true', help='Log and save every few iterations, to test a set-up.')
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=int(os.environ.get('LOCAL_RANK', 0)),
        help='Number of the process on this machine; the launcher sets it.',
    )
    parser.add_argument(
        '--force_yml', nargs='+', default=None, help='Replace options, for example train:ema_decay=0.999.'
    )
    return parser


def _settle(opt: dict[str, Any], args: argparse.Namespace, is_train: bool) -> None:
    """Sets the options that follow from the command line and the machine."""
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
    """Raises `DataError` in a test if the weights of a metric are missing, unless `val.allow_missing` is set."""
    lacking, message = without_weights(val.get('metrics') or {})
    if lacking and not val.get('allow_missing', False):
        raise DataError(f'{file}: {message} To test without {", ".join(lacking)}, set val.allow_missing: true.')


def _find_weights(opt: dict[str, Any], file: str) -> None:
    """Replaces names of ``metaf2n weights list`` by their files, for any model.

    Addresses (``https://``, ``s3://``) are left to BasicSR.

    Raises:
        DataError: weights are missing; the message names all of them.
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
