"""RetinaFace detector (Deng et al., CVPR 2020): facexlib's network, decoded here without state and downloads."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.weights.files import load_into
from metaf2n_arch.weights.search import locate

# Of the network's three feature maps: pixels per cell, and the sides of the two square anchors in each cell.
ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2
MEAN_BGR = (104.0, 117.0, 123.0)


class RetinaFaceDetector(Detector):
    """RetinaFace with a ResNet-50 or a MobileNet-0.25.

    Args:
        options: the option block, with `type` ``retinaface_resnet50`` or ``retinaface_mobile0.25``.
        device: device of the network.

    Raises:
        DataError: the weights are missing or belong to another network.
    """

    finds_small = True

    def __init__(self, options: DetectorOptions, device: Any = 'cpu') -> None:
        super().__init__(options)
        path = locate(options.weights or options.type)
        from facexlib.detection.retinaface import RetinaFace

        with warnings.catch_warnings():
            # facexlib builds its ResNet with an argument that torchvision has renamed.
            warnings.simplefilter('ignore')
            network = RetinaFace(options.type.removeprefix('retinaface_'), device='cpu')
        load_into(network, path)
        self.network = network.requires_grad_(False).eval()
        self.to(device)

    def to(self, device: Any) -> RetinaFaceDetector:
        """Moves the network; returns the detector itself."""
        self.device = torch.device(device)
        self.network.to(self.device)
        return self

    @torch.no_grad()
    def _search(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        bgr = torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()).to(self.device).float()
        x = bgr[None] - torch.tensor(MEAN_BGR, device=self.device).view(1, 3, 1, 1)
        offsets, scores, points = (part[0].float() for part in self.network(x))
        sure = scores[:, 1] >= self.confidence
        anchors = anchor_boxes(height, width).to(self.device)[sure]
        boxes = decode_boxes(offsets[sure], anchors).cpu().numpy()
        landmarks = decode_points(points[sure], anchors).cpu().numpy()
        found = zip(boxes.tolist(), landmarks, scores[sure, 1].tolist())
        return [Face(tuple(box), marks.astype(np.float64), score) for box, marks, score in found]


def anchor_boxes(height: int, width: int) -> Tensor:
    """Anchors (A, 4): x and y of the centre, width, height, in pixels; sorted by map, row, column, anchor of a cell."""
    parts = []
    for step, sides in ANCHORS:
        y, x, side = torch.meshgrid(
            (torch.arange(-(-height // step)) + 0.5) * step,
            (torch.arange(-(-width // step)) + 0.5) * step,
            torch.tensor(sides, dtype=torch.float32),
            indexing='ij',
        )
        parts.append(torch.stack([x, y, side, side], dim=-1).view(-1, 4))
    return torch.cat(parts)


def decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (A, 4) as x0, y0, x1, y1 from offsets (A, 4): of the centre in anchor sides, of the size as a logarithm."""
    centre = anchors[:, :2] + CENTRE_VARIANCE * offsets[:, :2] * anchors[:, 2:]
    half = anchors[:, 2:] * torch.exp(SIZE_VARIANCE * offsets[:, 2:]) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def decode_points(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Landmarks (A, 5, 2) from offsets (A, 10) in anchor sides."""
    moved = CENTRE_VARIANCE * offsets.view(-1, 5, 2) * anchors[:, None, 2:]
    return anchors[:, None, :2] + moved
