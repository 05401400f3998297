"""Needs of the commands: what is missing for each on this machine, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaf2n_arch.doctor.software import version
from metaf2n_arch.utils.extras import install_command
from metaf2n_arch.weights.needs import needs_of, needs_of_photos
from metaf2n_arch.weights.search import find_here, table

PHOTOS = needs_of_photos('realesrgan_x4plus', None, 'retinaface_resnet50', {'type': 'gpen'})
"""Weights of `metaf2n restore` with its default options."""


@dataclass(frozen=True)
class Command:
    """A command and what it needs.

    Attributes:
        name: what the screen calls it.
        weights: names or paths of weights files.
        packages: optional packages: distribution -> extra of this package that installs it.
    """

    name: str
    weights: tuple[str, ...] = ()
    packages: Mapping[str, str] | None = None

    def remedies(self) -> list[str]:
        """What to run or do to get what is missing, one line each; empty if the command can run."""
        known = table()
        files = [name for name in self.weights if not _is_here(name)]
        fetched = [name for name in files if name in known]
        lines = [f'metaf2n weights fetch {" ".join(fetched)}{_size(fetched)}'] if fetched else []
        lines += [f'give your own file {name}: it is not published' for name in files if name not in known]
        missing = {extra for distribution, extra in (self.packages or {}).items() if version(distribution) is None}
        return [*lines, *map(install_command, missing)]


COMMANDS: tuple[Command, ...] = (
    Command('demo'),
    Command('restore', tuple(PHOTOS)),
    Command('restore --backend ncnn', tuple(PHOTOS), {'ncnn': 'ncnn'}),
    Command('web', tuple(PHOTOS), {'gradio': 'web'}),
    Command('prepare align', ('retinaface_resnet50',)),
    Command('prepare faces', ('retinaface_resnet50', 'gpen_bfr_512')),
    Command('metric LPIPS', ('lpips_alex',)),
    Command('metric DISTS', ('lpips_vgg', 'dists')),
    Command('metric FID', ('inception',)),
    Command('metric BRISQUE', ('brisque',), {'pyiqa': 'pyiqa'}),
    Command('export to ONNX', (), {'onnx': 'onnx', 'onnxruntime': 'onnx', 'onnxscript': 'onnx'}),
    Command('export --push', (), {'huggingface_hub': 'hub'}),
    Command('weights convert', (), {'tensorflow': 'tensorflow'}),
    Command('HEIC and JPEG XL photos', (), {'pillow-heif': 'formats', 'pillow-jxl-plugin': 'formats'}),
    Command('degradation by video codecs', (), {'av': 'video'}),
)


def of_option_file(name: str, content: Mapping[str, Any]) -> Command:
    """A `Command` for training or testing with an option file; `content` is the parsed file."""
    return Command(name, tuple(needs_of(content).all))


def weights_here() -> Iterator[tuple[str, Path]]:
    """Yields name and path of each published weights file that is on this machine."""
    for entry in table().values():
        place = find_here(entry)
        if place is not None:
            yield entry.name, place


def _is_here(name: str) -> bool:
    entry = table().get(name)
    return Path(name).expanduser().is_file() if entry is None else find_here(entry) is not None


def _size(names: list[str]) -> str:
    sizes = [table()[name].size for name in names]
    total = sum(size or 0 for size in sizes) / 1e6
    return f'  ({"at least " if None in sizes else ""}{total:.0f} MB)' if total >= 1 else ''
