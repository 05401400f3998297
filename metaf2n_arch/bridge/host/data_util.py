"""`basicsr.data.data_util`: in runs of this package `paired_paths_from_folder` names the files without a partner."""

from __future__ import annotations

from types import ModuleType

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.run import data_files
from metaf2n_arch.utils.checks import DataError


def paired_paths_from_folder(folders: list[str], keys: list[str], filename_tmpl: str) -> list[dict[str, str]]:
    """Pairs files as BasicSR does.

    Raises:
        DataError: files have no partner; the message names the first one and their number.
    """
    from basicsr.utils import scandir

    lonely = data_files.without_partner(folders, [scandir(folder) for folder in folders], filename_tmpl)
    if lonely:
        more = f' ({len(lonely)} such files)' if len(lonely) > 1 else ''
        raise DataError(f'{lonely[0]}{more}; {keys[0]} and {keys[1]} images must come in pairs: add or remove files.')
    return ORIGINALS['basicsr.data.data_util.paired_paths_from_folder'](folders, keys, filename_tmpl)


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'paired_paths_from_folder', paired_paths_from_folder)
    return True


REPAIRS = [Repair('pairs', 'basicsr.data.data_util', _apply, 'does not name files without a partner')]
