"""`basicsr.utils.file_client`: in runs of ours `FileClient.get` remembers what its bytes are called."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
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


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module.FileClient, 'get', get)
    return True


REPAIRS = [Repair('names-of-files', 'basicsr.utils.file_client', _apply, 'forgets where bytes came from')]
