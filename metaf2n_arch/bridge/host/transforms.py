"""`basicsr.data.transforms`: in runs of this package `paired_random_crop` names a pair that does not fit."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from metaf2n_arch.bridge.patching import ORIGINALS, Repair, replace_for_ours
from metaf2n_arch.utils.checks import DataError


def paired_random_crop(
    img_gts: Any, img_lqs: Any, gt_patch_size: int, scale: int, gt_path: str | None = None
) -> tuple[Any, Any]:
    """Crops as BasicSR does.

    Raises:
        DataError: the pair is too small or does not fit the scale; the message names it.
    """
    crop = ORIGINALS['basicsr.data.transforms.paired_random_crop']
    try:
        return crop(img_gts, img_lqs, gt_patch_size, scale, gt_path)
    except ValueError as error:
        reason = ' '.join(' '.join(map(str, error.args)).split()).partition(' Please remove')[0].rstrip('.')
        raise DataError(f'{gt_path or "a pair of images"}: {reason}; remove it, or correct gt_size or scale.') from None


def _apply(module: ModuleType) -> bool:
    replace_for_ours(module, 'paired_random_crop', paired_random_crop)
    return True


REPAIRS = [Repair('sizes-of-pairs', 'basicsr.data.transforms', _apply, 'does not name the file')]
