"""`basicsr.utils.file_client`: in runs of this package `FileClient.get` remembers the file of its bytes, and an LMDB is
checked before it is read.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.data.sources import require_whole
from metaf2n_arch.run import data_files
from metaf2n_arch.utils.checks import DataError


def get(self: Any, filepath: Any, client_key: str = 'default') -> Any:
    """Reads a file as BasicSR does, and remembers the name of the file for error messages.

    Raises:
        DataError: the key is missing in an LMDB.
    """
    content = ORIGINALS['basicsr.utils.file_client.FileClient.get'](self, filepath, client_key)
    name = str(filepath)
    if self.backend == 'lmdb':
        clients = self.client._client
        folder = dict(zip(clients, self.client.db_paths)).get(client_key, client_key)
        name = f'{folder}, key {filepath}'
        if content is None:
            raise DataError(f'{name}: no such key in this LMDB; its meta_info.txt does not belong to it.')
    data_files.remember(content, name)
    return content


def open_lmdb(self: Any, *arguments: Any, **named: Any) -> None:
    """Opens LMDBs as BasicSR does.

    Raises:
        DataError: one of them is cut off; reading it would kill the process (SIGBUS).
    """
    ORIGINALS['basicsr.utils.file_client.LmdbBackend.__init__'](self, *arguments, **named)
    for environment, folder in zip(self._client.values(), self.db_paths):
        require_whole(environment, Path(folder), 'io_backend')


def _names(module: ModuleType) -> bool:
    replace_for_ours(module.FileClient, 'get', get)
    return True


def _lmdb(module: ModuleType) -> bool:
    replace_for_ours(module.LmdbBackend, '__init__', open_lmdb)
    return True


REPAIRS = [
    Repair('names-of-files', 'basicsr.utils.file_client', _names, 'does not name a damaged file'),
    Repair('whole-lmdb', 'basicsr.utils.file_client', _lmdb, 'dies of a bus error if an LMDB is cut off'),
]
