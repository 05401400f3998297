"""Confidence maps: the weight W that MaskNet gives to each pixel of a restored face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import read_8bit, read_image
from metaf2n_arch.report.figures import Panel
from metaf2n_arch.report.panels import spread
from metaf2n_arch.report.runs import Run
from metaf2n_arch.utils.staging import sha256_of
from metaf2n_arch.weights.files import load_into

Confidence = Callable[[Tensor, Tensor], Tensor]


def mask_net(run: Run) -> torch.nn.Module | None:
    """Returns the MaskNet of a run with the weights from its training or test; None if there are none.

    Raises:
        DataError: the weights do not fit the network in the options.
    """
    options, path = run.options.get('network_m'), _weights(run)
    if not isinstance(options, dict) or path is None:
        return None
    from metaf2n_arch.archs.mask_net_arch import MaskNet

    arguments: dict[str, Any] = {k: yaml.safe_load(v) for k, v in options.items() if k != 'type'}
    net = MaskNet(**arguments)
    load_into(net, path, 'params')
    return net.eval().requires_grad_(False)


def _weights(run: Run) -> Path | None:
    given = run.options.get('path', {}).get('pretrain_network_m', 'None')
    trained = run.root / 'experiments' / run.name / 'models' / 'net_m_latest.pth'
    path = trained if trained.is_file() else run.root / given
    return path if path.is_file() else None


def confidence_key(run: Run, dataset: str) -> object:
    """Key that is equal for equal confidence maps: weights of MaskNet and folder of faces; None if one is missing."""
    root, weights = run.dataset(dataset).get('dataroot'), _weights(run)
    if weights is None or not root:
        return None
    return sha256_of(weights), str((run.root / Path(root).expanduser()).resolve())


def confidence_rows(run: Run, dataset: str, count: int) -> list[list[Panel]]:
    """Returns rows low-quality face | restored face | confidence, for a few faces spread evenly over a prepared set."""
    root = run.dataset(dataset).get('dataroot')
    net = mask_net(run)
    folder = run.root / Path(root).expanduser() if root else None
    if net is None or folder is None or not (folder / 'Face_LQ').is_dir():
        return []
    names = [name for name in scan_images(folder / 'Face_LQ')[0] if (folder / 'Face_HQ' / name).is_file()]
    return [_row(net, folder / 'Face_LQ' / name, folder / 'Face_HQ' / name) for name in spread(names, count)]


def _row(net: Confidence, lq: Path, hq: Path) -> list[Panel]:
    with torch.no_grad():
        weights = net(to_tensor(read_image(lq))[None], to_tensor(read_image(hq))[None])[0, 0].numpy()
    caption = f'mean {weights.mean():.3f}, from {weights.min():.3f} to {weights.max():.3f}'
    return [
        Panel(read_8bit(lq), 'face, LQ'),
        Panel(read_8bit(hq), 'face, restored'),
        Panel(heat(weights), 'confidence', caption),
    ]


def heat(values: np.ndarray) -> np.ndarray:
    """Returns (H, W) values as (H, W, 3) uint8 RGB: bright is high, dark is low; one colour if all are equal."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return (colormaps['viridis'](scaled)[..., :3] * 255).round().astype(np.uint8)
