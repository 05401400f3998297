"""Detector factory: builds a detector by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaf2n_arch.faces.detector import Detector, DetectorOptions, detector_options


def build_detector(
    opt: Mapping[str, Any] | DetectorOptions | str | None = None, device: Any = 'cpu', where: str = 'detector'
) -> Detector:
    """Builds a detector from an option block; reads weights from the disk, downloads nothing.

    Args:
        opt: the block of `DetectorOptions`, or only its `type`; None means all defaults.
        device: device of RetinaFace; the other detectors run on the CPU.
        where: key path of the block, for messages.

    Raises:
        OptionError: the block has an unknown key or a value that is not allowed.
        DataError: the weights are not on this machine; the message says how to get them.
    """
    options = detector_options(opt, where)
    if options.type == 'yunet':
        from metaf2n_arch.faces.yunet import YuNetDetector

        return YuNetDetector(options)
    if options.type == 'cascade':
        from metaf2n_arch.faces.cascade import CascadeDetector

        return CascadeDetector(options)
    from metaf2n_arch.faces.retinaface import RetinaFaceDetector

    return RetinaFaceDetector(options, device)
