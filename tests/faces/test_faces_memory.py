"""Peak memory of restoring the faces of a photo on a CPU: that of one face, however many there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np, torch
from metaf2n_arch.archs.gpen_arch import GPEN
from metaf2n_arch.faces.detector import Detector, DetectorOptions, Face
from metaf2n_arch.faces.networks import GPEN_WIDTHS
from metaf2n_arch.faces.pairs import face_pairs
from metaf2n_arch.faces.restorer import NetworkRestorer

size, number = int(sys.argv[1]), int(sys.argv[2])
faces = [Face((40.0 * i, 10, 40.0 * i + 32, 50), None, 1.0) for i in range(number)]

class Given(Detector):
    def _search(self, image):
        return faces

torch.manual_seed(0)
restorer = NetworkRestorer(GPEN(size, *GPEN_WIDTHS[size]).requires_grad_(False), size, 0)
photo = np.random.default_rng(0).integers(0, 256, (64, 600, 3), dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = face_pairs(photo, Given(DetectorOptions(type='cascade', min_size=1)), restorer, 4)
assert len(pairs) == number
print(before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(size: int, number: int) -> float:
    """Megabytes of a process that restores so many faces with a random GPEN of that size."""
    pytest.importorskip('resource', reason='the peak of a process is read by a module of POSIX')
    command = [sys.executable, '-c', PROGRAM, str(size), str(number)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


@pytest.mark.slow
def test_six_faces_need_no_more_memory_than_one():
    one, six = peak(256, 1), peak(256, 6)
    assert six < one + 60, f'{one:.0f} MB for one face, {six:.0f} MB for six'
