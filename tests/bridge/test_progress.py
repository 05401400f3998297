"""The progress bar: what it says, that it leaves the log whole, and that there is none without a terminal."""

from __future__ import annotations

import io
import logging
import sys

from rich.console import Console

from metaf2n_arch.run import progress


def drawn(values: dict[str, float], log_line: str = '') -> str:
    screen = io.StringIO()
    handler = logging.StreamHandler(screen)
    logger = logging.getLogger('basicsr')
    logger.addHandler(handler)
    console = Console(file=screen, force_terminal=True, width=150, color_system=None)
    bar = progress.Bar('tiny', 10, 40, console)
    bar.start()
    try:
        bar.advance(12)
        bar.show(values)
        if log_line:
            logger.warning(log_line)
        bar.progress.refresh()
    finally:
        bar.stop()
        logger.removeHandler(handler)
    assert handler.stream is screen, 'the log writes where it wrote before'
    return screen.getvalue()


def test_it_says_how_far_how_fast_and_what_adaptation_gains():
    text = drawn({'l_g_total_unadapted': 0.5, 'l_g_total': 0.4, 'iter': 12}, 'a line of the log')
    assert '12/40' in text
    assert 'it/s' in text
    assert 'ETA' in text
    assert 'loss 0.5000 → 0.4000, gain +0.1000' in text
    assert 'a line of the log' in text
    assert 'loss 0.2500' in drawn({'l_pix': 0.25})


def test_there_is_none_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    assert progress.begin('tiny', 0, 10) is None
