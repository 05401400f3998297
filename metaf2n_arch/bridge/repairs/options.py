"""Option files that can execute nothing, whose numbers are numbers, and whose mistakes are one clear line.

Seen with BasicSR 1.4.2: the YAML loader builds any Python object (`!!python/object/apply` runs); `--force_yml` goes
through `exec` and `eval`; `1e-4` is a string; files are opened in the locale's encoding; `--local-rank`, which torch
passes since 2.0, is refused; unknown keys pass in silence; a run with a wrong option creates its folders first.
Instead the file is read by a safe loader of our own and checked before anything is built. May go when the host reads
its options safely and checks them.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from metaf2n_arch.bridge import option_parser
from metaf2n_arch.bridge.option_text import OptionLoader, parse_yaml
from metaf2n_arch.bridge.table import Repair, replace

_Dumper: Any = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)


class OptionDumper(_Dumper):
    """Writes ordered mappings as plain ones."""


OptionDumper.add_representer(OrderedDict, lambda dumper, data: dumper.represent_dict(data.items()))


def ordered_yaml() -> tuple[type, type]:
    """Returns a safe loader and a safe dumper that keep the order of mappings."""
    return OptionLoader, OptionDumper


def copy_opt_file(opt_file: str, experiments_root: str) -> None:
    """Copies the option file to the experiment's folder, with the time and the command in front, in UTF-8."""
    from basicsr.utils.dist_util import get_dist_info

    if get_dist_info()[0] != 0:
        return
    text = Path(opt_file).read_text(encoding='utf-8-sig')
    head = f'# GENERATE TIME: {time.asctime()}\n# CMD:\n# {" ".join(sys.argv)}\n\n'
    (Path(experiments_root) / Path(opt_file).name).write_text(head + text, encoding='utf-8')


def _apply(module: ModuleType) -> bool:
    replace(module, 'ordered_yaml', ordered_yaml)
    replace(module, '_postprocess_yml_value', lambda value: parse_yaml(value, 'value'))
    replace(module, 'parse_options', option_parser.parse_options)
    replace(module, 'copy_opt_file', copy_opt_file)
    return True


REPAIRS = [Repair('safe options', 'basicsr.utils.options', _apply, 'executes YAML tags and --force_yml; 1e-4 is text')]
