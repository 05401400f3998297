"""The launcher of several processes: when it is gone, they save and end, rather than write beside those of the next.

torchrun ends what it has started, unless it is killed itself. A process whose parent was torchrun and is no more
behaves as after a SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

POLL = 0.5
"""Seconds between two looks."""
GRACE = 60.0
"""Seconds that a process has for saving; one that waits for another that is gone, or hangs, ends then all the same."""


def end_with_launcher() -> None:
    """Watches torchrun in a thread, in a process that torchrun has started; does nothing in any other."""
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), name='launcher', daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    logging.getLogger('basicsr').warning('torchrun has ended: saving, then stopping.')
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
