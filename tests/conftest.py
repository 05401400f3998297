"""Shared fixtures: real test data, photographs that come with scikit-image, and one table of tolerances."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


# A shell ignores SIGINT for what runs in its background, and processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands that tests call in this process must leave its allocator as it is; tests/utils/test_allocator.py has its own.
os.environ['METAF2N_MALLOC'] = '0'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason='needs a CUDA device')
    for item in items:
        if 'gpu' in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def signal_handlers_as_before() -> Iterator[None]:
    """A training that a test runs in this process installs handlers; tests after it must not inherit them."""
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    yield
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture(scope='session')
def root() -> Path:
    """The project's top level."""
    return ROOT


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """The folder of real test data, or a skip that says how to provide it."""
    folder = Path(os.environ.get('METAF2N_TEST_DATA', ROOT.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'real test data not found at {folder}; set METAF2N_TEST_DATA to the folder that holds it')
    return folder


@pytest.fixture(scope='session')
def astronaut() -> np.ndarray:
    """The astronaut photograph of scikit-image: (512, 512, 3) uint8 RGB, one face."""
    from skimage import data

    return data.astronaut()


@pytest.fixture(scope='session')
def astronaut_tensor(astronaut: np.ndarray) -> torch.Tensor:
    """The same as a (1, 3, 512, 512) float32 tensor in [0, 1]."""
    return torch.from_numpy(astronaut.copy()).permute(2, 0, 1)[None].float() / 255


# Relative and absolute tolerances for comparing a fast path with its oracle, by dtype.
TOLERANCE = {
    torch.float64: {'rtol': 1e-10, 'atol': 1e-12},
    torch.float32: {'rtol': 1e-5, 'atol': 1e-6},
    torch.bfloat16: {'rtol': 2e-2, 'atol': 2e-2},
    torch.float16: {'rtol': 2e-3, 'atol': 2e-3},
}


@pytest.fixture(scope='session')
def tolerance() -> dict[torch.dtype, dict[str, float]]:
    return TOLERANCE
