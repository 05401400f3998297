"""Launcher of several processes: if torchrun is killed, its processes save and end.

torchrun ends the processes that it started, unless it is killed itself. They would then go on, and write into the same
folder as the next run. So a process whose torchrun has gone behaves as after a SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

POLL = 0.5
"""Seconds between two checks."""
GRACE = 60.0
"""Seconds that a process has for saving. After that it is ended, also if it waits for a process that is gone."""


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
