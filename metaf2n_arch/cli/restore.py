"""`metaf2n restore`: photos in, restored photos out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metaf2n_arch.cli import blocks
from metaf2n_arch.cli.progress import bar

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N
    from metaf2n_arch.photos import Job, Summary


def restore(
    paths: Annotated[list[str], typer.Argument(help='Photos, folders of photos, or patterns (quoted).')],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder for the results.')],
    weights: blocks.Weights = 'realesrgan_x4plus',
    architecture: blocks.Architecture = None,
    param_key: blocks.ParamKey = None,
    mask_weights: blocks.MaskWeights = None,
    mask_architecture: blocks.MaskArchitecture = None,
    detector: blocks.Detector = 'retinaface_resnet50',
    restorer: blocks.Restorer = 'gpen',
    steps: Annotated[int, typer.Option(min=0, help='Steps of the inner loop; 0 does not adapt.')] = 1,
    inner_lr: Annotated[float, typer.Option(help='Step size of the inner loop.')] = 1e-2,
    learned_rates: Annotated[
        bool, typer.Option('--learned-rates', help="The step sizes in the generator's file, instead of --inner-lr.")
    ] = False,
    patches: Annotated[int, typer.Option(min=1, help='Random patches per face.')] = 16,
    seed: Annotated[int, typer.Option(min=0, help='Decides where the patches lie.')] = 0,
    outscale: Annotated[
        float | None, typer.Option(help="Size of the results in sizes of the photos; the generator's own if not given.")
    ] = None,
    tile: Annotated[
        int,
        typer.Option(min=0, help='Longest side, in pixels of the photo, given to the generator at once; 0: no tiles.'),
    ] = 512,
    overlap: Annotated[int, typer.Option(min=0, help='Surroundings that a tile sees, in pixels of the photo.')] = 24,
    half: Annotated[bool, typer.Option('--half', help='Restore in float16 (GPU).')] = False,
    bf16: Annotated[bool, typer.Option('--bf16', help='Restore in bfloat16.')] = False,
    device: blocks.Device = None,
    format_: Annotated[
        str | None, typer.Option('--format', help="png, jpg, webp, tiff or bmp; each photo's own if not given.")
    ] = None,
    compare: Annotated[bool, typer.Option('--compare', help='Also write LQ | not adapted | adapted.')] = False,
    skip_existing: Annotated[bool, typer.Option('--skip-existing', help='Leave results that are there.')] = False,
    require_face: Annotated[bool, typer.Option('--require-face', help='A photo without a face is an error.')] = False,
) -> None:
    """Restore photos, adapting to the faces in each."""
    if half and bf16:
        raise typer.BadParameter('--half and --bf16 exclude each other.')
    from metaf2n_arch.photos import Summary, collect, remove_done
    from metaf2n_arch.utils.checks import make_folder
    from metaf2n_arch.utils.kinds import check_outscale

    check_outscale(outscale)
    jobs = collect(paths, out, format_)
    todo = remove_done(jobs) if skip_existing else jobs
    summary = Summary(skipped=len(jobs) - len(todo))
    if todo:
        sr = blocks.load(
            weights,
            architecture,
            mask_weights,
            mask_architecture,
            detector,
            restorer,
            device,
            param_key=param_key,
            inner_lr=inner_lr,
            learned_rates=learned_rates,
            inner_steps=steps,
            patches=patches,
            seed=seed,
            tile=tile,
            overlap=overlap,
            precision='float16' if half else 'bfloat16' if bf16 else 'float32',
        )
        make_folder(out.expanduser())  # rather than after minutes of restoring
        _run(sr, todo, summary, compare=compare, require_face=require_face, outscale=outscale)
    _report(summary)
    if summary.failed:
        raise typer.Exit(1)


def _run(sr: MetaF2N, jobs: list[Job], summary: Summary, **options: Any) -> None:
    from metaf2n_arch.photos import restore_photos

    try:
        for outcome in bar(restore_photos(sr, jobs, **options), len(jobs), 'restoring'):
            summary.add(outcome)
            if outcome.failed is None:
                typer.echo(str(outcome))
    except KeyboardInterrupt:
        _report(summary)
        raise


def _report(summary: Summary) -> None:
    for outcome in summary.failed:
        typer.echo(f'failed: {outcome}', err=True)
    typer.echo(str(summary))
