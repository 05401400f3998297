"""Detectors with the real weights, and photos as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaf2n_arch.faces.detector import Detector
from metaf2n_arch.faces.detectors import build_detector


@pytest.fixture(scope='session')
def weights_dir(data_dir: Path) -> Path:
    return data_dir / 'weights'


@pytest.fixture(scope='session')
def retinaface(weights_dir: Path) -> Detector:
    path = weights_dir / 'detection_mobilenet0.25_Final.pth'
    return build_detector({'type': 'retinaface_mobile0.25', 'weights': str(path), 'confidence': 0.8})


@pytest.fixture(scope='session')
def yunet(weights_dir: Path) -> Detector:
    path = weights_dir / 'face_detection_yunet_2023mar.onnx'
    return build_detector({'type': 'yunet', 'weights': str(path), 'confidence': 0.7})


@pytest.fixture(scope='session')
def cascade() -> Detector:
    return build_detector('cascade')


@pytest.fixture(scope='session')
def photo(data_dir: Path):
    """Reads a photo of the test data by the start of its name: (H, W, 3) uint8 RGB."""

    def read(name: str) -> np.ndarray:
        [path] = (data_dir / 'photos').glob(f'*{name}*')
        return np.asarray(Image.open(path).convert('RGB'))

    return read


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder and an empty user cache."""
    monkeypatch.setenv('METAF2N_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'weights'
