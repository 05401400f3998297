"""A folder as users have them: photographs in two formats and a subfolder, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.images.writing import write_image


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Four photographs, a damaged one, one of 8x8, a text file, and a second file of one name."""
    from skimage import data

    root = tmp_path / 'album'
    (root / 'deep').mkdir(parents=True)
    write_image(root / 'astronaut.png', data.astronaut())
    write_image(root / 'cat.jpg', data.chelsea())
    write_image(root / 'deep' / 'coffee.png', data.coffee())
    write_image(root / 'gray.png', data.camera())
    write_image(root / 'tiny.png', np.zeros((8, 8, 3), np.uint8))
    whole = (root / 'astronaut.png').read_bytes()
    (root / 'torn.png').write_bytes(whole[: len(whole) // 2])
    (root / 'notes.txt').write_text('no image')
    write_image(root / 'cat.png', data.chelsea())
    return root


GOOD = ['astronaut.png', 'cat.jpg', 'deep/coffee.png', 'gray.png']


@pytest.fixture
def tree():
    """Lists the files below a folder, hidden ones left out."""

    def files(folder: Path) -> list[str]:
        found = (path.relative_to(folder) for path in folder.rglob('*') if path.is_file())
        return sorted(path.as_posix() for path in found if not path.name.startswith('.'))

    return files
