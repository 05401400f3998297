"""BRISQUE metric, computed by pyiqa."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics.measure import as_tensor, checked_image, measured
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import register
from metaf2n_arch.weights.files import read_checkpoint
from metaf2n_arch.weights.search import locate


@lru_cache(maxsize=2)
def _network(path: Path, device: str) -> Any:
    import pyiqa

    read_checkpoint(path)  # refuses a file that could execute code; pyiqa then reads it with the unsafe loader
    return pyiqa.create_metric('brisque', device=device, pretrained_model_path=str(path))


@register(METRIC_REGISTRY)
@measured
def calculate_brisque(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    crop_border: int = 0,
    device: str | None = None,
    better: str = 'lower',
) -> float:
    """Quality without a reference (Mittal et al., TIP 2012), about 0 to 100; lower is better. Computed by pyiqa.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8; judged on its luminance.
        img2: not used.
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``, read by BasicSR's record of the best result.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log.
    """
    image = checked_image('result', img, crop_border)
    place = pick_device(device)
    metric = _network(locate('brisque', 'BRISQUE'), str(place))
    return metric(as_tensor(image, place)).item()
