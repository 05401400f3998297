"""Image grid for TensorBoard: a row of LQ, result before and after adaptation, GT and confidence map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

PANELS = ('lq', 'unadapted', 'result', 'gt', 'confidence')
MAX_HEIGHT = 512
GAP = 4


def image_grid(visuals: Mapping[str, Tensor]) -> Tensor:
    """Puts LQ | before adaptation | after | GT | confidence map side by side; missing ones are left out.

    Each panel is resized to the height of the result, at most `MAX_HEIGHT`: enlarged by nearest neighbour, or reduced
    by area averaging. The confidence map is grey; its largest value is white.

    Args:
        visuals: images by name (``lq``, ``unadapted``, ``result``, ``gt``, ``confidence``), each (1, C, h, w) with C 1
            or 3; RGB in [0, 1], except the confidence map.

    Returns:
        (3, H, W) RGB in [0, 1], white between the panels.

    >>> tuple(image_grid({'lq': torch.zeros(1, 3, 4, 6), 'result': torch.ones(1, 3, 16, 24)}).shape)
    (3, 16, 52)
    """
    height = min(visuals['result'].shape[-2], MAX_HEIGHT)
    row: list[Tensor] = []
    for name in PANELS:
        if name not in visuals:
            continue
        panel = visuals[name].detach().float().cpu()
        if name == 'confidence':
            panel = panel / panel.amax().clamp(min=1e-8)
        width = max(1, round(panel.shape[-1] * height / panel.shape[-2]))
        mode = 'area' if panel.shape[-2] > height else 'nearest'
        row += [F.interpolate(panel, (height, width), mode=mode)[0].expand(3, -1, -1).clamp(0, 1), _gap(height)]
    return torch.cat(row[:-1], dim=-1)


def _gap(height: int) -> Tensor:
    return torch.ones(3, height, GAP)
