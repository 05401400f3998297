"""The peak is at least what a known allocation needs, and never falls again."""

import torch

from metaf2n_arch.utils.memory import peak_memory


def test_the_peak_holds_a_large_allocation_and_never_falls():
    cpu = torch.device('cpu')
    before = peak_memory(cpu)
    with open('/proc/self/statm') as file:
        resident = int(file.read().split()[1]) * 4096
    size = int(before - resident) + 64 * 2**20
    block = torch.ones(size, dtype=torch.uint8)
    assert peak_memory(cpu) >= before + 48 * 2**20
    del block
    assert peak_memory(cpu) >= before + 48 * 2**20
