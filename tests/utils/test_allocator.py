"""Freed memory that is kept, counted in page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from metaf2n_arch.utils.allocator import keep_freed_memory
print(keep_freed_memory())
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]
def use():
    block = library.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    library.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(switch: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], env={'METAF2N_MALLOC': switch}, capture_output=True, text=True, check=True
    )
    told, count = done.stdout.split()
    return told, int(count)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc alone has these options')
def test_freed_blocks_of_64_mib_are_taken_again_without_page_faults():
    told, kept = faults('1')
    assert told == 'True'
    assert kept < 100
    told, given_back = faults('0')
    assert told == 'False'
    assert given_back >= 300  # ten times 16384 pages of 4 kB, or 32 of 2 MB where the system hands out huge ones
