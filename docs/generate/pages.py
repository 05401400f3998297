"""Pages made from the source: the options, the Python API, the benchmarks, and what a project says of itself."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import mkdocs_gen_files

from metaf2n_arch.config.explain import Explained, all_options
from metaf2n_arch.config.schema import option_schema

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'metaf2n_arch'


def api() -> None:
    """One page for each module that has something public, in the order of the floors."""
    nav = mkdocs_gen_files.Nav()
    for file in sorted(PACKAGE.rglob('*.py')):
        parts = file.relative_to(ROOT).with_suffix('').parts
        if parts[-1].startswith('_') or not _is_public(file):
            continue
        page = Path('api', *parts[1:]).with_suffix('.md')
        nav[parts[1:]] = page.relative_to('api').as_posix()
        with mkdocs_gen_files.open(page, 'w') as out:
            out.write(f'# {parts[-1]}\n\n`{".".join(parts)}`\n\n::: {".".join(parts)}\n')
    with mkdocs_gen_files.open('api/NAV.md', 'w') as out:
        out.writelines(['* [How to read this](index.md)\n', *nav.build_literate_nav()])


def _is_public(file: Path) -> bool:
    tree = ast.parse(file.read_text(encoding='utf-8'))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) and not node.name.startswith('_') for node in tree.body)


def copies() -> None:
    """Texts that stand elsewhere in the source, with their links turned to where they are in the site."""
    benchmarks = ROOT / 'tests' / 'benchmarks'
    _copy(benchmarks / 'README.md', 'benchmarks/index.md')
    for file in sorted((benchmarks / 'results').glob('*.md')):
        _copy(file, f'benchmarks/results/{file.name}')
    for name in ('CHANGELOG', 'CONTRIBUTING', 'SECURITY'):
        _copy(ROOT / f'{name}.md', f'project/{name.lower()}.md')
    _copy(ROOT / 'datasets' / 'README.md', 'data.md')
    similarity = PACKAGE / 'functional' / 'self_similarity' / 'README.md'
    _copy(similarity, 'parts/self_similarity_derivation.md')


def _copy(source: Path, target: str) -> None:
    text = source.read_text(encoding='utf-8')
    text = re.sub(r'\]\((?:\.\./)*docs/', lambda _: '](' + '../' * target.count('/'), text)
    text = re.sub(r'\[([^]]+)\]\((?!https?:|#|results/|\.\./)([^)]+)\)', _as_path, text)
    with mkdocs_gen_files.open(target, 'w') as out:
        out.write(text)


def _as_path(match: re.Match[str]) -> str:
    """A link to a file that is no page: its text alone."""
    return match.group(0) if match.group(2).endswith('.md') else match.group(1)


def options() -> None:
    """The reference of the option files: a table for every block and every part, from their JSON schema."""
    tables: dict[str, list[Explained]] = {}
    for option in all_options(option_schema()):
        place = option.place.rpartition('.')[0]
        tables.setdefault(place, []).append(option)
    with mkdocs_gen_files.open('options.md', 'w') as out:
        out.write('# Options\n\nEvery key of an option file; `metaf2n options explain KEY` says the same.\n')
        for place in sorted(tables, key=lambda place: (place.partition(' (')[0].partition('.')[0], place)):
            out.write(f'\n## `{place or "the file itself"}`\n\n| key | values and default | meaning |\n|---|---|---|\n')
            out.writelines(_row(option) for option in tables[place])


def _row(option: Explained) -> str:
    first, meaning = option.lines()
    cells = [f'`{option.key}`', first.removeprefix(option.place).lstrip(': '), meaning.strip()]
    return '| ' + ' | '.join(' '.join(re.sub(r'([|\[\]])', r'\\\1', cell).split()) for cell in cells) + ' |\n'


options()
api()
copies()
