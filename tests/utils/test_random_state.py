"""States of the global generators survive a checkpoint that may hold tensors and plain containers only."""

from __future__ import annotations

import random

import numpy as np
import torch

from metaf2n_arch.utils import random_state


def draws() -> list[float]:
    # Gaussians too, of which Python and NumPy keep every second one back.
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(1).item()]  # noqa: NPY002


def test_what_is_put_back_draws_the_same_again(tmp_path):
    random.gauss(0, 1)
    np.random.randn()  # noqa: NPY002 - the global generator is what is tested
    before = random_state.capture()
    first = draws()
    torch.save(before, tmp_path / 'state')
    assert draws() != first
    random_state.restore(torch.load(tmp_path / 'state', weights_only=True))
    assert draws() == first
