"""Synthetic test sets: degrades each clean image by its own draw, and stores the draw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaf2n_arch.data.prepare.driver import Unfit, read_or_unfit, require_side, save, stem
from metaf2n_arch.degradation import DegradationConfig, DegradationParams, apply
from metaf2n_arch.images.arrays import to_tensor, to_uint8
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.rng import numpy_generator

FAMILIES: dict[str, Callable[[int], DegradationConfig]] = {
    'iid': lambda scale: DegradationConfig(scale=scale),
    'ood': lambda scale: DegradationConfig.out_of_distribution(scale),
}
"""``iid``: the distribution of training; ``ood``: another distribution, which training never draws from."""

LEAST = 64
"""Smallest side of a clean image in pixels."""


def draw(image: str, family: str, scale: int, seed: int) -> DegradationParams:
    """Returns the degradation of one image; it depends on the arguments only, not on other images.

    Args:
        image: relative path without suffix.
        family: a key of `FAMILIES`.
        scale: downscaling factor.
        seed: seed of the draw.
    """
    words = np.frombuffer(hashlib.sha256(image.encode()).digest(), '<u4').tolist()
    return FAMILIES[family](scale).sample(numpy_generator(seed, *words))


def degrade(gt: np.ndarray, params: DegradationParams) -> np.ndarray:
    """Degrades an (H, W, 3) uint8 RGB image to (H/s, W/s, 3) uint8; the scale s must divide H and W."""
    return to_uint8(apply(to_tensor(gt)[None], params)[0])


@dataclass(frozen=True)
class Degrade:
    """Writes ``GT/<name>.png``, cropped to a multiple of the scale, ``LQ/<name>.png`` and ``degradation/<name>.json``.

    The JSON file holds the draw; `DegradationParams.from_dict` and `degrade` make the same LQ from it again.
    """

    source: Path
    out: Path
    family: str = 'iid'
    scale: int = 4
    seed: int = 0
    command: str = 'degrade'

    def settings(self) -> dict[str, Any]:
        return {'family': self.family, 'scale': self.scale, 'seed': self.seed}

    def check(self, name: str) -> None:
        require_side(self.source / name, max(LEAST, self.scale))

    def __call__(self, name: str) -> list[str]:
        self.check(name)
        image = read_or_unfit(self.source / name)
        height, width = (side - side % self.scale for side in image.shape[:2])
        if height < self.scale or width < self.scale:
            raise Unfit(f'{self.source / name} is smaller than the scale {self.scale}.')
        gt = np.ascontiguousarray(image[:height, :width])
        params = draw(stem(name), self.family, self.scale, self.seed)
        record = {'image': name, 'gt_size': [height, width], **self.settings(), 'params': params.to_dict()}
        file = f'degradation/{stem(name)}.json'
        write_whole(self.out / file, json.dumps(record, indent=1, ensure_ascii=False) + '\n')
        gt_file = save(self.out, f'GT/{stem(name)}.png', gt)
        return [file, gt_file, save(self.out, f'LQ/{stem(name)}.png', degrade(gt, params))]
