"""`basicsr.utils.file_client`: in runs of ours `FileClient.get` remembers what its bytes are called, and an LMDB is
looked at before it is read.
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
    """Reads a file like the host, and remembers what its bytes are called.

    Raises:
        DataError: an LMDB lacks the key.
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
    """Opens LMDBs like the host; raises `DataError` if one is cut off: reading it would end the process (SIGBUS)."""
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
    Repair('names-of-files', 'basicsr.utils.file_client', _names, 'forgets where bytes came from'),
    Repair('whole-lmdb', 'basicsr.utils.file_client', _lmdb, 'dies of a bus error where an LMDB is cut off'),
]
