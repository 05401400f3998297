"""`metaf2n web`: a local page on which to drop a photo."""

from __future__ import annotations

import inspect
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metaf2n_arch.cli import blocks
from metaf2n_arch.utils.checks import DataError, OptionError

if TYPE_CHECKING:
    import numpy as np

    from metaf2n_arch.inference import MetaF2N, Restoration

LOOPBACK = '127.0.0.1'


@dataclass
class Answer:
    """What the page shows: a text, the photo before and after, the faces with captions, the file to take away."""

    text: str
    slider: tuple[np.ndarray, np.ndarray] | None = None
    faces: list[tuple[np.ndarray, str]] = field(default_factory=list)
    file: str | None = None


def web(
    weights: blocks.Weights = 'realesrgan_x4plus',
    architecture: blocks.Architecture = None,
    param_key: blocks.ParamKey = None,
    mask_weights: blocks.MaskWeights = None,
    mask_architecture: blocks.MaskArchitecture = None,
    detector: blocks.Detector = 'retinaface_resnet50',
    restorer: blocks.Restorer = None,
    device: blocks.Device = None,
    host: Annotated[
        str, typer.Option(help='Address to listen on; by default only this machine can connect.')
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(help='Port to listen on.')] = 7860,
    max_mb: Annotated[int, typer.Option(min=1, help='Largest upload in megabytes.')] = 20,
    max_pixels: Annotated[float, typer.Option(min=0.01, help='Largest photo in megapixels.')] = 4.0,
) -> None:
    """Open a local page: drop a photo, see its faces, the confidence maps, before and after."""
    with tempfile.TemporaryDirectory(prefix='metaf2n_web_') as place:
        gradio = load_gradio(place)
        sr = blocks.load(
            weights, architecture, mask_weights, mask_architecture, detector, restorer, device, param_key=param_key
        )
        typer.echo(f'http://{host}:{port} - Ctrl-C ends it.')
        serve(build_page(gradio, sr, place, max_pixels), host, port, max_mb)


def load_gradio(place: str) -> Any:
    """The gradio package, told to keep the files it serves in `place`, so that nothing of them outlives the command.

    Raises:
        OptionError: it is not installed.
    """
    settings = {'GRADIO_TEMP_DIR': place, 'GRADIO_ANALYTICS_ENABLED': 'False'}
    try:
        os.environ.update(settings)  # read once, at the import
        import gradio
    except ModuleNotFoundError:
        raise OptionError('metaf2n web needs gradio; run: pip install "metaf2n-arch[web]"') from None
    return gradio


def build_page(gradio: Any, sr: MetaF2N, place: str, max_pixels: float) -> Any:
    """The page; photos larger than `max_pixels` megapixels are refused, files are put into `place`."""

    def show(upload: str | None) -> list[Any]:
        found = answer(sr, upload, place, max_pixels)
        return [found.text, found.slider, found.faces, found.file]

    with gradio.Blocks(title='MetaF2N', analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown('# MetaF2N\nDrop a photo. It stays on the machine that serves this page, and is not kept.')
        upload = gradio.File(label='photo', type='filepath', file_count='single')
        text = gradio.Textbox(label='result', interactive=False)
        slider = gradio.ImageSlider(label='before | after', type='numpy', interactive=False)
        faces = gradio.Gallery(label='faces: as they are, restored, confidence', columns=3, object_fit='contain')
        file = gradio.File(label='restored photo', interactive=False)
        outputs = [text, slider, faces, file]
        upload.upload(show, upload, outputs, api_name='restore', concurrency_limit=1)
    return page


def serve(page: Any, host: str, port: int, max_mb: int, wait: bool = True) -> Any:
    """Serves the page until Ctrl-C (or, without `wait`, until it is closed)."""
    launch = page.queue(max_size=8).launch
    # Newer versions offer a history of what was run.
    history = {'run_history': False} if 'run_history' in inspect.signature(launch).parameters else {}
    try:
        return launch(
            server_name=host,
            server_port=port,
            share=False,
            max_file_size=f'{max_mb}mb',
            prevent_thread_lock=not wait,
            quiet=True,
            **history,
        )
    except OSError as error:
        raise OptionError(f'the page cannot be served at {host}:{port} ({error}); give another --port.') from None


def answer(sr: MetaF2N, upload: str | None, place: str, max_pixels: float) -> Answer:
    """Restores an upload and deletes it; every mistake becomes a text.

    Args:
        sr: restores.
        upload: the file, as the page received it.
        place: folder for the result.
        max_pixels: limit in megapixels, held before the picture is decoded.
    """
    from metaf2n_arch.images.formats import SUFFIXES
    from metaf2n_arch.images.reading import image_size, read_photo
    from metaf2n_arch.images.writing import write_photo

    if upload is None:
        return Answer('No photo.')
    path = Path(upload)
    try:
        height, width = image_size(path, path.name)
        if height * width > max_pixels * 1e6:
            size = f'{width} x {height}'
            return Answer(f'{path.name} is {size}, {height * width / 1e6:.1f} megapixels; the limit is {max_pixels:g}.')
        photo = read_photo(path)
        result = sr(photo.pixels)
        suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else '.png'
        target = Path(tempfile.mkdtemp(dir=place)) / f'{path.stem}_restored{suffix}'
        write_photo(target, replace(photo, pixels=result.image))
    except (DataError, ValueError, MemoryError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return Answer(f'Error: {line.replace(str(path), path.name)}')
    finally:
        path.unlink(missing_ok=True)
    return Answer(describe(result), before_and_after(photo.pixels, result), face_panels(result), str(target))


def describe(result: Restoration) -> str:
    """What happened, in one line."""
    if not result.faces:
        return 'No face found: restored without adaptation.'
    count = f'{len(result.faces)} face{"" if len(result.faces) == 1 else "s"} found'
    if result.gain is None or not result.adapted:
        return f'{count}, restored without adaptation.'
    where = 'it' if len(result.faces) == 1 else 'them'
    gain = f'{result.gain.psnr:+.2f} dB and took {result.gain.loss:.1%} of the loss'
    return f'{count}. On {where}, adaptation gained {gain}.'


def before_and_after(photo: np.ndarray, result: Restoration) -> tuple[np.ndarray, np.ndarray]:
    """The photo enlarged, and its result, as RGB bytes."""
    import cv2

    from metaf2n_arch.photos.sheet import shown

    after = shown(result.image)
    return cv2.resize(shown(photo), after.shape[1::-1], interpolation=cv2.INTER_CUBIC), after


def face_panels(result: Restoration) -> list[tuple[np.ndarray, str]]:
    """Each face as it is, restored, and how far each of its pixels is trusted (white: most)."""
    import numpy as np

    from metaf2n_arch.images.arrays import to_uint8

    panels = []
    for number, (face, confidence) in enumerate(zip(result.faces, result.confidence), 1):
        grey = np.round(255 * confidence / max(1.0, float(confidence.max()))).astype(np.uint8)
        panels.append((to_uint8(face.lq), f'face {number}, score {face.score:.2f}'))
        panels.append((to_uint8(face.hq), 'restored'))
        panels.append((np.repeat(grey[..., None], 3, axis=2), f'confidence, mean {confidence.mean():.2f}'))
    return panels
