"""Meta-info files of a folder: one image per line, ``name.png (h,w,c)``, for data sets of BasicSR and this package."""

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
    """Returns (height, width) of an image in `root` from its header; with `decode`, from the decoded image."""

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
    """Returns name -> (height, width) of every readable image in a folder, sorted by name, and a summary.

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
    """Writes the meta-info file of the images in `root` and its subfolders.

    Args:
        root: folder that the option file will name as ``dataroot``; names in the file are relative to it.
        target: text file to write.
        decode: decode every image, so that damaged ones are found now and not in training.
        jobs: number of processes.
        dry_run: write nothing.
        track: wraps an iterable of the given length, for a progress bar.

    Raises:
        DataError: there is no folder or no image, or the file cannot be written.
    """
    sizes, summary = measure(root, decode, jobs, track)
    if sizes and not dry_run:
        write_whole(target, meta_lines(sizes))
        summary.files = 1
    return summary
