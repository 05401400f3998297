"""Web page: controls on the left, the restored photo on the right. Import it after `serving.load_gradio`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import gradio as gr

from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.web.answering import Answer, Wishes, answer
from metaf2n_arch.web.keeping import KEPT, Sessions

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N

STEPS = [('automatic', 'auto'), ('fixed', 'fixed'), ('none', 'none')]
HEAD = (
    '# MetaF2N\nDrop a photo. It stays on the machine that serves this page. It is deleted when you press Clear or'
    ' close the page.'
)


class Page:
    """Event handlers of the page.

    Args:
        sr: restores photos.
        place: folder for uploads and results.
        max_pixels: largest photo in megapixels.
    """

    def __init__(self, sr: MetaF2N, place: Path, max_pixels: float) -> None:
        self.sr, self.max_pixels = sr, max_pixels
        self.sessions = Sessions(place)

    def first(self, upload: str | None, *controls: Any, **more: Any) -> list[Any]:
        """Restores an upload."""
        request, progress = more['request'], more['progress']
        if upload is not None:
            self.sessions.take(request.session_hash or '', upload)
        return self.again(*controls, request=request, progress=progress)

    def again(self, *controls: Any, **more: Any) -> list[Any]:
        """Restores the upload of the session again, with the present settings of the controls."""
        visit, progress = more['request'].session_hash or '', more['progress']
        photo = self.sessions.upload(visit)
        folder = self.sessions.results(visit)
        wishes = Wishes(*controls)
        try:
            found = answer(self.sr, photo, folder, self.max_pixels, wishes, partial(_tell, progress))
            if found.file is None:  # an upload that cannot be restored is not kept
                self.sessions.forget(visit)
            return show(found, folder)
        finally:
            self.sessions.settle(visit, folder)

    def clear(self, request: gr.Request) -> list[Any]:
        """Deletes all files of the session and empties the page."""
        self.leave(request)
        return [None, *show(Answer(''), None)]

    def leave(self, request: gr.Request) -> None:
        """Deletes all files of the session."""
        self.sessions.forget(request.session_hash or '')


def _tell(progress: Any, what: str, done: int, total: int) -> None:
    progress((done, total), desc=what, unit=what)


def show(found: Answer, folder: Path | None) -> list[Any]:
    """Values of the outputs: text, two sliders, faces, file. Empty ones are hidden. Pictures are saved in `folder`."""

    def two(pair: Any, name: str) -> Any:
        paths = None if pair is None else [_saved(image, folder, f'{name}_{i}') for i, image in enumerate(pair)]
        return gr.update(value=None if paths is None else tuple(paths), visible=paths is not None)

    panels = [(_saved(image, folder, f'face_{i}'), caption) for i, (image, caption) in enumerate(found.faces)]
    return [
        found.text,
        two(found.slider, 'photo'),
        two(found.steps, 'step'),
        gr.update(value=panels, visible=bool(panels)),
        gr.update(value=found.file, visible=found.file is not None),
    ]


def _saved(image: Any, folder: Path | None, name: str) -> str:
    from PIL import Image

    assert folder is not None
    path = folder / f'{name}.png'
    Image.fromarray(image).save(path, compress_level=1)
    return str(path)


def build_page(sr: MetaF2N, place: str | Path, max_pixels: float) -> gr.Blocks:
    """Builds the page.

    Args:
        sr: restores photos.
        place: folder for uploads and results.
        max_pixels: largest photo in megapixels.
    """
    page = Page(sr, Path(place), max_pixels)
    gr.set_static_paths([str(page.sessions.shown)])  # served without a copy, so that Clear deletes all
    looks = look() if 'theme' in inspect.signature(gr.Blocks).parameters else {}
    with gr.Blocks(title='MetaF2N', analytics_enabled=False, delete_cache=(300, int(KEPT)), **looks) as blocks:
        gr.Markdown(HEAD)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                upload = gr.File(label='photo', type='filepath', file_count='single', height=140)
                controls = _controls(sr)
                with gr.Row():
                    again = gr.Button('Restore', variant='primary', min_width=80)
                    clear = gr.Button('Clear', min_width=80)
            with gr.Column(scale=3, min_width=480):
                text = gr.Textbox(label='result', interactive=False, max_lines=3)
                slider = gr.ImageSlider(label='photo | result', interactive=False, visible=False)
                steps = gr.ImageSlider(label='not adapted | adapted', interactive=False, visible=False)
                columns = 6 if sr.mask is not None else 4  # two faces a row
                faces = gr.Gallery(label='faces', columns=columns, object_fit='contain', height=250, visible=False)
                file = gr.File(label='restored photo', interactive=False, visible=False)
        outputs = [text, slider, steps, faces, file]
        _wire(page, blocks, upload, controls, outputs, again, clear)
    return blocks


def look() -> dict[str, Any]:
    """A theme with fonts of the user's system: browsers would fetch the default fonts from the network."""
    return {'theme': gr.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace'])}


def _controls(sr: MetaF2N) -> list[Any]:
    """The controls, in the order of the fields of `Wishes`."""
    options = sr.options
    fixed = options.inner_lr if isinstance(options.inner_lr, float) else 0.01
    start = 'none' if not options.adapts else 'auto' if options.inner_lr == 'auto' else 'fixed'
    able = sr.detector is not None and sr.restorer is not None
    color_fix = gr.Radio(list(get_args(ColorFixName)), value=options.color_fix, label='colour fix')
    step = gr.Radio(STEPS if able else STEPS[-1:], value=start, label='step of adaptation')
    rate = gr.Number(value=fixed, minimum=0, step=0.001, label='step size', visible=start == 'fixed')
    step.change(lambda kind: gr.update(visible=kind == 'fixed'), step, rate, api_name=False, show_progress='hidden')
    with gr.Accordion('faces', open=False, visible=able):
        which = gr.Radio(['all', 'largest'], value='all', label='faces to adapt to')
        skip = gr.Textbox(value='', label='leave out', placeholder='numbers, such as 0,2', max_lines=1)
        paste = gr.Slider(0, 1, value=options.paste_faces, step=0.05, label="paste the restorer's faces")
    return [color_fix, step, rate, which, skip, paste]


def _wire(
    page: Page,
    blocks: gr.Blocks,
    upload: Any,
    controls: Sequence[Any],
    outputs: Sequence[Any],
    again: Any,
    clear: Any,
) -> None:
    # gradio reads from the signature whether a function needs `request` and `progress`; so all is written out here.
    def restore(
        file: str | None,
        color_fix: str,
        step: str,
        rate: float,
        which: str,
        skip: str,
        paste: float,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008  (gradio requires this default)
    ) -> list[Any]:
        wishes = color_fix, step, rate, which, skip, paste
        return page.first(file, *wishes, request=request, progress=progress)

    def restore_again(
        color_fix: str,
        step: str,
        rate: float,
        which: str,
        skip: str,
        paste: float,
        request: gr.Request,
        progress: Any = gr.Progress(),  # noqa: B008  (gradio requires this default)
    ) -> list[Any]:
        return page.again(color_fix, step, rate, which, skip, paste, request=request, progress=progress)

    one = {'concurrency_limit': 1, 'concurrency_id': 'restore'}
    upload.upload(restore, [upload, *controls], list(outputs), api_name='restore', **one)
    again.click(restore_again, list(controls), list(outputs), api_name='again', **one)
    clear.click(page.clear, None, [upload, *outputs], api_name='clear')
    upload.clear(page.clear, None, [upload, *outputs], api_name=False)
    blocks.unload(page.leave)
