"""`basicsr.data.transforms`: in runs of ours `paired_random_crop` names the pair that does not fit, and a remedy."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.utils.checks import DataError


def paired_random_crop(
    img_gts: Any, img_lqs: Any, gt_patch_size: int, scale: int, gt_path: str | None = None
) -> tuple[Any, Any]:
    """Crops like the host; raises `DataError` naming the pair if it is too small or does not fit the scale."""
    crop = ORIGINALS['basicsr.data.transforms.paired_random_crop']
    try:
        return crop(img_gts, img_lqs, gt_patch_size, scale, gt_path)
    except ValueError as error:
        reason = ' '.join(' '.join(map(str, error.args)).split()).partition(' Please remove')[0].rstrip('.')
        raise DataError(
            f'{gt_path or "a pair of images"}: {reason}; take it out, or correct gt_size or scale.'
        ) from None


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'paired_random_crop', paired_random_crop)
    return True


REPAIRS = [Repair('sizes-of-pairs', 'basicsr.data.transforms', _apply, 'names no file, or no remedy')]
