"""Metrics of folders of results, by the same code as validation and ``basicsr.test``."""

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
"""Name on the command line -> entry of ``val.metrics``; PSNR and SSIM of the BT.601 luma unless called ``_rgb``.

Long names, so that nobody's metric of the same name is taken for ours.
"""
WITHOUT_REFERENCE = ('niqe', 'brisque')


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: name -> entry of ``val.metrics`` that was used.
        mean: folder -> metric -> value over the set; NaN where it could not be measured.
        images: folder -> metric -> image -> value.
        count: number of images.
    """

    metrics: dict[str, dict[str, Any]]
    mean: dict[str, dict[str, float]]
    images: dict[str, dict[str, dict[str, float]]]
    count: int

    def best(self, metric: str) -> str | None:
        """Returns the folder with the best value, if there is more than one to compare."""
        sign = -1 if self.metrics[metric].get('better') == 'lower' else 1
        values = {folder: sign * mean[metric] for folder, mean in self.mean.items() if not math.isnan(mean[metric])}
        return max(values, key=lambda folder: values[folder]) if len(values) > 1 else None

    def ranges(self) -> dict[str, str]:
        """Range of each metric that has it registered, in pyiqa's words: ``~0, ~1`` is about 0 to about 1."""
        parts = {name: METRIC_REGISTRY.get(entry['type']) for name, entry in self.metrics.items()}
        found = {n: p.score_range(self.metrics[n]) for n, p in parts.items() if hasattr(p, 'score_range')}
        return {name: str(span) for name, span in found.items() if span}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for `write_json`."""
        return {'count': self.count, 'metrics': self.metrics, 'mean': self.mean, 'images': self.images}


def metric_entries(names: Iterable[str], crop_border: int = 4) -> dict[str, dict[str, Any]]:
    """Returns the entries of ``val.metrics`` for names of `METRICS`, or of pyiqa where these have none.

    Args:
        names: metrics.
        crop_border: pixels left out at each border by those of `CROPPED`; the learned and the set-level metrics take
            whole images, as papers do.

    Raises:
        OptionError: an unknown name.
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
        OptionError: it has none, a wrong one, or cannot be read.
    """
    val = read_option_file(file).get('val')
    metrics = val.get('metrics') if isinstance(val, Mapping) else None
    if not isinstance(metrics, Mapping) or not metrics:
        raise OptionError(f'{file}: val.metrics is missing; it must be given.')
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
        results: folders that any program wrote; all are checked before anything is measured.
        reference: folder of the truth; None for sets that have none.
        metrics: entries of ``val.metrics`` by name, see `metric_entries`.
        mod_crop: references are cut to a multiple of it.
        track: wraps an iterable of the given length, for a progress bar.
        share: measures only this share of the images of each folder.
        allow_missing: is told in one message which metrics lack weights, and the others are measured; None refuses.

    Raises:
        DataError: see `match_results`; or metrics lack weights.
        OptionError: a metric that needs references where there are none, or one of whole sets for a share of a set.
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
        raise DataError(f'the folders hold different numbers of images: {listed}; expected the same set in each.')
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
    """Makes our metrics known also where the start-up file that does so is switched off."""
    for module in pkgutil.iter_modules(our_metrics.__path__):
        if module.name.endswith('_metric'):
            import_module(f'{our_metrics.__name__}.{module.name}')


def label_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns folders by a short name each: as many last parts of their paths as tell them apart.

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
