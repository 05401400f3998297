"""Saving of checkpoint sets: at once, or in a background thread, so that training does not wait for the disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import IO, Any

import torch

from metaf2n_arch.run.checkpoint_sets import SetFolders, SetWriter
from metaf2n_arch.run.manifests import Label
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.staging import Staged, stage

logger = logging.getLogger('basicsr')
TRIES = 3
PAUSE = 1.0
"""Seconds between two tries."""


class Serialised:
    """The bytes that `torch.save` would write of `content` now.

    If the background thread called `torch.save`, it would hold Python's global interpreter lock for thousands of small
    writes, and training would wait for it. Bytes are written and hashed without that lock.
    """

    def __init__(self, content: Any) -> None:
        self._parts: list[bytes] = []
        torch.save(content, self)  # type: ignore[arg-type]  # has write and flush, all that torch.save uses

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Does nothing; torch.save calls it."""

    def write_to(self, file: IO[bytes]) -> None:
        for part in self._parts:
            file.write(part)


def stage_content(content: Any, path: Path, tell: Callable[[str], Any] = logger.warning) -> Staged:
    """Stages a file of `torch.save`; tries up to `TRIES` times, as BasicSR does, because network drives may fail.

    Args:
        content: tensors, numbers and plain containers, or these as `Serialised`.
        path: final path of the file.
        tell: gets a line for each failure but the last.

    Raises:
        DataError: the last try failed.
    """

    def write(file: IO[bytes]) -> None:
        if isinstance(content, Serialised):
            content.write_to(file)
        else:
            torch.save(content, file)

    for left in reversed(range(TRIES)):
        try:
            return stage(path, write)
        except DataError as error:
            if left == 0:
                raise
            tell(f'{error} Tries left: {left}.')
            time.sleep(PAUSE)
    raise AssertionError('unreachable')


class Saver:
    """Runs jobs that write files, one after the other, in order.

    In the background at most one set waits to be written: call `wait` before the next set, so that a slow disk slows
    training down instead of filling the memory. An error in the thread is raised by the next call of any method.

    Args:
        background: whether a thread runs the jobs; the content must then be `Serialised`.
    """

    def __init__(self, background: bool = False) -> None:
        self.background = background
        self._thread: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._failed = False

    def do(self, work: Callable[[], None]) -> None:
        """Runs the job `work`; in the background, adds it to the queue.

        Raises:
            DataError: an earlier job could not write its file, or (not in the background) this one.
        """
        self.check()
        if not self.background:
            self.wait()
            work()
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix='saving')
        self._pending.append(self._thread.submit(self._unless_failed, work))

    def check(self) -> None:
        """Raises the error of a failed job; does not wait."""
        while self._pending and self._pending[0].done():
            self._result()

    def wait(self) -> None:
        """Waits until all jobs are done; raises the error of a failed one."""
        while self._pending:
            self._result()

    def _unless_failed(self, work: Callable[[], None]) -> None:
        if self._failed:  # the next jobs belong to the same set, which can no longer become complete
            return
        try:
            work()
        except BaseException:
            self._failed = True
            raise

    def _result(self) -> None:
        try:
            self._pending[0].result()
        except BaseException:
            wait(self._pending)
            self._pending.clear()
            self._failed = False
            raise
        del self._pending[0]


class SetSaver:
    """Saves the checkpoint sets of one run, file by file, in the order of the calls.

    Args:
        folders: folders of the experiment.
        background: whether a thread writes the files; their content is serialised before.
    """

    def __init__(self, folders: SetFolders, background: bool = False) -> None:
        self.folders = folders
        self.background = background
        self.made_with: Mapping[str, Any] = {}
        self._writer = SetWriter(folders)
        self._saver = Saver(background)
        self._label: Label | None = None
        self.check, self.wait = self._saver.check, self._saver.wait

    def network(self, label: Label, content: Any, path: Path) -> None:
        """Saves one network file of the set `label`."""
        if label != self._label:
            self.wait()
            self._label = label
        kept = Serialised(content) if self.background else content
        self._saver.do(lambda: self._writer.publish_network(label, stage_content(kept, path)))

    def commit(self, label: Label, epoch: int, content: Any, path: Path | None, then: Callable[[], None]) -> None:
        """Saves the training state `content` as `path` (None: no state), writes the manifest, and calls `then`."""
        kept = Serialised(content) if self.background else content

        def work() -> None:
            state = stage_content(kept, path) if path is not None else None
            self._writer.commit(label, epoch, self.made_with, state)
            then()

        self._saver.do(work)

    def at_once(self) -> None:
        """Waits for the background thread, and does all later jobs at once; for the end of the program."""
        self.wait()
        self.background = self._saver.background = False
