"""Where the shipped files are: option files from an installed package or from a checkout."""

from __future__ import annotations

from pathlib import Path

from metaf2n_arch.utils.checks import OptionError, nearest

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel holds the option files inside the package; a checkout, or an editable install of one, beside it.
_FOLDERS = (_PACKAGE / 'options', _PACKAGE.parent / 'options')


def option_file(name: str) -> Path:
    """Returns the path of a shipped option file, for example ``demo_metaf2n_ssl.yml`` (the suffix may be left out).

    Raises:
        OptionError: there is no such file; the message names the nearest one.
    """
    wanted = name if name.endswith('.yml') else f'{name}.yml'
    for folder in _FOLDERS:
        if (folder / wanted).is_file():
            return folder / wanted
    known = option_files()
    raise OptionError(f'{name}: no such shipped option file.{nearest(wanted, known)} Known: {", ".join(known)}.')


def option_files() -> list[str]:
    """Returns the names of all shipped option files, relative to their folder."""
    return sorted({f.relative_to(folder).as_posix() for folder in _FOLDERS for f in folder.rglob('*.yml')})
