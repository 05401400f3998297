"""The C library's allocator: freed memory of large tensors is kept for the next ones."""

from __future__ import annotations

import ctypes
import os

SWITCH = 'METAF2N_MALLOC'
"""Environment variable; 0 leaves the allocator as it is."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = 1 << 30  # bytes of a tensor that is kept
_KEPT = 256 << 20  # bytes at the end of the heap that are kept


def keep_freed_memory() -> bool:
    """Tells glibc to keep the memory of large tensors that are freed, for the life of this process.

    By default each block of over 32 MiB is given back to the system when it is freed, and taken anew, page by page, for
    the next layer. That costs a large photo on a CPU 8 to 26 % of its time. Kept, the peak is up to a quarter higher.
    The numbers do not change. It is for programs of our own: a library has no say in the process of others.

    Returns:
        Whether it was done; not with another C library, nor where ``METAF2N_MALLOC=0``.
    """
    if os.environ.get(SWITCH) == '0':
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # glibc alone has it
        set_option = library.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(set_option(_MMAP_THRESHOLD, _LARGEST)) and bool(set_option(_TRIM_THRESHOLD, _KEPT))
