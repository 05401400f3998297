"""Options that only the models of this package read, in files of BasicSR's models, which ignore them.

Imports nothing large: the bridge also asks in runs that do not use this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STOCK_MODELS = ('SRModel', 'SRGANModel', 'ESRGANModel', 'SwinIRModel', 'RealESRNetModel', 'RealESRGANModel')
"""BasicSR's models of single images."""
KEYS = {
    '': ('meta', 'face', 'performance', 'color_fix'),
    'train': ('losses', 'ema', 'accumulate', 'augmentations', 'safety'),
    'val': ('save_unadapted',),
    'logger': ('loss_shares',),
}


def passed_over(opt: Mapping[str, Any]) -> list[str]:
    """A line for each option that only our models read, where the model is one of `STOCK_MODELS`."""
    model = opt.get('model_type')
    if model not in STOCK_MODELS:
        return []
    lines = []
    for where, keys in KEYS.items():
        block: Any = opt.get(where) if where else opt
        for key in [key for key in keys if isinstance(block, Mapping) and key in block]:
            place = f'{where}.{key}' if where else key
            lines.append(
                f"{place}: BasicSR's {model} ignores it; use GANSRModel, which trains with the same networks, data "
                'and losses, or remove it.'
            )
    return lines
