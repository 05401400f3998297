"""Photographs as BasicSR hands them to metrics, and folders for made-up weights."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.metrics import (
    brisque_metric,
    dists_metric,
    fid_metric,
    lpips_metric,
    measure,
    niqe_metric,
)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's download folder, empty, and no network or logged reason left over from another test."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for folder in ('checkpoints', 'pyiqa'):
        (tmp_path / 'hub' / folder).mkdir(parents=True)
    measure._told.clear()
    for cache in (
        lpips_metric._network,
        dists_metric._network,
        brisque_metric._network,
        niqe_metric._pyiqa_niqe,
        fid_metric.inception_features,
    ):
        cache.cache_clear()
    return tmp_path / 'hub'


@pytest.fixture
def reasons(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What BasicSR's logger was told, whatever other tests did to its handlers."""
    monkeypatch.setattr(logging.getLogger('basicsr'), 'propagate', True)
    caplog.set_level(logging.WARNING, logger='basicsr')
    return caplog


@pytest.fixture
def pair(astronaut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A blurred result and its reference, (208, 304, 3) BGR uint8."""
    import cv2

    reference = np.ascontiguousarray(astronaut[:208, 100:404, ::-1])
    return cv2.GaussianBlur(reference, (5, 5), 1.2), reference
