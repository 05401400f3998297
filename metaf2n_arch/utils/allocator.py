"""Memory of large tensors on a CPU: requested from the system in large pages."""

from __future__ import annotations

import os

SWITCH = 'METAF2N_MALLOC'
"""Environment variable; 0 leaves torch's allocator as it is."""

TORCH_SWITCH = 'THP_MEM_ALLOC_ENABLE'
"""Environment variable of torch, read at its first allocation: tensors of 2 MB and more lie in large pages (Linux)."""


def use_large_pages() -> None:
    """Lets torch request the memory of large tensors in pages of 2 MB instead of 4 kB; call it before torch allocates.

    glibc returns each freed block of over 32 MiB to the system, and requests it again, page by page, for the next
    layer. With 4 kB a page this takes a quarter of the time of a large photo on a CPU. Memory and results stay the
    same. Only the commands of this package call it: a library must not change the allocator of somebody else's program.
    It has no effect where the system gives no large pages (``/sys/kernel/mm/transparent_hugepage/enabled``: never).
    """
    if os.environ.get(SWITCH) != '0':
        os.environ.setdefault(TORCH_SWITCH, '1')
