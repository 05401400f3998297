"""`metaf2n restore`: restores photos, folders of photos, or patterns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metaf2n_arch.cli import blocks
from metaf2n_arch.cli.progress import PhotoBar, bar
from metaf2n_arch.utils.checks import OptionError

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N
    from metaf2n_arch.photos.jobs import Job
    from metaf2n_arch.photos.register import Register
    from metaf2n_arch.photos.report import Report


def restore(
    paths: Annotated[list[str], typer.Argument(help='Photos, folders of photos, or patterns (quoted).')],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder for the results.')],
    weights: blocks.Weights = 'realesrgan_x4plus',
    architecture: blocks.Architecture = None,
    param_key: blocks.ParamKey = None,
    mask_weights: blocks.MaskWeights = None,
    mask_architecture: blocks.MaskArchitecture = None,
    detector: blocks.Detector = 'retinaface_resnet50',
    restorer: blocks.Restorer = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help='Steps of the inner loop, 0 does not adapt; by default as in training of the weights, otherwise 1.',
        ),
    ] = None,
    inner_lr: Annotated[
        str,
        typer.Option(help='Step size of the inner loop, 0.01 in the paper; auto takes the best of several, or none.'),
    ] = 'auto',
    force_adapt: Annotated[
        bool, typer.Option('--force-adapt', help='Take the step even if it fails the checks on other patches.')
    ] = False,
    color_fix: Annotated[
        str | None,
        typer.Option(
            help='Colour fix, which keeps the tones of the photo: lowfreq, wavelet or none; by default as in the'
            ' training of the weights, otherwise lowfreq.'
        ),
    ] = None,
    learned_rates: Annotated[
        bool,
        typer.Option(
            '--learned-rates', help="Use the learned step sizes in the generator's file, instead of --inner-lr."
        ),
    ] = False,
    faces: Annotated[str, typer.Option(help='Faces to adapt to: all, largest, or the N largest.')] = 'all',
    min_confidence: Annotated[
        float | None, typer.Option(help='Minimum score of a face, 0 to 1; 0.9 with RetinaFace, 0.7 with YuNet.')
    ] = None,
    skip_faces: Annotated[
        str, typer.Option(help='Numbers of faces to leave out, such as 0,2, as --list-faces shows them.')
    ] = '',
    list_faces: Annotated[
        bool, typer.Option('--list-faces', help='Restore nothing: write copies with frames, numbers and scores.')
    ] = False,
    save_faces: Annotated[
        bool,
        typer.Option('--save-faces', help='Also write each face, before and after face restoration, into faces/.'),
    ] = False,
    paste_faces: Annotated[
        float, typer.Option(min=0, max=1, help='Weight of the restored faces blended into the result; 0: not at all.')
    ] = 0.0,
    patches: Annotated[
        int | None,
        typer.Option(
            min=1, help='Random patches per face; by default as in the training of the weights, otherwise 16.'
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help='Random seed of the positions of the patches.')] = 0,
    outscale: Annotated[
        float | None, typer.Option(help='Upscaling factor of the results, such as 2; by default that of the generator.')
    ] = None,
    tile: Annotated[
        int,
        typer.Option(
            min=0, help='Side of the tiles that large photos are cut into, in pixels of the photo; 0: no tiles.'
        ),
    ] = 512,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help='Surroundings that each tile includes, in pixels of the photo; by default 24, less for small tiles.',
        ),
    ] = None,
    half: Annotated[bool, typer.Option('--half', help='Restore in float16 (GPU).')] = False,
    bf16: Annotated[
        bool,
        typer.Option(
            '--bf16',
            help='Restore in bfloat16: up to four times as fast if the CPU supports it, many times slower if not.'
            ' Pixels differ by up to 10 of 255 grey levels, on average by 0.5.',
        ),
    ] = False,
    backend: Annotated[
        str,
        typer.Option(
            help='What computes the photos on a CPU: torch, or ncnn (pip install ncnn), in two thirds of the time.'
            ' Pixels differ by 1 of 255 grey levels at most.'
        ),
    ] = 'torch',
    device: blocks.Device = None,
    format_: Annotated[
        str | None,
        typer.Option('--format', help='png, jpg, webp, tiff, bmp or avif; by default the format of each photo.'),
    ] = None,
    compare: Annotated[
        bool, typer.Option('--compare', help='Also write a picture: LQ | not adapted | adapted.')
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option('--skip-existing', help='Skip photos whose result exists already.')
    ] = False,
    require_face: Annotated[bool, typer.Option('--require-face', help='A photo without a face is an error.')] = False,
    again: Annotated[
        bool,
        typer.Option('--again', help='Also restore photos that an earlier run with the same settings has finished.'),
    ] = False,
    results: Annotated[
        Path | None, typer.Option('--results', help='Write one line of JSON for each photo to this file.')
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help='I/N: restore the I-th of N shares of the photos; by default the share of this process under'
            ' torchrun, srun or an array job.'
        ),
    ] = None,
    max_pixels: Annotated[
        float | None, typer.Option(min=0.01, help='Largest photo that is read, in megapixels; by default 179.')
    ] = None,
) -> None:
    """Restore photos and adapt to the faces in each. A stopped run, started again with the same settings, goes on."""
    settings = {key: value for key, value in locals().items() if key not in _NO_SETTINGS}
    if half and bf16:
        raise typer.BadParameter('--half and --bf16 cannot be combined; give one of them.')
    from metaf2n_arch.images.sizes import check_outscale, fitting_overlap

    wanted, skipped = blocks.of_faces(detector, faces, min_confidence), blocks.numbers(skip_faces, '--skip-faces')
    options = blocks.restore_options(
        inner_lr=number_or_auto(inner_lr),
        force_adapt=force_adapt,
        color_fix=color_fix,
        learned_rates=learned_rates,
        inner_steps=steps,
        skip_faces=skipped,
        paste_faces=paste_faces,
        patches=patches,
        seed=seed,
        tile=tile,
        overlap=fitting_overlap(tile, 24) if overlap is None else overlap,
        precision='float16' if half else 'bfloat16' if bf16 else 'float32',
        backend=backend,
    )
    for name, asked in (('--require-face', require_face), ('--save-faces', save_faces)):
        if asked and not list_faces and not options.finds_faces:
            raise OptionError(
                f'{name} needs adaptation or --paste-faces, otherwise no face is searched; leave out {name}.'
            )
    from metaf2n_arch.images.formats import allow_pixels
    from metaf2n_arch.photos.duration import estimate
    from metaf2n_arch.photos.jobs import collect, remove_done, why_none_opens
    from metaf2n_arch.photos.outcomes import Outcome
    from metaf2n_arch.photos.report import Report
    from metaf2n_arch.utils.shard import shard_of

    check_outscale(outscale)
    allow_pixels(max_pixels)
    share = shard_of(shard)
    passed: dict[str, str] = {}
    jobs = share.of(collect(paths, out, format_, compare, passed))
    todo = remove_done(jobs) if skip_existing else jobs
    report = Report(results, share, share.of(sorted(passed.items())), set(jobs) - set(todo) if skip_existing else ())
    if reasons := why_none_opens(todo):  # reported before torch is imported
        for job, reason in zip(todo, reasons):
            report.add(Outcome(job, reason))
        todo = []
    if todo and list_faces:
        _list(wanted, todo, report, skipped, device)
    elif todo:
        sr = blocks.load(
            weights,
            architecture,
            mask_weights,
            mask_architecture,
            wanted,
            restorer,
            blocks.device_of(device, share),
            param_key=param_key,
            **options.model_dump(exclude_unset=True),
        )
        typer.echo(sr.about)
        register = _register(out, settings, again)
        if (expected := estimate(sr, register.left(todo))) is not None:
            typer.echo(str(expected))
        _run(
            sr,
            todo,
            report,
            register,
            compare,
            require_face,
            outscale,
            out.expanduser() if save_faces else None,
        )
    report.end()
    if report.summary.failed:
        raise typer.Exit(1)


def _list(detector: Any, jobs: Sequence[Job], report: Report, skipped: Sequence[int], device: str | None) -> None:
    from metaf2n_arch.faces.detectors import build_detector
    from metaf2n_arch.photos.faces_found import list_faces
    from metaf2n_arch.utils.modules import pick_device

    for outcome in bar(
        list_faces(build_detector(detector, pick_device(device)), jobs, skipped), len(jobs), 'searching'
    ):
        report.add(outcome)


def number_or_auto(text: str) -> float | str:
    """A step size from the command line: a float, or the text itself, which `RestoreOptions` checks."""
    try:
        return float(text)
    except ValueError:
        return text


# Options that choose the photos, the folder and the machine, but do not change the pixels of a result.
_NO_SETTINGS = ('paths', 'out', 'device', 'skip_existing', 'require_face', 'again', 'results', 'shard', 'max_pixels')


def _register(out: Path, settings: dict[str, Any], again: bool) -> Register:
    """The register of `out`. Size and time of weights files are settings, too."""
    from metaf2n_arch.photos.register import Register

    for key in ('weights', 'mask_weights', 'architecture', 'mask_architecture'):
        file = Path(str(settings[key])).expanduser()
        if file.is_file():
            settings[f'{key} file'] = [file.stat().st_size, file.stat().st_mtime_ns]
    return Register(out.expanduser(), settings, again)


def _run(
    sr: MetaF2N,
    jobs: Sequence[Job],
    report: Report,
    register: Register,
    compare: bool,
    require_face: bool,
    outscale: float | None,
    save_faces: Path | None,
) -> None:
    from metaf2n_arch.photos.restoring import restore_photos

    options: dict[str, Any] = {'compare': compare, 'require_face': require_face, 'outscale': outscale}
    options['save_faces_to'] = save_faces
    shown = PhotoBar(len(jobs), 'restoring')
    options['progress'] = lambda job, *what: shown.inside(job.source, *what)
    try:
        for outcome in shown.track(restore_photos(sr, jobs, register=register, **options)):
            report.add(outcome)
    except KeyboardInterrupt:
        report.end()
        raise
    finally:
        register.close()
