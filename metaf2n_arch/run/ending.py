"""Exit of a program: an error that a user can act on is one line on stderr and exit code 2."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from types import TracebackType

from metaf2n_arch.run import folders, rescue
from metaf2n_arch.utils.checks import DataError, OptionError, TrainingDiverged

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_OURS = (errno.EROFS, errno.EACCES)
REMEDY = 'free space or give access there, then start again with --auto_resume.'

# sys.excepthook as it was before `guard`.
_before = {'hook': sys.__excepthook__}


def guard() -> None:
    """Installs a `sys.excepthook` that ends the program with one line and exit code 2 if the user can act on the error.

    These errors are `OptionError`, `DataError`, `TrainingDiverged`, and a disk that is full or cannot be written to.
    Every other exception keeps its traceback; with METAF2N_TRACEBACK=1 these errors keep it too.
    """
    if os.environ.get('METAF2N_TRACEBACK') != '1' and sys.excepthook is not _end:
        _before['hook'] = sys.excepthook
        sys.excepthook = _end


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    rescue.save_before_the_end(error)
    folders.take_back()
    if isinstance(error, OSError) and _is_of_the_disk(error):
        kind, error = DataError, DataError(f'{error.filename or "a file of this run"}: {error.strerror}; {REMEDY}')
    if not isinstance(error, OptionError | DataError | TrainingDiverged):
        _before['hook'](kind, error, traceback)
        return
    rank = os.environ.get('RANK', '0')
    message = one_line(error)
    if rank == '0' or isinstance(error, DataError):
        # With several processes torch replaces sys.stderr by a buffer in its hook, which is lost at the exit below.
        collected = isinstance(sys.stderr, io.StringIO)
        print(f'{kind.__name__}: {message}', file=sys.__stderr__ if collected else sys.stderr, flush=True)
        _tell_log_files(f'{kind.__name__}: {message}')
    raise SystemExit(2)


def _is_of_the_disk(error: OSError) -> bool:
    """Whether the disk is full, or a folder of this run cannot be written to. Other errors are not handled here."""
    mine = isinstance(error.filename, str) and folders.holds(error.filename)
    return error.errno in FULL or (error.errno in NOT_OURS and mine)


def one_line(error: BaseException) -> str:
    """Returns the message without the traceback that a data-loader worker wraps around it.

    >>> one_line(ValueError('Caught X in DataLoader worker process 0.\\nOriginal Traceback ...\\nm.X: a.png: broken'))
    'a.png: broken'
    """
    text = str(error).strip()
    if text.startswith('Caught ') and 'Original Traceback' in text:
        text = text.splitlines()[-1].partition(': ')[2]
    return text


def _tell_log_files(message: str) -> None:
    """Writes to the log file only; the console already shows the message."""
    for handler in logging.getLogger('basicsr').handlers:
        if isinstance(handler, logging.FileHandler) and os.path.exists(handler.baseFilename):
            handler.emit(logging.LogRecord('basicsr', logging.ERROR, '', 0, message, None, None))
