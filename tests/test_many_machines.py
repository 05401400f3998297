"""The programs of docs/many_machines.md, run as they stand there; they need Ray and PyAV."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metaf2n_arch.images.reading import read_photo
from metaf2n_arch.images.writing import write_image

pytestmark = pytest.mark.slow


@pytest.fixture
def programs(root) -> list[str]:
    page = root / 'docs' / 'many_machines.md'
    if not page.is_file():
        pytest.skip('the documents are not beside the tests')
    return re.findall(r'```python\n(.*?)```', page.read_text(encoding='utf-8'), re.DOTALL)


def run(program: str, folder: Path, *arguments: str) -> str:
    (folder / 'program.py').write_text(program)
    command = [sys.executable, 'program.py', *arguments]
    environment = {**os.environ, 'RAY_DATA_DISABLE_PROGRESS_BARS': '1'}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_ray_restores_a_folder_and_names_the_photo_that_fails(programs, tmp_path, data_dir, astronaut):
    pytest.importorskip('ray', reason='the example needs Ray: pip install ".[ray]"')
    (tmp_path / 'in').mkdir()
    for number in range(3):
        write_image(tmp_path / 'in' / f'{number}.png', astronaut[40 * number : 40 * number + 32, 160:200])
    (tmp_path / 'in' / 'bad.png').write_text('no image')
    said = run(programs[0], tmp_path, 'in', 'out', str(data_dir / 'odd' / 'good.pth'), '2')
    assert sorted(f.name for f in (tmp_path / 'out').iterdir()) == ['0.png', '1.png', '2.png']
    assert read_photo(tmp_path / 'out' / '1.png').pixels.shape == (128, 160, 3)
    assert re.search(r'bad\.png DataError: \S+bad\.png cannot be read as an image', said)
    assert said.count(' 0 faces') == 3


def test_pyav_restores_a_video(programs, tmp_path, data_dir, astronaut):
    av = pytest.importorskip('av', reason='the example needs PyAV: pip install av')
    with av.open(str(tmp_path / 'in.mp4'), 'w') as video:
        stream = video.add_stream('libx264', rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, 'yuv420p'
        for number in range(5):
            frame = np.ascontiguousarray(astronaut[4 * number : 4 * number + 32, 160:208])
            video.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        video.mux(stream.encode())
    run(programs[1], tmp_path, 'in.mp4', 'out.mp4', str(data_dir / 'odd' / 'good.pth'))
    with av.open(str(tmp_path / 'out.mp4')) as video:
        frames = [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(128, 192, 3)] * 5
