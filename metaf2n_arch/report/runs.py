"""Run of an experiment: reads its metrics, logs, options and pictures from its folders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaf2n_arch.images.formats import is_image_name
from metaf2n_arch.models.evaluation import RESULT, UNADAPTED
from metaf2n_arch.report.log import Series, series_of
from metaf2n_arch.report.plain import plain_name, plain_path
from metaf2n_arch.run import record
from metaf2n_arch.utils.checks import DataError, nearest
from metaf2n_arch.weights.records import training_record

_OPEN, _CLOSE = re.compile(r'^\s+([\w.-]+):\[$'), re.compile(r'^\s+\]$')
_VALUE = re.compile(r'^\s+([\w.-]+): (.*)$')


@dataclass(frozen=True)
class Measured:
    """Metrics of one data set, from ``metrics_<name>.json``; missing values are left out.

    Attributes:
        dataset: name of the data set.
        iteration: iteration of the training, or name of the test.
        mean: variant of the output (`RESULT` or `UNADAPTED`) -> metric -> mean over the images.
        images: variant -> metric -> image -> value.
        folder: folder of the experiment, which also has the pictures.
    """

    dataset: str
    iteration: int | str
    mean: dict[str, dict[str, float]]
    images: dict[str, dict[str, dict[str, float]]]
    folder: Path

    def of_image(self, image: str, variant: str = RESULT) -> dict[str, float]:
        """Returns metric -> value of one image."""
        return {metric: values[image] for metric, values in self.images.get(variant, {}).items() if image in values}

    @property
    def names(self) -> list[str]:
        """Names of all images that were measured."""
        return sorted({image for metrics in self.images.values() for values in metrics.values() for image in values})


History = list[tuple[int, dict[str, dict[str, float]]]]


@dataclass
class Run:
    """One experiment: everything that training and testing under its name have written.

    Attributes:
        name: name of the experiment.
        root: working folder of the run; relative paths in its options refer to it.
        measured: data set -> metrics; those of a test if there is one, otherwise of the last validation.
        history: data set -> (iteration, variant -> metric -> value) of each validation in training.
        series: logged quantities over iterations; empty without a training log.
        options: options of the run as nested mappings of texts, from its record, or from its newest log.
    """

    name: str
    root: Path
    measured: dict[str, Measured] = field(default_factory=dict)
    history: dict[str, History] = field(default_factory=dict)
    series: Series = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def trained_for(self, dataset: str) -> str:
        """The iteration of the measured weights, in words; the name of their file if the iteration is not known."""
        iteration = self.measured[dataset].iteration
        if isinstance(iteration, int):
            return f'iteration {iteration:,}'
        given = _given(self.options.get('path', {}).get('pretrain_network_g'))
        if given is None:
            return 'weights unknown'
        file = Path(given)
        found = re.search(r'_(\d+)$', file.stem)
        if found:
            return f'iteration {int(found[1]):,}'
        record = training_record(self.root / file) if (self.root / file).is_file() else None
        known = record is not None and record.iteration
        return f'iteration {record.iteration:,}' if record is not None and known else f'weights {plain_name(file.name)}'

    def dataset(self, name: str) -> dict[str, Any]:
        """Returns the options of a data set of this name, or an empty mapping."""
        blocks = [block for block in self.options.get('datasets', {}).values() if isinstance(block, dict)]
        return next((block for block in blocks if block.get('name') == name), {})

    def picture(self, dataset: str, image: str, variant: str = RESULT) -> Path | None:
        """Returns the file of a restored image, or None if none was saved."""
        measured = self.measured[dataset]
        suffix = _given(self.options.get('val', {}).get('suffix')) or self.name
        test = measured.folder / 'visualization' / dataset / f'{image}_{suffix}.png'
        files = [test] if test.is_file() else sorted((measured.folder / 'visualization' / image).glob(f'{image}_*.png'))
        if not files:
            return None
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        path = newest if variant == RESULT else newest.parent / UNADAPTED / newest.name
        return path if path.is_file() else None

    def source(self, dataset: str, image: str, side: str) -> Path | None:
        """Returns the file of an image of a data set; None if it is not there any more.

        Args:
            dataset: name of the data set.
            image: name of the image in the metrics.
            side: ``lq`` or ``gt``.
        """
        block = self.dataset(dataset)
        folder = _given(block.get(f'dataroot_{side}'))
        if folder is None and _given(block.get('dataroot')) is not None:
            folder = f'{block["dataroot"]}/{side.upper()}'
        if folder is None:
            return None
        template = _given(block.get('filename_tmpl')) or '{}'
        stems = {image, template.format(image)} if side == 'lq' else {image, _without(template, image)}
        place = self.root / Path(folder).expanduser()
        found = [p for stem in sorted(stems) for p in place.glob(f'{_escaped(stem)}.*') if is_image_name(p)]
        return min(found, default=None)


def read_run(experiment: str | Path) -> Run:
    """Reads an experiment, given by its name or by its folder in ``experiments/`` or ``results/``.

    Raises:
        DataError: there is no such experiment, or it has neither metrics nor a training log.
    """
    path = Path(experiment).expanduser()
    if not path.is_dir():
        known = {p.name for parent in ('experiments', 'results') for p in Path(parent).glob('*') if p.is_dir()}
        if path.name not in known or len(path.parts) > 1:
            hint = nearest(path.name, known) or (f' Known: {", ".join(sorted(known))}.' if known else '')
            raise DataError(f'there is no experiment {experiment} in experiments/ or results/.{hint}')
        path = Path('experiments') / path.name
    path = path.absolute()
    beside = path.parent.name in ('experiments', 'results')
    root = path.parent.parent if beside else path
    folders = [root / parent / path.name for parent in ('experiments', 'results')] if beside else [path]
    run = Run(plain_name(path.name), root)
    for folder in folders:
        for file in sorted(folder.glob('metrics_*.json')):
            measured = _read_metrics(file)
            run.measured[measured.dataset] = measured
            if history := _read_history(file):
                run.history[measured.dataset] = history
    logs = _logs(folders)
    run.series = series_of(folders)
    run.options = _recorded_options(folders, logs)
    if not run.measured and not run.series:
        raise DataError(
            f'{path} has neither metrics_*.json nor a training log with values, so nothing can be reported; train or'
            ' test first.'
        )
    return run


def _recorded_options(folders: list[Path], logs: list[Path]) -> dict[str, Any]:
    """The options of the newest run: from the record of the training, or from the log of a test that came later."""
    records = [folder / record.FILE for folder in folders if record.read(folder).get('starts')]
    newest = max([*records, *logs], key=lambda path: path.stat().st_mtime_ns, default=None)
    if records and (newest in records or (newest is not None and newest.name.startswith('train_'))):
        return _texts(record.read(records[-1].parent)['starts'][-1]['options'])
    options: dict[str, Any] = {}
    for log in logs:
        options = read_options(log) or options
    return options


def _texts(options: dict[str, Any]) -> dict[str, Any]:
    """Options with all values as texts, as in a log."""
    return {key: _texts(value) if isinstance(value, dict) else str(value) for key, value in options.items()}


def _logs(folders: list[Path]) -> list[Path]:
    found = [log for folder in folders for pattern in ('train_*.log', 'test_*.log') for log in folder.glob(pattern)]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def _read_metrics(file: Path) -> Measured:
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
        mean = {plain_name(v): _present(metrics, plain_name) for v, metrics in content['mean'].items()}
        images = {
            plain_name(v): {plain_name(m): _present(x, plain_path) for m, x in metrics.items()}
            for v, metrics in content['images'].items()
        }
        iteration = content['iteration'] if isinstance(content['iteration'], int) else plain_name(content['iteration'])
        return Measured(plain_name(content['dataset']), iteration, mean, images, file.parent)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f'{file} cannot be read as metrics of a validation; run the test again.') from None


def _read_history(file: Path) -> History:
    """The validations of a training, in order; empty for a test and for files of earlier versions."""
    try:
        entries = json.loads(file.read_text(encoding='utf-8')).get('history') or []
        return [
            (int(entry['iteration']), {plain_name(v): _present(m, plain_name) for v, m in entry['mean'].items()})
            for entry in entries
        ]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f'{file} cannot be read as metrics of a training; run the validation again.') from None


def _present(values: dict[str, float | None], plain: Callable[[object], str]) -> dict[str, float]:
    return {plain(name): float(value) for name, value in values.items() if value is not None}


def read_options(log: Path) -> dict[str, Any]:
    """Returns the options that BasicSR prints at the beginning of a log, values as texts; empty if there are none."""
    root: dict[str, Any] = {}
    stack = [root]
    for line in _option_lines(log):
        if opened := _OPEN.match(line):
            block: dict[str, Any] = {}
            stack[-1][opened[1]] = block
            stack.append(block)
        elif _CLOSE.match(line):
            if len(stack) > 1:
                stack.pop()
        elif value := _VALUE.match(line):
            stack[-1][value[1]] = value[2]
    return root


def _option_lines(log: Path) -> Iterator[str]:
    """The lines with the options: from the name of the run to the next message."""
    begun = False
    for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
        begun = begun or line.startswith('  name: ')
        if begun and ' INFO: ' in line:
            return
        if begun:
            yield line


def _given(value: str | None) -> str | None:
    return None if value in (None, 'None', '') else value


def _without(template: str, image: str) -> str:
    """Removes what ``filename_tmpl`` adds to a name: results have the name of the low-quality image."""
    before, _, after = template.partition('{}')
    return image.removeprefix(before).removesuffix(after)


def _escaped(stem: str) -> str:
    return re.sub(r'([\[*?])', r'[\1]', stem)
