"""Restorer factory: builds a face restorer by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from metaf2n_arch.faces.restorer import RESTORERS, IdentityRestorer, Restorer, RestorerOptions
from metaf2n_arch.utils.checks import require_choice
from metaf2n_arch.utils.options import parse_block


@overload
def build_restorer(opt: None, where: str = 'restorer') -> None: ...


@overload
def build_restorer(opt: Mapping[str, Any] | RestorerOptions | str, where: str = 'restorer') -> Restorer: ...


def build_restorer(opt: Mapping[str, Any] | RestorerOptions | str | None, where: str = 'restorer') -> Restorer | None:
    """Builds a restorer from an option block; reads weights from the disk, downloads nothing.

    Args:
        opt: the block of `RestorerOptions`, or only its `type`; `None` means no restorer.
        where: key path of the block, for messages.

    Raises:
        OptionError: the block has an unknown key or a value that is not allowed, or a package is not installed.
        DataError: the weights are not on this machine; the message says how to get them.

    >>> build_restorer(None) is None
    True
    """
    if opt is None:
        return None
    if isinstance(opt, str):
        require_choice(where, opt, RESTORERS)
        opt = {'type': opt}
    options = opt if isinstance(opt, RestorerOptions) else parse_block(RestorerOptions, opt, where)
    if options.type == 'identity':
        return IdentityRestorer()
    from metaf2n_arch.faces.networks import load_restorer

    return load_restorer(options, where)
