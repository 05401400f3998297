"""`metaf2n prepare`: training and test data from folders of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metaf2n_arch.cli.progress import bar, conclude

app = typer.Typer(
    help='Prepare data. Started again, a stopped command goes on where it was. Images that cannot be used are listed.',
    no_args_is_help=True,
)

Source = Annotated[Path, typer.Argument(help='Folder of images, searched with its subfolders.')]
Out = Annotated[Path, typer.Argument(help='Output folder.')]
Jobs = Annotated[int | None, typer.Option('--jobs', '-j', min=1, help='Processes; by default one per core.')]
DetectorName = Annotated[str, typer.Option(help='retinaface_resnet50, retinaface_mobile0.25 or yunet.')]
DetectorWeights = Annotated[
    str | None, typer.Option('--detector-weights', '--weights', help='Weights of the detector: a file or a name.')
]
Confidence = Annotated[
    float | None, typer.Option(min=0, max=1, help='Minimum score of a face; by default 0.9, or 0.7 for yunet.')
]
Listing = Annotated[
    Path | None, typer.Option('--list', help='Only the images of this list, as `prepare split` writes them.')
]
DryRun = Annotated[bool, typer.Option('--dry-run', help='Show what would be done; write nothing.')]


def _run(work: Any, jobs: int | None, dry_run: bool, listing: Path | None = None) -> None:
    from metaf2n_arch.data.prepare.driver import prepare

    conclude(prepare(work, jobs, dry_run, bar, listing), dry_run)


@app.command()
def align(
    source: Source,
    out: Out,
    size: Annotated[
        list[int] | None,
        typer.Option(min=16, help='Side of the aligned faces in pixels, 512 by default; may be given several times.'),
    ] = None,
    largest: Annotated[bool, typer.Option(help='Only the largest face of each photo.')] = False,
    min_ratio: Annotated[
        float, typer.Option(min=0, help='Minimum side of a face in the photo, as a fraction of --size.')
    ] = 0.5,
    landmarks: Annotated[
        Path | None, typer.Option(help='JSON file with five landmarks per face, instead of a detector.')
    ] = None,
    detector: DetectorName = 'retinaface_resnet50',
    weights: DetectorWeights = None,
    confidence: Confidence = None,
    listing: Listing = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Cut faces out of photos and align them as FFHQ does (Karras et al. 2019)."""
    from metaf2n_arch.data.prepare.align import Align, read_landmarks
    from metaf2n_arch.faces.detector import DetectorOptions
    from metaf2n_arch.faces.detectors import build_detector
    from metaf2n_arch.utils.checks import OptionError
    from metaf2n_arch.utils.options import parse_block

    if detector == 'cascade' and landmarks is None:
        raise OptionError(
            'the detector cascade finds no landmarks, but aligning needs them; use yunet or retinaface_resnet50.'
        )
    options = parse_block(DetectorOptions, {'type': detector, 'weights': weights, 'confidence': confidence}, 'detector')
    points = None if landmarks is None else read_landmarks(landmarks)
    if points is None and not dry_run:
        build_detector(options)  # missing weights are reported once, before the processes start
    _run(Align(source, out, tuple(size or (512,)), largest, min_ratio, options, points), jobs, dry_run, listing)


@app.command()
def multiscale(
    source: Source,
    out: Out,
    shortest: Annotated[
        int, typer.Option(min=0, help='Shorter side of the smallest size, in pixels; 0 leaves this size out.')
    ] = 400,
    original: Annotated[bool, typer.Option(help='Write the images at their own size, too.')] = False,
    listing: Listing = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Write each image at 0.75, 0.5 and 1/3 of its size and with a shorter side of 400, as Real-ESRGAN does."""
    from metaf2n_arch.data.prepare.multiscale import Multiscale

    _run(Multiscale(source, out, shortest=shortest or None, original=original), jobs, dry_run, listing)


@app.command()
def crops(
    source: Source,
    out: Out,
    size: Annotated[int, typer.Option(min=2, help='Side of the crops, in pixels.')] = 400,
    stride: Annotated[int, typer.Option(min=1, help='Distance between neighbouring crops, in pixels.')] = 200,
    min_energy: Annotated[
        float, typer.Option(help='Minimum log mean squared gradient of a crop; -inf keeps all.')
    ] = -6.0,
    listing: Listing = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Cut natural images into crops and keep those with enough texture."""
    from metaf2n_arch.data.prepare.crops import Crops

    limit = None if min_energy == float('-inf') else min_energy
    _run(Crops(source, out, size, stride, limit), jobs, dry_run, listing)


@app.command()
def masks(
    source: Source,
    out: Out,
    threshold: Annotated[
        int, typer.Option(min=0, max=254, help='Laplacian response that an edge pixel exceeds, in 8-bit grey levels.')
    ] = 20,
    stride: Annotated[int, typer.Option(min=1, help='Keep the diagonal of each stride x stride block.')] = 1,
    listing: Listing = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Write the edge masks of the self-similarity loss as 8-bit PNG: 255 on an edge."""
    from metaf2n_arch.data.prepare.masks import Masks

    _run(Masks(source, out, threshold, stride), jobs, dry_run, listing)


@app.command()
def degrade(
    source: Source,
    out: Out,
    family: Annotated[
        str, typer.Option(help='Degradations: iid, as in training; or ood, which training never draws.')
    ] = 'iid',
    seed: Annotated[int, typer.Option(min=0, help='Random seed; each draw also depends on the name of its image.')] = 0,
    scale: Annotated[int, typer.Option(min=1, help='Downscaling factor: side of GT divided by side of LQ.')] = 4,
    listing: Listing = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Write a synthetic test set: GT/, LQ/, and the parameters of each image's degradation in degradation/."""
    from metaf2n_arch.data.prepare.degrade import FAMILIES, Degrade
    from metaf2n_arch.utils.checks import require_choice

    require_choice('family', family, FAMILIES)
    _run(Degrade(source, out, family, scale, seed), jobs, dry_run, listing)


@app.command()
def lmdb(
    source: Source,
    out: Annotated[Path, typer.Argument(help='Folder to write; ends in .lmdb.')],
    compression: Annotated[
        int, typer.Option(min=0, max=9, help='Compression level of the PNG images; 1 is fast to read.')
    ] = 1,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Put a folder of images into one LMDB in BasicSR's layout."""
    from metaf2n_arch.data.prepare.lmdb import write_lmdb

    conclude(write_lmdb(source, out, compression, jobs, dry_run, bar), dry_run)


@app.command()
def meta_info(
    source: Source,
    out: Annotated[Path, typer.Argument(help='Text file to write.')],
    decode: Annotated[
        bool, typer.Option(help='Decode all pixels, not only headers, to find damaged images now.')
    ] = False,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """List the images of a folder and their sizes, as option files take them under `meta_info`."""
    from metaf2n_arch.data.prepare.meta_info import write_meta_info

    conclude(write_meta_info(source, out, decode, jobs, dry_run, bar), dry_run)


@app.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Argument(help='Folder for train.txt, val.txt and test.txt.')],
    val: Annotated[float, typer.Option(help='For validation: a share (below 1) or a number of images.')] = 0.1,
    test: Annotated[float, typer.Option(help='For testing: a share (below 1) or a number of images.')] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help='Random seed of the choice.')] = 0,
    dry_run: DryRun = False,
) -> None:
    """List images for training, validation and test; crops and sizes of one photo stay in one list."""
    from metaf2n_arch.data.prepare.split import write_split

    lengths, summary = write_split(source, out, val, test, seed, dry_run=dry_run, track=bar)
    typer.echo(', '.join(f'{label}: {length}' for label, length in lengths.items() if length))
    conclude(summary, dry_run)


@app.command()
def faces(
    source: Annotated[Path, typer.Argument(help='Folder of low-quality photos.')],
    out: Annotated[Path | None, typer.Argument(help='Test set to make: LQ/, Face_LQ/, Face_HQ/.')] = None,
    folder: Annotated[
        Path | None, typer.Option('--out', '-o', help='Test set to make, instead of the second argument.')
    ] = None,
    restorer: Annotated[
        str, typer.Option(help='Face restorer: gpen, gfpgan, restoreformer, codeformer or identity.')
    ] = 'gpen',
    restorer_weights: Annotated[str | None, typer.Option(help='Weights of the restorer: a file or a name.')] = None,
    detector: DetectorName = 'retinaface_resnet50',
    weights: DetectorWeights = None,
    confidence: Confidence = None,
    scale: Annotated[int, typer.Option(min=1, help='Upscaling factor of the generator that will be tested.')] = 4,
    device: Annotated[str, typer.Option(help='cuda, xpu, mps, cpu.')] = 'cpu',
    listing: Listing = None,
    dry_run: DryRun = False,
) -> None:
    """Find and restore the faces of photos, so that a generator can be adapted to each photo at test time."""
    target = folder or out
    if target is None or (folder and out):
        raise typer.BadParameter('give the test set to make either as the second argument or with --out.')
    from metaf2n_arch.data.prepare.faces import prepare_faces
    from metaf2n_arch.faces.detector import DetectorOptions
    from metaf2n_arch.faces.restorer import RestorerOptions
    from metaf2n_arch.utils.options import parse_block

    found = parse_block(DetectorOptions, {'type': detector, 'weights': weights, 'confidence': confidence}, 'detector')
    wanted = {'type': restorer} | ({} if restorer_weights is None else {'weights': restorer_weights})
    restored = parse_block(RestorerOptions, wanted, 'restorer')
    conclude(prepare_faces(source, target, found, restored, scale, device, bar, listing, dry_run), dry_run)
