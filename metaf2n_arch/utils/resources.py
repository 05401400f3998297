"""Option files that are shipped: their paths in an installed package or in a checkout."""

from __future__ import annotations

from pathlib import Path

from metaf2n_arch.utils.checks import OptionError, nearest

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has the option files inside the package; a checkout (or its editable install) has them beside it.
_FOLDER = next(f for f in (_PACKAGE / 'options', _PACKAGE.parent / 'options') if f.is_dir() or f.parent != _PACKAGE)


def shipped_option_file(name: str) -> Path | None:
    """Returns the path of a shipped option file, or `None`; the suffix ``.yml`` may be left out."""
    wanted = name if name.endswith('.yml') else f'{name}.yml'
    return _FOLDER / wanted if (_FOLDER / wanted).is_file() else None


def option_file(name: str) -> Path:
    """Returns the path of a shipped option file, for example ``demo_metaf2n_ssl.yml``.

    Raises:
        OptionError: there is no such file; the message names the nearest one.
    """
    path = shipped_option_file(name)
    if path is None:
        known = option_files()
        raise OptionError(f'{name}: no such shipped option file.{nearest(name, known)} Known: {", ".join(known)}.')
    return path


def option_files() -> list[str]:
    """Returns the names of all shipped option files, relative to their folder."""
    return sorted(file.relative_to(_FOLDER).as_posix() for file in _FOLDER.rglob('*.yml'))
