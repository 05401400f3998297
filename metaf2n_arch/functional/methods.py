"""Names of methods that options choose between, importable without torch."""

from __future__ import annotations

from typing import Literal

ColorFixName = Literal['lowfreq', 'wavelet', 'none']
"""Kinds of `ColorFix`."""
