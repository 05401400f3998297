"""Published networks: loads published weights files, whose tensors may have other names, into networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.files import load_state_dict, load_strictly
from metaf2n_arch.weights.search import checksum, locate, table


def load_published(
    net: nn.Module,
    name: str,
    renamed: Callable[[str], str] = str,
    path: str | Path | None = None,
    what: str | None = None,
) -> None:
    """Loads a published file into `net`; nothing is downloaded.

    Args:
        net: the network; all its tensors must be in the file, which may have others.
        name: a name from ``metaf2n weights list``.
        renamed: name of a tensor in `net` -> its name in the file.
        path: the file; None means the one that `locate` finds.
        what: what needs the file, for messages.

    Raises:
        DataError: the file is missing, damaged or of another network. The message compares its checksum with the
            published one.
    """
    entry = table()[name]
    found = locate(name, what) if path is None else Path(path)
    if not found.is_file():
        raise DataError(f'{what or name}: {found} does not exist; run: metaf2n weights fetch {name}')
    try:
        state = load_state_dict(found, None)
        load_strictly(net, {key: state[renamed(key)] for key in net.state_dict() if renamed(key) in state}, found)
    except DataError as error:
        digest = checksum(found)[: len(entry.sha256 or '12345678')]
        raise DataError(
            f'{error} Its sha256 begins with {digest[:8]}, published: {entry.checksum_in_words}. Delete it, then run: '
            f'metaf2n weights fetch {name}'
        ) from None
