"""Metric values of a set of images: variants of an output, missing values, metrics over a set, several processes.

BasicSR averages one number per image and metric. There a single NaN makes the mean NaN, and a metric over a whole set,
such as FID, is not possible.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from metaf2n_arch.metrics.sets import SetMetric
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.files import write_whole
from metaf2n_arch.weights.needs import needs_of
from metaf2n_arch.weights.search import is_here, locate_all

Image = np.ndarray
RESULT, UNADAPTED = 'result', 'unadapted'
LOWER_OF_HOST = {'calculate_niqe': 'lower'}
"""Metrics of BasicSR of which a lower value is better, and which do not say so themselves."""


class MetricTable:
    """Metric values by variant of the output, metric and image; NaN is a value that could not be computed."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, variant: str, metric: str, image: str, value: float) -> None:
        """Adds one value."""
        self.values.setdefault(variant, {}).setdefault(metric, {})[image] = float(value)

    def merge(self, other: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        """Adds the values of another table: variant -> metric -> image -> value."""
        for variant, metrics in other.items():
            for metric, images in metrics.items():
                for image, value in images.items():
                    self.add(variant, metric, image, value)

    def mean(self, variant: str, metric: str) -> float:
        """Mean over the images that have a value; NaN if none has."""
        present = [v for v in self.values.get(variant, {}).get(metric, {}).values() if not math.isnan(v)]
        return sum(present) / len(present) if present else math.nan

    def missing(self, variant: str, metric: str) -> int:
        """Number of images whose value could not be computed."""
        return sum(math.isnan(v) for v in self.values.get(variant, {}).get(metric, {}).values())


class Evaluator:
    """Computes the metrics of ``val.metrics`` for one data set, per image and over the set.

    Args:
        options: name -> ``{type, ...}``. A type that is a function gives a value per image; a class is a `SetMetric`.
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.table = MetricTable()
        self.variants: dict[str, None] = {}
        self.per_image: dict[str, dict[str, Any]] = {}
        self._set_options: dict[str, dict[str, Any]] = {}
        self._set_metrics: dict[tuple[str, str], SetMetric] = {}
        for name, entry in options.items():
            target = self._set_options if inspect.isclass(METRIC_REGISTRY.get(entry['type'])) else self.per_image
            target[name] = _taken(entry)

    def add(self, image_name: str, variant: str, image: Image, gt: Image | None) -> dict[str, float]:
        """Evaluates one image, and returns its values by metric.

        Args:
            image_name: name of the image in the table.
            variant: ``result`` or ``unadapted``.
            image: (H, W, 3) uint8 BGR, as BasicSR's metrics expect it.
            gt: ground truth in the same form; None gives NaN for metrics that need it.
        """
        self.variants[variant] = None
        values = {}
        for name, options in self.per_image.items():
            values[name] = self._value(options, image, gt)
            self.table.add(variant, name, image_name, values[name])
        for name in self._set_options:
            self._set_metric(variant, name).update(image, gt)
        return values

    def _value(self, options: dict[str, Any], image: Image, gt: Image | None) -> float:
        needs_gt = _needs_reference(options)
        if needs_gt and gt is None:
            return math.nan
        data = {'img': image} if gt is None else {'img': image, 'img2': gt}
        try:
            return float(calculate_metric(data, options))
        except (ArithmeticError, ValueError, RuntimeError, AssertionError, np.linalg.LinAlgError) as error:
            get_root_logger().warning(f'Metric {options["type"]} cannot be computed for this image: {error}')
            return math.nan

    def _set_metric(self, variant: str, name: str) -> SetMetric:
        if (variant, name) not in self._set_metrics:
            options = dict(self._set_options[name])
            options.pop('better', None)
            self._set_metrics[variant, name] = METRIC_REGISTRY.get(options.pop('type'))(**options)
        return self._set_metrics[variant, name]

    def finish(self, gather: bool = True) -> dict[str, dict[str, float]]:
        """Returns variant -> metric -> value over the set, the same on every rank.

        Args:
            gather: whether to use the values of all processes; then every process must call this.
        """
        if gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self._gather()
        result: dict[str, dict[str, float]] = {}
        for variant in self.variants or {RESULT: None}:
            result[variant] = {name: self.table.mean(variant, name) for name in self.per_image}
            for name in self._set_options:
                result[variant][name] = float(self._set_metric(variant, name).compute())
        return result

    def _gather(self) -> None:
        """Merges the values of all processes; a process may have had no image, and so know no variant."""
        states = {key: metric.state() for key, metric in self._set_metrics.items()}
        gathered: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, (list(self.variants), self.table.values, states))
        for variants, values, _ in gathered:
            self.variants.update(dict.fromkeys(variants))
            self.table.merge(values)
        for variant in self.variants:
            for name in self._set_options:
                parts = [state[variant, name] for _, _, state in gathered if (variant, name) in state]
                self._set_metric(variant, name).merge(parts)


def _taken(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of ``val.metrics``, without the key ``better`` if the metric does not accept it."""
    parameters = inspect.signature(METRIC_REGISTRY.get(entry['type'])).parameters
    takes = 'better' in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    return {key: value for key, value in entry.items() if key != 'better' or takes}


def better_of(entry: Mapping[str, Any]) -> str:
    """Returns ``higher`` or ``lower``: the key ``better`` of an entry of ``val.metrics``, or the metric's own."""
    if entry.get('better'):
        return str(entry['better'])
    part = METRIC_REGISTRY.get(entry['type'])
    if hasattr(part, 'direction'):
        return str(part.direction(entry))
    own = inspect.signature(part).parameters.get('better')
    if own is not None and own.default in ('higher', 'lower'):
        return str(own.default)
    return LOWER_OF_HOST.get(entry['type'], 'higher')


def without_weights(metrics: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], str]:
    """Returns the metrics whose weights are not on this machine, and one message about all of them, with the remedy.

    Args:
        metrics: entries of ``val.metrics`` by name. Metrics of pyiqa are created; pyiqa downloads its own weights.
    """
    from metaf2n_arch.metrics.pyiqa_metric import create, is_of_pyiqa

    wanted: dict[str, str] = {}
    names, reasons = [], []
    for name, entry in metrics.items():
        files = [file for file in needs_of({'val': {'metrics': {name: entry}}}).optional if not is_here(file)]
        wanted.update(dict.fromkeys(files, f'the metric {name}'))
        if is_of_pyiqa(entry):
            try:
                create(entry['name'], entry.get('device'))
            except DataError as error:
                reasons.append(f'the metric {name}: {error}.')
                files.append(name)
        names += [name] if files else []
    try:
        locate_all(wanted)
    except DataError as error:
        reasons.insert(0, str(error))
    return names, ' '.join(reasons)


def to_images(visuals: Mapping[str, Tensor]) -> dict[str, Image]:
    """(1, 3, H, W) RGB in [0, 1] -> (H, W, 3) uint8 BGR, rounded as BasicSR does."""
    return {name: tensor2img([tensor]) for name, tensor in visuals.items()}


def write_json(target: Path, content: Any) -> None:
    """Writes a JSON file as `write_whole` does; NaN becomes null."""
    write_whole(target, json.dumps(_without_nan(content), indent=1, ensure_ascii=False))


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {k: _without_nan(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(v) for v in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _needs_reference(entry: Mapping[str, Any]) -> bool:
    metric = METRIC_REGISTRY.get(entry['type'])
    if hasattr(metric, 'needs_reference'):
        return bool(metric.needs_reference(entry))
    parameter = inspect.signature(metric).parameters.get('img2')
    return parameter is not None and parameter.default is inspect.Parameter.empty
