"""Large pages, counted as page faults of a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaf2n_arch.utils.allocator import use_large_pages

PROGRAM = """
import resource
from metaf2n_arch.utils.allocator import use_large_pages
use_large_pages()
import torch
torch.ones(16 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


def faults(**switches: str) -> int:
    kept = {key: value for key, value in os.environ.items() if key not in ('METAF2N_MALLOC', 'THP_MEM_ALLOC_ENABLE')}
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM], env={**kept, **switches}, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize(('given', 'expected'), [({}, '1'), ({'THP_MEM_ALLOC_ENABLE': '0'}, '0')], ids=str)
def test_large_pages_are_asked_for_unless_somebody_has_decided(monkeypatch, given, expected):
    for name in ('METAF2N_MALLOC', 'THP_MEM_ALLOC_ENABLE'):
        monkeypatch.setenv(name, '')  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    use_large_pages()
    assert os.environ['THP_MEM_ALLOC_ENABLE'] == expected


@pytest.mark.slow  # imports torch twice
@pytest.mark.skipif(
    not PAGES.exists() or '[madvise]' not in PAGES.read_text(), reason='large pages are not given to those who ask'
)
def test_large_tensors_take_few_page_faults_unless_switched_off():
    small_pages = 4 * (64 << 20) // 4096
    assert faults() < small_pages / 10
    assert faults(METAF2N_MALLOC='0') >= small_pages
