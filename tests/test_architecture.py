"""The house rules that can be checked by reading the source: floors, suffixes, lazy heavy imports."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'metaf2n_arch'
FLOORS = {
    'utils': 0,
    'images': 0,
    'functional': 1,
    'meta': 1,
    'degradation': 1,
    'archs': 2,
    'weights': 2,
    'losses': 2,
    'metrics': 2,
    'faces': 3,
    'data': 3,
    'models': 4,
    'inference': 4,
    'photos': 4,
    'config': 4,
    'run': 5,
    'web': 5,
    'report': 6,
    'doctor': 6,
    'cli': 7,
    'bridge': 7,
}
BESIDE = {('cli', 'bridge'), ('bridge', 'cli'), ('models', 'config')}
"""(floor, another): folders of one floor that the first may not import all the same."""
HOST_IN_RUN = {
    'basicsr',
    'basicsr.utils.check_resume',
    'basicsr.utils.set_random_seed',
    'basicsr.utils.dist_util.get_dist_info',
    'basicsr.utils.registry.DATASET_REGISTRY',
}
"""What `run/` may take of the host: what it offers to all."""
HEAVY = {
    'pyiqa',
    'lpips',
    'gfpgan',
    'facexlib',
    'matplotlib',
    'skimage',
    'numba',
    'triton',
    'spandrel',
    'onnx',
    'onnxruntime',
    'huggingface_hub',
}
FILES = sorted(PACKAGE.rglob('*.py'))


def name_of(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


def imports(file: Path, top_level_only: bool = False) -> Iterator[str]:
    """Full names of what a file imports, those for type checkers alone left out."""
    tree = ast.parse(file.read_text(encoding='utf-8'))
    for branch in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if isinstance(branch.test, ast.Name) and branch.test.id == 'TYPE_CHECKING':
            branch.body = []
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def part_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else ''


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_a_file_imports_lower_floors_only(file: Path):
    part = file.relative_to(PACKAGE).parts[0].removesuffix('.py')
    if part not in FLOORS:
        return
    for module in imports(file):
        if module.startswith('metaf2n_arch.') and part_of(module) in FLOORS:
            other = part_of(module)
            assert FLOORS[other] <= FLOORS[part], f'{name_of(file)} imports {module} from a higher floor'
            assert (part, other) not in BESIDE, f'{name_of(file)} imports {module} from beside it'
            if FLOORS[part] == 1 and other != part:
                assert FLOORS[other] == 0, f'{name_of(file)} imports its sibling {module}'


def module_of(file: Path) -> str:
    return '.'.join(('metaf2n_arch', *file.relative_to(PACKAGE).with_suffix('').parts)).removesuffix('.__init__')


def test_no_circle_of_imports_at_the_top_or_inside_functions():
    """A file of a package counts as such: that it also runs its folder's `__init__.py` makes no circle by itself."""
    known = {module_of(file) for file in FILES}
    graph: dict[str, set[str]] = {}
    for file in FILES:
        # `from metaf2n_arch.a import b` means the module a.b if there is one, else a.
        found = {m if m in known else m.rpartition('.')[0] for m in imports(file) if m.startswith('metaf2n_arch')}
        graph[module_of(file)] = (found & known) - {module_of(file)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(' imports '.join(reversed(error.args[1])))


def test_what_a_run_does_patches_nothing():
    """`bridge/` alone replaces functions of the host, and knows its modules."""
    for file in FILES:
        part = file.relative_to(PACKAGE).parts[0]
        if part != 'bridge':
            assert not [m for m in imports(file) if m.startswith('metaf2n_arch.bridge')], name_of(file)
        if part == 'run':
            host = [m for m in imports(file) if m.split('.')[0] == 'basicsr']
            assert set(host) <= HOST_IN_RUN, f'{name_of(file)} imports {host}'


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_mathematics_has_never_heard_of_basicsr(file: Path):
    part = file.relative_to(PACKAGE).parts[0]
    if FLOORS.get(part) == 1:
        assert not [m for m in imports(file) if m.split('.')[0] in ('basicsr', 'cv2')]


def test_models_know_no_detector_and_no_pairs():
    """The data set or the command hands faces over; only the restorer, part of the training step, is built there."""
    for file in (PACKAGE / 'models').glob('*.py'):
        foreign = [m for m in imports(file) if m.startswith('metaf2n_arch.faces.') and '.restorer' not in m]
        assert not foreign, f'{file.name} imports {foreign}'


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(file: Path):
    heavy = [m for m in imports(file, top_level_only=True) if m.split('.')[0] in HEAVY]
    exempt = file.name == 'gpu.py' or file.name.startswith(('cpu_', 'triton_'))  # kernels: imported when one is run
    assert not heavy or exempt, f'{name_of(file)} imports {heavy} at its top'


@pytest.mark.parametrize('file', FILES, ids=name_of)
def test_files_with_the_hosts_suffix_register_something_and_the_others_do_not(file: Path):
    suffixes = {'archs': '_arch', 'losses': '_loss', 'metrics': '_metric', 'data': '_dataset', 'models': '_model'}
    suffix = suffixes.get(file.parent.name)
    if suffix is not None:
        text = file.read_text(encoding='utf-8')
        assert bool(re.search(r'\bregister\(\w+_REGISTRY\)', text)) == file.stem.endswith(suffix)
        assert '_REGISTRY.register' not in text, 'the host ends with an AssertionError at a name that is taken'


def test_what_is_imported_is_required_by_name():
    """Not left to what another requirement happens to bring along."""
    optional = {
        'av',
        'gradio',
        'ncnn',
        'starlette',  # gradio's own
        'spandrel_extra_arches',
        'tensorflow',
        'triton',
        'onnxruntime',
        'huggingface_hub',
    }  # where they are missing, a line says so
    modules = {module.split('.')[0] for file in FILES for module in imports(file)}
    third_party = modules - sys.stdlib_module_names - optional - {'metaf2n_arch'}
    lines = (PACKAGE.parent / 'requirements.txt').read_text(encoding='utf-8').splitlines()
    required = {line.partition('>')[0].lower() for line in lines}
    distributions = packages_distributions()
    assert not {m for m in third_party if not required & {name.lower() for name in distributions[m]}}


def test_no_file_is_longer_than_500_lines():
    long = {name_of(f): n for f in FILES if (n := len(f.read_text(encoding='utf-8').splitlines())) > 500}
    assert not long


def test_importing_the_package_loads_neither_torch_nor_basicsr():
    code = 'import sys; before = set(sys.modules); import metaf2n_arch; print(*sorted(set(sys.modules) - before))'
    environment = {**os.environ, 'METAF2N_BRIDGE': '0'}  # else the start-up has imported it already
    run = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) <= {'__future__', 'metaf2n_arch'}


def test_ssl_loss_is_exported():
    from metaf2n_arch import SSLLoss
    from metaf2n_arch.losses.ssl_loss import SSLLoss as original  # the registered one

    assert SSLLoss is original
