"""Random state: the states of all global random generators, as tensors and numbers that a checkpoint can hold."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """Returns the states of Python's, NumPy's and torch's global generators, and of the current CUDA device's.

    >>> before = capture()
    >>> first = torch.rand(1)
    >>> restore(before)
    >>> bool(torch.rand(1) == first)
    True
    """
    version, keys, gauss = random.getstate()
    name, words, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - the global one is meant
    state: dict[str, Any] = {
        'python': [version, torch.tensor(keys), gauss],
        'numpy': [name, torch.from_numpy(np.asarray(words).astype(np.int64)), position, has_gauss, cached],
        'torch': torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore(state: dict[str, Any]) -> None:
    """Restores what `capture` returned; the state of CUDA is ignored where there is no CUDA device."""
    version, keys, gauss = state['python']
    random.setstate((version, tuple(keys.tolist()), gauss))
    name, words, *rest = state['numpy']
    np.random.set_state((name, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002 - as above
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
