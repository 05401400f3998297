"""Documents: their commands exist, their links lead somewhere, and their worked examples work."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml
from pages import DOCUMENTS, ROOT, blocks, write_titled

from metaf2n_arch.cli.main import app
from metaf2n_arch.config.command_line import check_alone
from metaf2n_arch.utils.resources import option_files
from metaf2n_arch.weights.search import table

COMMANDS = sorted(
    {
        command
        for document in DOCUMENTS
        for block in blocks(document)
        if block.language == 'bash'
        for line in block.commands()
        for command in re.split(r'\s*&&\s*', line)
    }
)
PICTURE = re.compile(r'!\[([^\]]*)\]\(([^)]+)\)')
LINK = re.compile(r'(?<!!)\[[^\]]+\]\(([^)#]+)(?:#[^)]*)?\)')


def named(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize('line', [line for line in COMMANDS if line.startswith('metaf2n ')])
def test_a_command_of_ours_exists_with_its_options(line):
    """Oracle: the command line's own parser, which is what a reader meets."""
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    context = typer.Context(command)
    while hasattr(command, 'commands'):
        assert words, line
        command = command.commands[words.pop(0)]
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition('=')[0] for word in words if re.match(r'--?[a-z]', word)}
    assert given <= names | {'--help'}, line
    if command.name in ('fetch', 'path') and not given:
        assert set(words) - {'NAME'} <= set(table()), line
    command.make_context(command.name, list(words), parent=context, resilient_parsing=True)


@pytest.mark.parametrize('line', [line for line in COMMANDS if re.match(r'([A-Z0-9_]+=\S+ )?python -m ', line)])
def test_a_module_that_is_called_exists_and_so_does_its_option_file(line):
    words = shlex.split(line)
    assert importlib.util.find_spec(words[words.index('-m') + 1]) is not None
    for word in words:
        if word.startswith('options/'):
            assert word.removeprefix('options/') in option_files(), line


@pytest.mark.parametrize('document', DOCUMENTS, ids=named)
def test_every_picture_is_there_is_small_and_has_words(document):
    for words, target in PICTURE.findall(document.read_text(encoding='utf-8')):
        assert len(words.split()) >= 5, f'{target} needs a description in words'
        assert (document.parent / target).stat().st_size < 250_000


@pytest.mark.parametrize('document', [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md'], ids=named)
def test_links_of_what_the_site_does_not_build_lead_somewhere(document):
    for target in LINK.findall(document.read_text(encoding='utf-8')):
        assert '://' in target or (document.parent / target).exists(), target


def test_the_readme_is_short_and_shows_ssl_beside_l1():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) < 150
    for block in blocks(ROOT / 'README.md'):
        if 'SSLLoss' in block.text:
            assert 'l1' in block.text.lower()
            assert 'loss_weight' in block.text
            assert 'window' in block.text


@pytest.mark.parametrize('document', DOCUMENTS, ids=named)
def test_blocks_of_code_can_be_read(document):
    for block in blocks(document):
        if block.language == 'python':
            compile(block.text, named(document), 'exec')
        elif block.language == 'yaml':
            for part in block.text.split('\n\ndegradation:'):  # alternatives of one key
                yaml.safe_load(part)


@pytest.fixture
def my_parts(tmp_path, monkeypatch):
    """The package of the page on extending, importable, and gone afterwards."""
    from basicsr.utils import registry

    write_titled(ROOT / 'docs' / 'extending.md', tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    kinds = [getattr(registry, f'{kind}_REGISTRY') for kind in ('ARCH', 'LOSS', 'DATASET')]
    before = [dict(kind._obj_map) for kind in kinds]
    yield tmp_path
    for kind, known in zip(kinds, before):
        kind._obj_map.clear()
        kind._obj_map.update(known)
    for name in [name for name in sys.modules if name.split('.')[0] in ('my_parts', 'test_my_parts')]:
        del sys.modules[name]


def test_parts_in_a_package_of_ones_own_pass_their_tests(my_parts):
    (my_parts / 'photos').mkdir()
    assert check_alone('with_my_parts.yml', (), False) == 'basicsr.train'  # imports the plug-in
    sys.path.insert(0, str(my_parts / 'tests'))
    try:
        tests = importlib.import_module('test_my_parts')
    finally:
        sys.path.remove(str(my_parts / 'tests'))
    names = [name for name in vars(tests) if name.startswith('test_')]
    assert len(names) == 4
    for name in names:
        test = getattr(tests, name)
        test(my_parts / 'photos') if 'tmp_path' in test.__code__.co_varnames else test()


@pytest.mark.slow
def test_the_tutorial_goes_from_photos_to_a_report(tmp_path):
    """Every command of the page, in its order, with fewer iterations."""
    page = ROOT / 'docs' / 'tutorial.md'
    write_titled(page, tmp_path)
    options = (tmp_path / 'mine.yml').read_text(encoding='utf-8')
    for old, new in {
        'total_iter: 400': 'total_iter: 4',
        'val_freq: 200': 'val_freq: 2',
        'checkpoint_freq: 200': 'checkpoint_freq: 2',
    }.items():
        assert options.count(old) == 1
        options = options.replace(old, new)
    (tmp_path / 'mine.yml').write_text(options, encoding='utf-8')
    lines = [line for block in blocks(page) if block.language == 'bash' for line in block.commands()]
    ran = [line.replace('total_iter=200', 'total_iter=2') for line in lines if 'align PHOTOS' not in line]
    for line in ran:
        command = shlex.split(line)
        if command[0] == 'metaf2n':
            command[:1] = [sys.executable, '-m', 'metaf2n_arch']
        elif command[0] == 'python':
            command[0] = sys.executable
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f'{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
    report = (tmp_path / 'report' / 'report.md').read_text(encoding='utf-8')
    assert 'mine' in report
    assert (tmp_path / 'experiments' / 'mine' / 'models' / 'net_g_4.pth').is_file()
    assert (tmp_path / 'out' / 'hopper.png').is_file()
