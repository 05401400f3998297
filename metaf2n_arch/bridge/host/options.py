"""`basicsr.utils.options`: repairs of `parse_options` and its helpers.

Seen with BasicSR 1.4.2: the YAML loader builds any Python object (`!!python/object/apply` is executed). `--force_yml`
uses `exec` and `eval`. `1e-4` is a string. Files are opened in the encoding of the locale. `--local-rank`, which torch
passes since 2.0, is an error. Unknown keys are ignored. A run with a wrong option makes its folders first.

`parse_options` decides the kind of run. The file of a run of this package is read by a safe loader, and checked before
anything is built. Any other file is read by BasicSR; options in it that only our models read get a warning.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import OrderedDict
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from metaf2n_arch.bridge import circle, decision, registration
from metaf2n_arch.bridge.host.train import adopt_program
from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace, replace_for_ours
from metaf2n_arch.bridge.voice import described, say
from metaf2n_arch.config.ours_alone import passed_over
from metaf2n_arch.config.text import OptionLoader, parse_yaml
from metaf2n_arch.run import data_sets, ending, folders, processes, record
from metaf2n_arch.run.course import course

_Dumper: Any = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)


class OptionDumper(_Dumper):
    """YAML dumper that writes ordered mappings as plain ones."""


OptionDumper.add_representer(OrderedDict, lambda dumper, data: dumper.represent_dict(data.items()))


def ordered_yaml() -> tuple[type, type]:
    """Returns a safe loader and a safe dumper that keep the order of mappings."""
    return OptionLoader, OptionDumper


def postprocess_yml_value(value: str) -> Any:
    """Parses a value of `--force_yml` in the same way as the option file."""
    return parse_yaml(value, 'value')


def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Decides the kind of run, and returns its options: read by BasicSR, or by `parse_options_of_ours`."""
    adopt_program()
    try:
        decision.decide()
    except Exception as error:
        say(f'this run is treated as one without this package: {described(error)}')
        circle.decide(False, 'its command line or option file could not be understood')
    if circle.is_ours():
        return parse_options_of_ours(root_path, is_train)
    opt, args = ORIGINALS['basicsr.utils.options.parse_options'](root_path, is_train)
    for line in passed_over(opt):
        say(f'{args.opt}: {line}')
    return opt, args


def parse_options_of_ours(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], argparse.Namespace]:
    """Returns the options and the command line of a run of this package, after all checks.

    Nothing is written before the checks.

    Args:
        root_path: folder in which BasicSR would make its folders; see `folders.working_root`.
        is_train: True for `basicsr.train`, False for `basicsr.test`.

    Raises:
        OptionError: a wrong option, one line for each.
        DataError: a file or folder that cannot be used. `ending.guard` ends the program with only these lines.
    """
    from metaf2n_arch.config.command_line import read_options
    from metaf2n_arch.config.option_file import build_data_sets

    ending.guard()
    registration.require_all()
    opt, args = read_options(is_train)
    processes.start(opt, args)
    data_sets.keep(opt['datasets'], build_data_sets(opt, args.opt))
    folders.name_folders(opt, folders.working_root(root_path), is_train)
    course.options = opt
    return opt, args


def copy_opt_file(opt_file: str, experiments_root: str) -> None:
    """Copies the option file in UTF-8 to the experiment's folder, with the command on top, and starts the record."""
    from basicsr.utils.dist_util import get_dist_info

    if get_dist_info()[0] != 0:
        return
    text = Path(opt_file).read_text(encoding='utf-8-sig')
    head = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {" ".join(sys.argv)}\n\n'
    (Path(experiments_root) / Path(opt_file).name).write_text(head + text, encoding='utf-8')
    if course.options is not None:
        record.begin(Path(experiments_root), course.options, course.resumed[1])


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'ordered_yaml', ordered_yaml)
    replace_for_ours(module, '_postprocess_yml_value', postprocess_yml_value)
    replace(module, 'parse_options', wraps(module.parse_options)(parse_options))
    replace_for_ours(module, 'copy_opt_file', copy_opt_file)
    return True


REPAIRS = [Repair('safe-options', 'basicsr.utils.options', _apply, 'executes YAML tags and --force_yml; 1e-4 is text')]
