"""Server of the web page: gradio with its folder for files, the request filter, and the end by Ctrl-C or signals."""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.extras import install_command
from metaf2n_arch.web.doorkeeper import Doorkeeper


def load_gradio(place: str | Path) -> Any:
    """Imports gradio and makes it keep its files in `place`, which is deleted when the command ends.

    Raises:
        OptionError: gradio is not installed.
    """
    settings = {
        'GRADIO_TEMP_DIR': str(Path(place) / 'received'),
        'GRADIO_ANALYTICS_ENABLED': 'False',
        'HF_HUB_DISABLE_TELEMETRY': '1',
    }
    try:
        os.environ.update(settings)  # gradio reads them when it is imported
        import gradio
    except ModuleNotFoundError:
        raise OptionError(f'metaf2n web needs gradio; run: {install_command("web")}') from None
    return gradio


def serve(
    page: Any,
    host: str,
    port: int,
    place: Path,
    max_mb: float,
    max_total_mb: float,
    allowed: Collection[str] = (),
    wait: bool = True,
) -> Any:
    """Serves the page.

    Args:
        page: from `build_page`.
        host: address to listen on.
        port: port to listen on.
        place: folder of all uploads and results.
        max_mb: largest upload, in megabytes.
        max_total_mb: largest size of all uploads and results together, in megabytes.
        allowed: further host names under which the page is served.
        wait: whether to wait for Ctrl-C; otherwise returns at once, and a thread serves the page.

    Raises:
        OptionError: the port is in use, or the address does not belong to this machine.
        Ended: the user pressed Ctrl-C.
    """
    from starlette.middleware import Middleware

    launch = page.queue(max_size=8).launch
    known = inspect.signature(launch).parameters
    settings: dict[str, Any] = {'run_history': False, 'footer_links': [], 'mcp_server': False, 'ssr_mode': False}
    if 'theme' in known:  # older versions of gradio take the theme in `Blocks`
        from metaf2n_arch.web.page import look

        settings |= look()
    limits = {'max_file': round(max_mb * 1e6), 'max_total': round(max_total_mb * 1e6)}
    keeper = Middleware(Doorkeeper, hosts=[host, *allowed], place=place, **limits)
    try:
        served = launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=round(max_mb * 1e6),
            prevent_thread_lock=True,
            quiet=True,
            show_error=True,
            app_kwargs={'middleware': [keeper], 'docs_url': None, 'redoc_url': None},
            **{name: value for name, value in settings.items() if name in known},
        )
    except OSError as error:
        raise OptionError(f'the page cannot be served at {host}:{port} ({error}); give another --port.') from None
    try:
        while wait:
            time.sleep(3600)
    except KeyboardInterrupt:
        raise Ended(0) from None
    return served


class Ended(SystemExit):
    """Raised when the page is ended: by Ctrl-C, with exit code 0, or by a signal, with exit code 128 + signal."""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block like an exception, so that its files are deleted.

    Then the process exits at once, without waiting for a thread that still restores a photo.
    """
    names = [name for name in ('SIGTERM', 'SIGHUP', 'SIGBREAK') if hasattr(signal, name)]

    def leave(number: int, frame: Any) -> None:
        for name in names:  # a second signal must not interrupt the deletion of files
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        raise Ended(128 + number)

    for name in names if threading.current_thread() is threading.main_thread() else ():
        signal.signal(getattr(signal, name), leave)
    try:
        yield
    except Ended as ended:
        sys.stdout.flush()
        os._exit(int(str(ended.code)))
