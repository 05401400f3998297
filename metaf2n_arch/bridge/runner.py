"""How the stock runner behaves around its work: where it writes, how it ends, what it takes back if it never began."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType, TracebackType

from metaf2n_arch.utils.checks import DataError, OptionError, TrainingDiverged

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
REMEDY = 'free space or give access there, then start again with --auto_resume.'

# Folders this run has made, what was moved away for each, whether its parent is new; emptied once the run has begun.
_made: list[tuple[Path, Path | None, bool]] = []


def working_root(root_path: str | os.PathLike[str]) -> Path:
    """Returns the folder that gets `experiments/`, `results/` and `tb_logger/`.

    The stock scripts pass the folder that holds the package, which is site-packages once it is installed: the working
    directory stands in for that one. A root that a script of somebody else chose on purpose is kept.
    """
    import basicsr

    package_parent = Path(basicsr.__file__).resolve().parents[1]
    return Path.cwd() if Path(root_path).resolve() == package_parent else Path(root_path)


def is_host_script(module: ModuleType | None, name: str) -> bool:
    """Whether `module` is the host's `name` running as a program, by `-m` or by path."""
    file = getattr(module, '__file__', None)
    host = sys.modules.get(name)
    return bool(
        file and host and host is not module and os.path.realpath(file) == os.path.realpath(host.__file__ or '')
    )


def guard() -> None:
    """Makes errors that a user can act on end the program with one line on stderr and exit code 2.

    These are `OptionError`, `DataError`, `TrainingDiverged`, and a disk that is full or not to be written to.

    METAF2N_TRACEBACK=1 shows the traceback as ever. Every other exception keeps its traceback.
    """
    if os.environ.get('METAF2N_TRACEBACK') != '1':
        sys.excepthook = _end


def _end(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    take_back()
    if isinstance(error, OSError) and error.errno in DISK:
        kind, error = DataError, DataError(f'{error.filename or "a file of this run"}: {error.strerror}; {REMEDY}')
    if not isinstance(error, OptionError | DataError | TrainingDiverged):
        sys.__excepthook__(kind, error, traceback)
        return
    rank = os.environ.get('RANK', '0')
    message = one_line(error)
    if rank == '0' or isinstance(error, DataError):
        # In several processes torch wraps this hook and collects what it writes, to lose it when the program ends here.
        collected = isinstance(sys.stderr, io.StringIO)
        print(f'{kind.__name__}: {message}', file=sys.__stderr__ if collected else sys.stderr, flush=True)
        _tell_log_files(f'{kind.__name__}: {message}')
    raise SystemExit(2)


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
    """Writes to the run's log file alone; the console has it already."""
    for handler in logging.getLogger('basicsr').handlers:
        if isinstance(handler, logging.FileHandler) and os.path.exists(handler.baseFilename):
            handler.emit(logging.LogRecord('basicsr', logging.ERROR, '', 0, message, None, None))


def archive_and_make(folder: str | os.PathLike[str]) -> None:
    """Makes `folder`, after moving one of that name away, and remembers both until the run has begun."""
    folder = Path(folder)
    archived = None
    if folder.exists():
        archived = folder.with_name(f'{folder.name}_archived_{time.strftime("%Y%m%d_%H%M%S")}')
        print(f'Path already exists. Rename it to {archived}', flush=True)
        folder.rename(archived)
    first_of_parent = not folder.parent.exists()
    folder.mkdir(parents=True)
    _made.append((folder, archived, first_of_parent))


def has_begun() -> None:
    """Notes that training or testing has begun: what it leaves is worth keeping."""
    _made.clear()


def take_back() -> None:
    """Removes what a run that failed before its first iteration has made, and puts back what it moved away."""
    while _made:
        folder, archived, first_of_parent = _made.pop()
        if any(_is_result(file) for file in folder.rglob('*')):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        if archived is not None and archived.exists():
            archived.rename(folder)
        elif first_of_parent and not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _is_result(file: Path) -> bool:
    return file.is_file() and file.suffix not in ('.log', '.yml', '.yaml') and 'tfevents' not in file.name
