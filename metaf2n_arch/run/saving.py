"""Saving checkpoint sets: at once, or from a snapshot in a thread, so that training does not wait for the disk."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaf2n_arch.run.checkpoint_sets import SetFolders, SetWriter
from metaf2n_arch.run.manifests import Label
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.staging import Staged, stage

logger = logging.getLogger('basicsr')
TRIES = 3
PAUSE = 1.0
"""Seconds between two tries."""


def snapshot(value: Any) -> Any:
    """A copy on the CPU that no later step of training changes: of tensors, and of all that holds them.

    >>> weights = {'w': torch.zeros(1)}
    >>> kept = snapshot(weights)
    >>> _ = weights['w'].add_(1)
    >>> kept
    {'w': tensor([0.])}
    """
    if isinstance(value, Tensor):
        return value.detach().to('cpu', copy=True)
    if isinstance(value, dict):  # a shallow copy keeps the kind of mapping, and what torch has attached to it
        copied = copy.copy(value)
        for key, item in value.items():
            copied[key] = snapshot(item)
        return copied
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return copy.deepcopy(value)


def stage_content(content: Any, path: Path, tell: Callable[[str], Any] = logger.warning) -> Staged:
    """Writes with `torch.save` beside `path`; tries again as the host does, as network drives have bad moments.

    Args:
        content: tensors, numbers and plain containers.
        path: where the file is to be.
        tell: gets a line for each failure but the last.

    Raises:
        DataError: the last failure.
    """
    for left in reversed(range(TRIES)):
        try:
            return stage(path, lambda file: torch.save(content, file))
        except DataError as error:
            if left == 0:
                raise
            tell(f'{error} Tries left: {left}.')
            time.sleep(PAUSE)
    raise AssertionError('unreachable')


class Saver:
    """Does what writes files, one thing after the other.

    In the background at most one set is on its way: whoever begins the next calls `wait` first, so that a slow disk
    slows training down rather than filling the memory. An error of the thread is raised by the next call of any method,
    in the training that called it.

    Args:
        background: whether a thread does the work; what is handed over must then be a `snapshot`.
    """

    def __init__(self, background: bool = False) -> None:
        self.background = background
        self._thread: ThreadPoolExecutor | None = None
        self._pending: list[Future[None]] = []
        self._failed = False

    def do(self, work: Callable[[], None]) -> None:
        """Does `work`, or has it done after all that was handed over before.

        Raises:
            DataError: something handed over before could not be written, or (not in the background) this.
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
        """Raises what has failed; returns at once."""
        while self._pending and self._pending[0].done():
            self._result()

    def wait(self) -> None:
        """Waits until everything is written; raises what has failed."""
        while self._pending:
            self._result()

    def _unless_failed(self, work: Callable[[], None]) -> None:
        if self._failed:  # what follows belongs to the same set, which cannot become whole any more
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
    """Saves the checkpoint sets of one run, file by file, in the order in which they are handed over.

    Args:
        folders: where.
        background: whether a thread writes, from snapshots.
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
        """Saves one file of networks of the set `label`."""
        if label != self._label:
            self.wait()
            self._label = label
        kept = snapshot(content) if self.background else content
        self._saver.do(lambda: self._writer.publish_network(label, stage_content(kept, path)))

    def commit(self, label: Label, epoch: int, content: Any, path: Path | None, then: Callable[[], None]) -> None:
        """Saves the training state `content` as `path`, unless that is None, completes the set, and calls `then`."""
        kept = snapshot(content) if self.background else content

        def work() -> None:
            state = stage_content(kept, path) if path is not None else None
            self._writer.commit(label, epoch, self.made_with, state)
            then()

        self._saver.do(work)

    def at_once(self) -> None:
        """Lets nothing wait from here on: the program ends."""
        self.wait()
        self.background = self._saver.background = False
