"""Validation that knows variants of an output, missing values, set-level metrics and several processes.

The stock loop averages one number per image and metric; a NaN poisons the mean, a metric over a whole set (FID) cannot
be expressed, and rank 0 works alone while the others run into their time-out.
"""

from __future__ import annotations

import inspect
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import METRIC_REGISTRY
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from metaf2n_arch.models.image_grid import image_grid

Image = np.ndarray
RESULT, UNADAPTED = 'result', 'unadapted'
MAX_GRIDS = 8
"""How many images of a set tensorboard shows at each validation."""


class MetricTable:
    """Metric values by variant of the output, metric and image; NaN stands for a value that could not be computed."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, dict[str, float]]] = {}

    def add(self, variant: str, metric: str, image: str, value: float) -> None:
        self.values.setdefault(variant, {}).setdefault(metric, {})[image] = float(value)

    def merge(self, other: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
        for variant, metrics in other.items():
            for metric, images in metrics.items():
                for image, value in images.items():
                    self.add(variant, metric, image, value)

    def mean(self, variant: str, metric: str) -> float:
        """Mean over the images that have a value; NaN if none has."""
        present = [v for v in self.values.get(variant, {}).get(metric, {}).values() if not math.isnan(v)]
        return sum(present) / len(present) if present else math.nan

    def missing(self, variant: str, metric: str) -> int:
        return sum(math.isnan(v) for v in self.values.get(variant, {}).get(metric, {}).values())


class Evaluator:
    """Computes the metrics of ``val.metrics`` for one data set, image by image and over the set.

    Args:
        options: name -> ``{type, ...}``; a function of the registry counts per image, a class is a set-level metric
            with ``update(img, img2)``, ``state()``, ``merge(states)`` and ``compute()``.
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.table = MetricTable()
        self.variants: dict[str, None] = {}
        self.per_image: dict[str, dict[str, Any]] = {}
        self._set_options: dict[str, dict[str, Any]] = {}
        self._set_metrics: dict[tuple[str, str], Any] = {}
        for name, entry in options.items():
            target = self._set_options if inspect.isclass(METRIC_REGISTRY.get(entry['type'])) else self.per_image
            target[name] = dict(entry)

    def add(self, image_name: str, variant: str, image: Image, gt: Image | None) -> dict[str, float]:
        """Evaluates one image, (H, W, 3) uint8 BGR as the host's metrics want it; returns its per-image values."""
        self.variants[variant] = None
        values = {}
        for name, options in self.per_image.items():
            values[name] = self._value(options, image, gt)
            self.table.add(variant, name, image_name, values[name])
        for name in self._set_options:
            self._set_metric(variant, name).update(image, gt)
        return values

    def _value(self, options: dict[str, Any], image: Image, gt: Image | None) -> float:
        needs_gt = _needs_reference(METRIC_REGISTRY.get(options['type']))
        if needs_gt and gt is None:
            return math.nan
        data = {'img': image} if gt is None else {'img': image, 'img2': gt}
        try:
            return float(calculate_metric(data, options))
        except (ArithmeticError, ValueError, RuntimeError, AssertionError, np.linalg.LinAlgError) as error:
            get_root_logger().warning(f'Metric {options["type"]} cannot be computed for this image: {error}')
            return math.nan

    def _set_metric(self, variant: str, name: str) -> Any:
        if (variant, name) not in self._set_metrics:
            options = dict(self._set_options[name])
            options.pop('better', None)
            self._set_metrics[variant, name] = METRIC_REGISTRY.get(options.pop('type'))(**options)
        return self._set_metrics[variant, name]

    def finish(self) -> dict[str, dict[str, float]]:
        """Gathers all processes' values; returns variant -> metric -> value over the set, the same on every rank."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            self._gather()
        result: dict[str, dict[str, float]] = {}
        for variant in self.variants or {RESULT: None}:
            result[variant] = {name: self.table.mean(variant, name) for name in self.per_image}
            for name in self._set_options:
                result[variant][name] = float(self._set_metric(variant, name).compute())
        return result

    def _gather(self) -> None:
        """A process may have had no image at all; what the others have then decides what there is."""
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


class ValidationMixin:
    """`nondist_validation` and `dist_validation` of our models, in place of the stock ones.

    A model's `get_current_visuals` returns ``result``, and ``unadapted``, ``gt``, ``lq`` where there are: (1, 3, H, W)
    RGB in [0, 1]. Every metric is reported for each variant of the output.
    """

    opt: dict[str, Any]
    feed_data: Callable[[Any], None]
    test: Callable[[], None]
    get_current_visuals: Callable[[], Mapping[str, Tensor]]
    best_metric_results: dict[str, Any]
    _initialize_best_metric_results: Callable[[str], None]
    _update_best_metric_result: Callable[..., None]

    def dist_validation(self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        share = range(self.opt['rank'], len(dataloader.dataset), self.opt['world_size'])  # type: ignore[arg-type]
        self._validate(Subset(dataloader.dataset, share), dataloader.dataset, current_iter, tb_logger, save_img)

    def nondist_validation(
        self, dataloader: DataLoader, current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        self._validate(dataloader.dataset, dataloader.dataset, current_iter, tb_logger, save_img)

    def _validate(self, images: Any, dataset: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        name = dataset.opt['name']
        options = self.opt.get('val') or {}
        evaluator = Evaluator(options.get('metrics') or {})
        self.start_validation()
        loader = DataLoader(images, batch_size=1, shuffle=False, num_workers=0)
        silent = not options.get('pbar', False) or self.opt['rank'] != 0
        for number, data in enumerate(track(loader, description=f'Validating {name}', disable=silent, transient=True)):
            image_name = Path(data['lq_path'][0]).stem
            self.feed_data(data)
            self.test()
            made = self.get_current_visuals()
            if tb_logger and number < MAX_GRIDS:
                tb_logger.add_image(f'images/{name}/{image_name}', self.grid_of(made), current_iter)
            visuals = to_images(made)
            gt = visuals.get('gt')
            for variant in (RESULT, UNADAPTED):
                if variant in visuals:
                    evaluator.add(image_name, variant, visuals[variant], gt)
            if save_img:
                self._save_visuals(visuals, name, image_name, current_iter)
        result, notes = evaluator.finish(), summed_over_processes(self.validation_notes())
        if self.opt['rank'] == 0:
            self._report(evaluator, result, notes, name, current_iter, tb_logger)

    def grid_of(self, visuals: Mapping[str, Tensor]) -> Tensor:
        """The picture that tensorboard shows of one image, see `image_grid`."""
        return image_grid(visuals)

    def start_validation(self) -> None:
        """Called before the first image, for counters of a model."""

    def validation_notes(self) -> dict[str, float]:
        """Further counts of this validation to log, such as the number of images without faces; summed over ranks."""
        return {}

    def _save_visuals(self, visuals: dict[str, Image], dataset: str, image: str, current_iter: int | str) -> None:
        folder = Path(self.opt['path']['visualization'])
        if self.opt['is_train']:
            target = folder / image / f'{image}_{current_iter}.png'
        else:
            suffix = (self.opt.get('val') or {}).get('suffix') or self.opt['name']
            target = folder / dataset / f'{image}_{suffix}.png'
        imwrite(visuals[RESULT], str(target))
        if UNADAPTED in visuals and (self.opt.get('val') or {}).get('save_unadapted', False):
            # Beside the results, not among them, so that a folder of results can be evaluated as it is.
            imwrite(visuals[UNADAPTED], str(target.parent / UNADAPTED / target.name))

    def _report(
        self,
        evaluator: Evaluator,
        result: dict[str, dict[str, float]],
        notes: Mapping[str, float],
        dataset: str,
        current_iter: int | str,
        tb_logger: Any,
    ) -> None:
        metrics = result[RESULT]
        self.metric_results = metrics
        lines = [f'Validation {dataset}']
        for metric, value in metrics.items():
            lines.append(self._metric_line(evaluator, result, dataset, metric, value, current_iter))
        lines.extend(f'\t # {note}: {value:g}' for note, value in notes.items())
        get_root_logger().info('\n'.join(lines) + '\n')
        if tb_logger:
            for variant, values in result.items():
                for metric, value in values.items():
                    label = metric if variant == RESULT else f'{metric}_{variant}'
                    tb_logger.add_scalar(f'metrics/{dataset}/{label}', value, current_iter)
        root = self.opt['path']['experiments_root' if self.opt['is_train'] else 'results_root']
        content = {'dataset': dataset, 'iteration': current_iter, 'mean': result, 'notes': notes}
        write_json(Path(root) / f'metrics_{dataset}.json', {**content, 'images': evaluator.table.values})

    def _metric_line(
        self, evaluator: Evaluator, result: Any, dataset: str, metric: str, value: float, current_iter: int | str
    ) -> str:
        if math.isnan(value):
            return f'\t # {metric}: missing'
        line = f'\t # {metric}: {value:.4f}'
        if UNADAPTED in result:
            before = result[UNADAPTED][metric]
            line += f' (before adaptation {before:.4f}, gain {value - before:+.4f})'
        missing = evaluator.table.missing(RESULT, metric)
        if missing:
            line += f' (missing for {missing} images)'
        if self.opt['is_train']:
            self._initialize_best_metric_results(dataset)
            self._update_best_metric_result(dataset, metric, value, current_iter)
            best = self.best_metric_results[dataset][metric]
            line += f'\tBest: {best["val"]:.4f} @ {best["iter"]} iter'
        return line


def summed_over_processes(counts: Mapping[str, float]) -> Mapping[str, float]:
    """The sum of each named count over all processes."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return counts
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, dict(counts))
    return {name: sum(each[name] for each in gathered) for name in counts}


def to_images(visuals: Mapping[str, Tensor]) -> dict[str, Image]:
    """(1, 3, H, W) RGB in [0, 1] -> (H, W, 3) uint8 BGR, by the host's own rounding."""
    return {name: tensor2img([tensor]) for name, tensor in visuals.items()}


def write_json(target: Path, content: Any) -> None:
    """Writes a JSON file as a whole or not at all; NaN becomes null."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix('.json.tmp')
    temporary.write_text(json.dumps(_without_nan(content), indent=1, ensure_ascii=False), encoding='utf-8')
    os.replace(temporary, target)


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {k: _without_nan(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(v) for v in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _needs_reference(metric: Any) -> bool:
    parameter = inspect.signature(metric).parameters.get('img2')
    return parameter is not None and parameter.default is inspect.Parameter.empty
