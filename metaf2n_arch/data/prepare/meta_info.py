"""Meta-info files: one image a line, ``name.png (h,w,c)``, as BasicSR and our data sets read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metaf2n_arch.data.meta_lines import Size, meta_lines
from metaf2n_arch.data.prepare.driver import Summary, Track, Unfit, each, image_names, read_or_unfit
from metaf2n_arch.images.reading import image_size
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole


@dataclass(frozen=True)
class Measure:
    """Returns (height, width) of an image below `root`, from its header; with `decode` the whole picture is read."""

    root: Path
    decode: bool = False

    def __call__(self, name: str) -> Size:
        try:
            size = image_size(self.root / name)
        except DataError as error:
            raise Unfit(str(error)) from None
        if self.decode:
            height, width = read_or_unfit(self.root / name).shape[:2]
            size = height, width
        return size


def measure(
    root: Path, decode: bool = False, jobs: int | None = None, track: Track = lambda i, n: i
) -> tuple[dict[str, Size], Summary]:
    """Returns the size of every readable image below a folder, sorted by name, and what was left out.

    Raises:
        DataError: there is no folder or no image.
    """
    summary = Summary()
    names = image_names(root, summary.skipped)
    sizes: dict[str, Size] = {}
    for name, result in track(each(Measure(root, decode), names, jobs if decode else 1), len(names)):
        if isinstance(result, tuple):
            sizes[name] = result
        else:
            summary.skipped[name] = result.reason
    summary.made = len(sizes)
    return dict(sorted(sizes.items())), summary


def write_meta_info(
    root: Path,
    target: Path,
    decode: bool = False,
    jobs: int | None = None,
    dry_run: bool = False,
    track: Track = lambda i, n: i,
) -> Summary:
    """Lists the images below `root`, with names relative to it.

    Args:
        root: the folder that an option file will name as ``dataroot``.
        target: text file to write.
        decode: read every picture whole, so that damaged ones are found now and not in training.
        jobs: number of processes.
        dry_run: write nothing.
        track: wraps an iterable of the given length, for a progress bar.
    """
    sizes, summary = measure(root, decode, jobs, track)
    if sizes and not dry_run:
        write_whole(target, meta_lines(sizes))
        summary.files = 1
    return summary
