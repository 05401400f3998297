"""YuNet detector (Wu et al., Machine Intelligence Research 2023): OpenCV's small face detector."""

from __future__ import annotations

import threading

import cv2
import numpy as np

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.weights.search import locate

MERGE_ABOVE, MOST_BOXES = 0.3, 5000


class YuNetDetector(Detector):
    """YuNet through ``cv2.FaceDetectorYN``; on the CPU.

    Raises:
        DataError: the weights are missing or cannot be read.
    """

    finds_small = True

    def __init__(self, options: DetectorOptions) -> None:
        super().__init__(options)
        path = locate(options.weights or 'yunet')
        level = cv2.utils.logging.getLogLevel()
        # OpenCV 5 warns at each start that its new engine has no targets; the user can do nothing about it.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        try:
            self.network = cv2.FaceDetectorYN.create(
                str(path), '', (320, 320), self.confidence, MERGE_ABOVE, MOST_BOXES
            )
        except cv2.error as error:
            raise DataError(f'{path} cannot be read as weights of YuNet: {str(error).splitlines()[0]}') from None
        finally:
            cv2.utils.logging.setLogLevel(level)
        # OpenCV's object stores the input size, so two threads must not search at the same time.
        self.lock = threading.Lock()

    def _search(self, image: np.ndarray) -> list[Face]:
        with self.lock:
            self.network.setInputSize((image.shape[1], image.shape[0]))
            self.network.setScoreThreshold(self.confidence)  # `with_options` shares the network
            rows = self.network.detect(np.ascontiguousarray(image[:, :, ::-1]))[1]
        return [_face(row.astype(np.float64)) for row in ([] if rows is None else rows)]


def _face(row: np.ndarray) -> Face:
    x, y, width, height = row[:4].tolist()
    return Face((x, y, x + width, y + height), row[4:14].reshape(5, 2), float(row[14]))
