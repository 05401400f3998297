"""Cascade detector (local binary patterns) of scikit-image: boxes only, no weights file, for demos."""

from __future__ import annotations

import numpy as np

from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face


class CascadeDetector(Detector):
    """scikit-image's frontal-face cascade. Misses turned faces; every face it finds has the score 1."""

    # A cascade itself searches all sizes: one search is enough, and a smaller photo is faster.
    smallest_search = 10**9
    search_limit = 640

    def __init__(self, options: DetectorOptions) -> None:
        from skimage import data
        from skimage.feature import Cascade

        super().__init__(options.model_copy(update={'search_size': min(options.search_size, self.search_limit)}))
        self.cascade = Cascade(data.lbp_frontal_face_cascade_filename())

    def _search(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        least = 24
        if min(height, width) <= least:
            return []
        found = self.cascade.detect_multi_scale(
            image, scale_factor=1.2, step_ratio=1, min_size=(least, least), max_size=(height, width)
        )
        boxes = [(float(f['c']), float(f['r']), float(f['width']), float(f['height'])) for f in found]
        return [Face((x, y, x + w, y + h), None, 1.0) for x, y, w, h in boxes]
