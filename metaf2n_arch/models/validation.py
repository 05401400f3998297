"""Validation on one data set: restore, evaluate, save, report; the images are divided among the processes.

In BasicSR rank 0 validates alone while the others wait, until their collective call times out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch.distributed as dist
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from metaf2n_arch.images.writing import write_image
from metaf2n_arch.models.evaluation import RESULT, UNADAPTED, Evaluator, Image, better_of, to_images, write_json
from metaf2n_arch.models.image_grid import image_grid
from metaf2n_arch.models.optimizers import at_average
from metaf2n_arch.utils.numbers import rounded

MAX_GRIDS = 8
"""Largest number of images of a data set that TensorBoard shows at each validation."""


class ValidationMixin:
    """`nondist_validation` and `dist_validation` for the models of this package, and hooks that they may override.

    A model's `get_current_visuals` returns ``result`` and, if available, ``unadapted``, ``gt`` and ``lq``:
    (1, 3, H, W) RGB in [0, 1]. Every metric is reported for ``result`` and for ``unadapted``.
    """

    def dist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Validates on one data set, with all processes; see `Validation`."""
        Validation(self, dataloader, current_iter, tb_logger, save_img).run()

    nondist_validation = dist_validation

    def grid_of(self, visuals: Mapping[str, Tensor]) -> Tensor:
        """Returns the image grid that TensorBoard shows for one image, see `image_grid`."""
        return image_grid(visuals)

    def start_validation(self) -> None:
        """Called before the first image, to reset the counters of a model."""

    def validation_notes(self) -> dict[str, float]:
        """Returns further counts to log, for example of images without faces; they are summed over the processes."""
        return {}


class Validation:
    """Validates any model that follows BasicSR's `SRModel` on one data set.

    Args:
        model: has ``opt``, ``feed_data``, ``test`` and ``get_current_visuals``; the hooks of `ValidationMixin` are
            optional.
        loader: loads the images, one at a time; the name of the data set is its ``opt['name']``. Each process takes
            every world_size-th image.
        current_iter: iteration, or the name of a test run.
        tb_logger: TensorBoard writer or None.
        save_img: whether to write the restored images.
        alone: whether this process takes all images, without the other processes.
    """

    def __init__(
        self, model: Any, loader: Any, current_iter: int | str, tb_logger: Any, save_img: bool, alone: bool = False
    ) -> None:
        self.model = model
        self.opt = model.opt
        self.options = self.opt.get('val') or {}
        self.loader = loader
        self.name = loader.dataset.opt['name']
        self.alone = alone or self.opt.get('world_size', 1) == 1
        self.rank = 0 if alone else self.opt.get('rank', 0)
        self.current_iter = current_iter
        self.tb_logger = tb_logger
        self.save_img = save_img
        metrics = self.options.get('metrics') or {}
        for entry in metrics.values():  # BasicSR's record of the best values reads it
            entry.setdefault('better', better_of(entry))
        self.evaluator = Evaluator(metrics)

    def run(self) -> None:
        """Restores and evaluates this process's share, gathers, and reports on rank 0."""
        self._hook('start_validation')
        with at_average(getattr(self.model, 'optimizers', [])):
            for number, data in enumerate(self._shown(self._share())):
                self._image(number, data)
        result = self.evaluator.finish(gather=not self.alone)
        notes = self._hook('validation_notes') or {}
        notes = notes if self.alone else summed_over_processes(notes)
        for schedule in getattr(self.model, 'schedulers', []):
            if hasattr(schedule, 'observe'):
                schedule.observe(self.name, result[RESULT], self.current_iter)
        if self.rank == 0:
            self._report(result, notes)

    def _share(self) -> Iterable[Mapping[str, Any]]:
        """The images of this process; if it takes all of them, the loader itself."""
        if self.alone:
            return self.loader
        dataset, processes = self.loader.dataset, self.opt['world_size']
        if isinstance(dataset, IterableDataset):
            return islice(self.loader, self.rank, None, processes)
        share = Subset(dataset, range(self.rank, len(dataset), processes))
        return DataLoader(share, batch_size=1, shuffle=False, num_workers=0, collate_fn=self.loader.collate_fn)

    def _shown(self, images: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
        if not self.options.get('pbar', False) or self.rank != 0:
            return images
        from rich.progress import track

        return track(images, description=f'Validating {self.name}', transient=True)

    def _hook(self, name: str, *arguments: Any) -> Any:
        hook = getattr(self.model, name, None)
        return None if hook is None else hook(*arguments)

    def _image(self, number: int, data: Mapping[str, Any]) -> None:
        image_name = Path(data['lq_path'][0]).stem
        self.model.feed_data(data)
        self.model.test()
        made = self.model.get_current_visuals()
        if self.tb_logger and number < MAX_GRIDS:
            grid = self._hook('grid_of', made)
            if grid is not None:
                self.tb_logger.add_image(f'images/{self.name}/{image_name}', grid, self.current_iter)
        visuals = to_images({name: made[name] for name in (RESULT, UNADAPTED, 'gt') if name in made})
        for variant in (RESULT, UNADAPTED):
            if variant in visuals:
                self.evaluator.add(image_name, variant, visuals[variant], visuals.get('gt'))
        if self.save_img:
            self._save(visuals, image_name)

    def _save(self, visuals: dict[str, Image], image: str) -> None:
        folder = Path(self.opt['path']['visualization'])
        if self.opt['is_train']:
            target = folder / image / f'{image}_{self.current_iter}.png'
        else:
            target = folder / self.name / f'{image}_{self.options.get("suffix") or self.opt["name"]}.png'
        _write(target, visuals[RESULT])
        if UNADAPTED in visuals and self.options.get('save_unadapted', False):
            # In a subfolder, so that the folder of results can be evaluated as it is.
            _write(target.parent / UNADAPTED / target.name, visuals[UNADAPTED])

    def _report(self, result: dict[str, dict[str, float]], notes: Mapping[str, float]) -> None:
        self.model.metric_results = result[RESULT]
        lines = [f'Validation {self.name}', *(self._metric_line(result, metric) for metric in result[RESULT])]
        lines.extend(f'\t # {note}: {value:g}' for note, value in notes.items())
        get_root_logger().info('\n'.join(lines) + '\n')
        if self.tb_logger:
            for variant, values in result.items():
                for metric, value in values.items():
                    label = metric if variant == RESULT else f'{metric}_{variant}'
                    self.tb_logger.add_scalar(f'metrics/{self.name}/{label}', value, self.current_iter)
        root = self.opt['path'].get('experiments_root' if self.opt['is_train'] else 'results_root')
        if root is not None:  # another program may validate without a folder
            target = Path(root) / f'metrics_{self.name}.json'
            content = {'dataset': self.name, 'iteration': self.current_iter, 'mean': result, 'notes': dict(notes)}
            if self.opt['is_train']:
                content['history'] = with_history(target, self.current_iter, result)
            write_json(target, {**content, 'images': self.evaluator.table.values})

    def _metric_line(self, result: Mapping[str, Mapping[str, float]], metric: str) -> str:
        value = result[RESULT][metric]
        if math.isnan(value):
            return f'\t # {metric}: missing'
        line = f'\t # {metric}: {rounded(value):.4f}'
        if UNADAPTED in result:
            before = result[UNADAPTED][metric]
            lower_is_better = self.options['metrics'][metric].get('better') == 'lower'
            gain = before - value if lower_is_better else value - before
            line += f' (before adaptation {rounded(before):.4f}, gain {rounded(gain):+.4f})'
        missing = self.evaluator.table.missing(RESULT, metric)
        if missing:
            line += f' (missing for {missing} images)'
        if self.opt['is_train']:
            self.model._initialize_best_metric_results(self.name)
            self.model._update_best_metric_result(self.name, metric, value, self.current_iter)
            best = self.model.best_metric_results[self.name][metric]
            line += f'\tBest: {rounded(best["val"]):.4f} @ {best["iter"]} iter'
        return line


def with_history(file: Path, iteration: int | str, mean: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Returns the means of all validations up to this one; those that a resumed training repeats are replaced."""
    try:
        known = json.loads(file.read_text(encoding='utf-8'))['history']
        earlier = [entry for entry in known if entry['iteration'] < iteration]
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    return [*earlier, {'iteration': iteration, 'mean': mean}]


def _write(target: Path, image: Image) -> None:
    write_image(target, image[..., ::-1] if image.ndim == 3 else image)


def summed_over_processes(counts: Mapping[str, float]) -> Mapping[str, float]:
    """Returns the sum of each count over all processes."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return counts
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, dict(counts))
    return {name: sum(each[name] for each in gathered) for name in counts}
