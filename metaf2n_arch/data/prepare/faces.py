"""Face preparation of low-quality photos for testing: finds the faces, restores them, writes the layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaf2n_arch.data.meta_lines import read_meta_info
from metaf2n_arch.data.prepare.driver import list_skipped
from metaf2n_arch.faces.detector import DetectorOptions
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.faces.layout import has_pairs, save_pairs
from metaf2n_arch.faces.pairs import face_pairs
from metaf2n_arch.faces.restorer import RestorerOptions
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.images.listing import scan_images
from metaf2n_arch.images.reading import read_image
from metaf2n_arch.utils.checks import DataError, make_folder
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.utils.lines import LineWriter, read_lines

LISTING, JOURNAL = 'faces.json', '.faces.jsonl'


@dataclass
class FacesSummary:
    """What `prepare_faces` found.

    Attributes:
        images: how many images were read, now or by an earlier run.
        faces: how many faces they hold.
        without: names of the images without a face.
        failed: name and reason of each image that could not be used.
        resumed: how many images an earlier run had finished.
        listed: file that lists all that failed, with the reason.
    """

    images: int = 0
    faces: int = 0
    without: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    resumed: int = 0
    listed: Path | None = None

    def __str__(self) -> str:
        parts = [f'{self.images} images, {self.faces} faces, {len(self.without)} without a face']
        parts += [f'{self.resumed} done before'] if self.resumed else []
        parts += [f'{len(self.failed)} failed'] if self.failed else []
        return ', '.join(parts)


def prepare_faces(
    lq: str | Path,
    out: str | Path,
    detector: DetectorOptions,
    restorer: RestorerOptions,
    scale: int = 4,
    device: Any = 'cpu',
    track: Callable[[Sequence[str]], Iterable[str]] = iter,
    listing: Path | None = None,
) -> FacesSummary:
    """Writes ``Face_LQ/``, ``Face_HQ/`` and ``faces.json`` for every image of a folder; continues a run broken off.

    The result is a data set of `FacePairDataset`. Images that lie elsewhere than in ``out/LQ`` are copied there. An
    image that cannot be read is named in the summary, and the others are done.

    Args:
        lq: folder of low-quality images, searched with its subfolders.
        out: folder of the prepared set.
        detector: finds the faces.
        restorer: restores them.
        scale: s, of the generator that will be tested.
        device: where detector and restorer run.
        track: wraps the names to be done, for a progress bar.
        listing: meta-info list of the images to take, relative to `lq`; None takes all.

    Raises:
        DataError: no images, two images of one name, weights that are missing, a set prepared with other settings.
    """
    lq, out = Path(lq).expanduser(), Path(out).expanduser()
    names = _images(lq, listing)
    settings = {'scale': scale, 'detector': detector.model_dump(), 'restorer': restorer.model_dump()}
    done = _read_listing(out, settings)
    find = build_detector(detector, device)
    restore = build_restorer(restorer).to(device)
    make_folder(out)
    records = {name: done[name] for name in names if name in done and has_pairs(out, done[name])}
    summary = FacesSummary(resumed=len(records))
    journal = LineWriter(out / JOURNAL)
    try:
        for name in track([name for name in names if name not in records]):
            try:
                pairs = face_pairs(read_image(lq / name), find, restore, scale)
            except DataError as error:
                summary.failed[name] = str(error)
                continue
            records[name] = save_pairs(pairs, out, name)
            _copy(lq / name, out / 'LQ' / name)
            journal.add({'settings': settings, 'image': name, 'faces': records[name]})
    finally:
        journal.close()
        summary.listed = list_skipped(summary.failed, out / '.faces.skipped.txt')
        _write_listing(out, settings, records)
    summary.images = len(records)
    summary.faces = sum(map(len, records.values()))
    summary.without = sorted(name for name, faces in records.items() if not faces)
    return summary


def _images(folder: Path, listing: Path | None) -> list[str]:
    if not folder.is_dir():
        raise DataError(f'{folder} is no folder; give a folder of low-quality images.')
    names = scan_images(folder)[0] if listing is None else read_meta_info(listing, folder, 'list')[0]
    if not names:
        raise DataError(f'there is no image in {folder}.')
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(os.path.splitext(name)[0], name)
        if other != name:
            raise DataError(f'{folder / other} and {name} have one name, so would their faces; rename one.')
    return names


def _read_listing(out: Path, settings: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Finished images and their faces, from the listing and the journal of a run that was broken off."""
    found: dict[str, list[dict[str, Any]]] = {}
    known: list[dict[str, Any]] = []
    if (out / LISTING).is_file():
        try:
            listing = json.loads((out / LISTING).read_text(encoding='utf-8'))
            known.append(listing['settings'])
            found.update(listing['images'])
        except (ValueError, KeyError, TypeError):
            raise DataError(f'{out / LISTING} cannot be read; remove it to prepare the set anew.') from None
    for _, entry in read_lines(out / JOURNAL):
        if {'settings', 'image', 'faces'} <= entry.keys():
            known.append(entry['settings'])
            found[entry['image']] = entry['faces']
    if any(other != settings for other in known):
        raise DataError(f'{out} was prepared with another scale, detector or restorer; give another folder.')
    return found


def _write_listing(out: Path, settings: dict[str, Any], records: dict[str, list[dict[str, Any]]]) -> None:
    text = json.dumps({'settings': settings, 'images': dict(sorted(records.items()))}, indent=1)
    write_whole(out / LISTING, text)
    (out / JOURNAL).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    if target.exists() and source.samefile(target):
        return
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataError(f'{source} cannot be read: {error.strerror or error}.') from None
    write_whole(target, content)
