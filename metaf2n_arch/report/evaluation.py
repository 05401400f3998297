"""Metrics of folders of results, with the code of validation and ``basicsr.test``."""

from __future__ import annotations

import inspect
import math
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch import metrics as our_metrics
from metaf2n_arch.config.names import check_part
from metaf2n_arch.config.text import read_option_file
from metaf2n_arch.models.evaluation import Evaluator, better_of, without_weights
from metaf2n_arch.report.folders import Match, match_results, read_bgr
from metaf2n_arch.utils.checks import DataError, OptionError, nearest
from metaf2n_arch.utils.registries import PREFIX
from metaf2n_arch.utils.shard import Shard

CROPPED = ('psnr', 'psnr_rgb', 'ssim', 'ssim_rgb', 'niqe')
METRICS: dict[str, dict[str, Any]] = {
    'psnr': {'type': f'{PREFIX}calculate_psnr_y', 'better': 'higher'},
    'psnr_rgb': {'type': 'calculate_psnr', 'test_y_channel': False, 'better': 'higher'},
    'ssim': {'type': f'{PREFIX}calculate_ssim_y', 'better': 'higher'},
    'ssim_rgb': {'type': 'calculate_ssim', 'test_y_channel': False, 'better': 'higher'},
    'lpips': {'type': f'{PREFIX}calculate_lpips', 'better': 'lower'},
    'dists': {'type': f'{PREFIX}calculate_dists', 'better': 'lower'},
    'niqe': {'type': f'{PREFIX}calculate_niqe_y', 'better': 'lower'},
    'brisque': {'type': f'{PREFIX}calculate_brisque', 'better': 'lower'},
    'fid': {'type': f'{PREFIX}FID', 'better': 'lower'},
    'spectrum': {'type': f'{PREFIX}PowerSpectrumDiscrepancy', 'better': 'lower'},
}
"""Name on the command line -> entry of ``val.metrics``. PSNR and SSIM are of the BT.601 luma, except ``_rgb``.

Types have the prefix of this package, so that metrics of other packages with the same name are not used by mistake.
"""
WITHOUT_REFERENCE = ('niqe', 'brisque')


@dataclass(frozen=True)
class Evaluation:
    """Metrics of folders of results.

    Attributes:
        metrics: name -> entry of ``val.metrics`` that was used.
        mean: folder -> metric -> value over the set; NaN if it could not be measured.
        images: folder -> metric -> image -> value.
        count: number of images.
    """

    metrics: dict[str, dict[str, Any]]
    mean: dict[str, dict[str, float]]
    images: dict[str, dict[str, dict[str, float]]]
    count: int

    def best(self, metric: str) -> str | None:
        """Returns the folder with the best value of a metric; None if there are fewer than two values."""
        sign = -1 if self.metrics[metric].get('better') == 'lower' else 1
        values = {folder: sign * mean[metric] for folder, mean in self.mean.items() if not math.isnan(mean[metric])}
        return max(values, key=lambda folder: values[folder]) if len(values) > 1 else None

    def ranges(self) -> dict[str, str]:
        """Range of each metric whose range is known, as pyiqa writes it: ``~0, ~1`` means about 0 to about 1."""
        parts = {name: METRIC_REGISTRY.get(entry['type']) for name, entry in self.metrics.items()}
        found = {n: p.score_range(self.metrics[n]) for n, p in parts.items() if hasattr(p, 'score_range')}
        return {name: str(span) for name, span in found.items() if span}

    def to_dict(self) -> dict[str, Any]:
        """Returns the evaluation as a dictionary for `write_json`."""
        return {'count': self.count, 'metrics': self.metrics, 'mean': self.mean, 'images': self.images}


def metric_entries(names: Iterable[str], crop_border: int = 4) -> dict[str, dict[str, Any]]:
    """Returns the entries of ``val.metrics`` for names of `METRICS`, and for names of pyiqa that are not in it.

    Args:
        names: metrics.
        crop_border: pixels that the metrics `CROPPED` leave out at each border. Learned and set-level metrics use whole
            images, as in papers.

    Raises:
        OptionError: a name is unknown.
    """
    entries = {}
    for name in names:
        known = METRICS.get(name) or _of_pyiqa(name)
        entries[name] = {**known, **({'crop_border': crop_border} if name in CROPPED else {})}
    return entries


def _of_pyiqa(name: str) -> dict[str, Any]:
    from metaf2n_arch.metrics.pyiqa_metric import direction, known_names

    others = known_names()
    if name not in others:
        more = f', and any of the {len(others)} of pyiqa' if others else ''
        raise OptionError(
            f'there is no metric {name!r}.{nearest(name, [*METRICS, *others])} Known: {", ".join(METRICS)}{more}.'
        )
    return {'type': f'{PREFIX}pyiqa', 'name': name, 'better': direction(name)}


def entries_of_option_file(file: Path) -> dict[str, dict[str, Any]]:
    """Returns ``val.metrics`` of an option file.

    Raises:
        OptionError: the file has no metrics or wrong ones, or cannot be read.
    """
    val = read_option_file(file).get('val')
    metrics = val.get('metrics') if isinstance(val, Mapping) else None
    if not isinstance(metrics, Mapping) or not metrics:
        raise OptionError(f'{file}: val.metrics is missing; add it, or give --metrics instead of --opt.')
    _register_metrics()
    for name, entry in metrics.items():
        check_part(METRIC_REGISTRY, entry, f'{file}: val.metrics.{name}', 'metric')
    return {name: {**entry, 'better': better_of(entry)} for name, entry in metrics.items()}


def evaluate(
    results: Sequence[Path],
    reference: Path | None,
    metrics: Mapping[str, Mapping[str, Any]],
    mod_crop: int = 1,
    track: Callable[[Iterable[Any], int], Iterable[Any]] = lambda i, n: i,
    share: Shard | None = None,
    allow_missing: Callable[[str], object] | None = None,
) -> Evaluation:
    """Measures folders of results side by side.

    Args:
        results: folders of results of any program; all are checked before anything is measured.
        reference: folder of the truth; None if there is none.
        metrics: entries of ``val.metrics`` by name, see `metric_entries`.
        mod_crop: height and width of references are cropped to a multiple of it.
        track: wraps an iterable of the given length, for a progress bar.
        share: which share of the images of each folder to measure; None measures all.
        allow_missing: called with a message if metrics lack weights, and the others are measured. None makes this an
            error.

    Raises:
        DataError: see `match_results`; or the folders have different numbers of images; or metrics lack weights.
        OptionError: a metric needs references, but there are none; or a set-level metric is asked for a share.
    """
    _register_metrics()
    labels = label_folders(results)
    if reference is None:
        needing = [name for name, entry in metrics.items() if not _without_reference(name, entry)]
        if needing:
            raise OptionError(f'{", ".join(needing)} cannot be measured without references; take niqe or brisque.')
    matches = {label: match_results(folder, reference, mod_crop) for label, folder in labels.items()}
    counts = {label: len(found) for label, found in matches.items()}
    if len(set(counts.values())) > 1:
        listed = ', '.join(f'{label} {count}' for label, count in counts.items())
        raise DataError(f'the folders have different numbers of images: {listed}; expected the same images in each.')
    share = share or Shard()
    of_sets = [name for name, entry in metrics.items() if inspect.isclass(METRIC_REGISTRY.get(entry['type']))]
    if share.count > 1 and of_sets:
        raise OptionError(f'{", ".join(of_sets)} measures whole sets, not shares; measure it alone with --shard 1/1.')
    lacking, message = without_weights(metrics)
    if lacking and allow_missing is None:
        raise DataError(f'{message} --allow-missing measures without {", ".join(lacking)}.')
    if lacking and allow_missing is not None:
        allow_missing(f'Measured without {", ".join(lacking)}: {message}')
    evaluator = Evaluator({name: entry for name, entry in metrics.items() if name not in lacking})
    steps = [(label, match) for label, found in matches.items() for match in share.of(found)]
    for label, match in track(steps, len(steps)):
        evaluator.add(match.name, label, *_read(match, mod_crop))
    mean = {label: {**means, **dict.fromkeys(lacking, math.nan)} for label, means in evaluator.finish().items()}
    entries = {name: dict(entry) for name, entry in metrics.items()}
    return Evaluation(entries, mean, evaluator.table.values, len(share.of(range(next(iter(counts.values()))))))


def _without_reference(name: str, entry: Mapping[str, Any]) -> bool:
    from metaf2n_arch.metrics.pyiqa_metric import is_of_pyiqa

    if is_of_pyiqa(entry):
        return not METRIC_REGISTRY.get(entry['type']).needs_reference(entry)
    return name in WITHOUT_REFERENCE


def _register_metrics() -> None:
    """Registers the metrics of this package, also if the bridge, which does so at start-up, is switched off."""
    for module in pkgutil.iter_modules(our_metrics.__path__):
        if module.name.endswith('_metric'):
            import_module(f'{our_metrics.__name__}.{module.name}')


def label_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the folders by short labels: as many last parts of their paths as make the labels different.

    >>> list(label_folders([Path('a/results'), Path('b/results')]))
    ['a/results', 'b/results']
    """
    for length in range(1, 1 + max(len(folder.absolute().parts) for folder in folders)):
        labels = {'/'.join(folder.absolute().parts[-length:]): folder for folder in folders}
        if len(labels) == len(folders):
            return labels
    raise DataError('a folder of results is given twice; give each once.')


def _read(match: Match, mod_crop: int) -> tuple[Any, Any]:
    result = read_bgr(match.result)
    if match.reference is None:
        return result, None
    return result, read_bgr(match.reference)[: result.shape[0], : result.shape[1]]
