"""pyiqa metrics, by their names in pyiqa: TOPIQ, MUSIQ, CLIP-IQA, MANIQA and about a hundred others."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from metaf2n_arch.metrics.measure import as_tensor, checked_image, checked_pair, measured
from metaf2n_arch.utils.checks import DataError, OptionError, nearest
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.registries import PREFIX, register

OF_SETS = ('fid', 'sfid', 'fid_dinov2', 'inception_score')
"""Metrics of pyiqa for sets of images; use the metric FID of this package for sets."""
SAFE_LOADING = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'


def registered(name: str) -> Mapping[str, Any]:
    """Returns pyiqa's registry entry of a metric: ``metric_mode`` (FR or NR), ``lower_better``, ``score_range``.

    Raises:
        OptionError: the name is unknown or that of a metric of sets, or pyiqa is not installed.
    """
    try:
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError as error:
        reason = str(error).rstrip('.')
        raise OptionError(f'{name} needs pyiqa, which cannot be imported ({reason}); pip install pyiqa.') from None
    if name not in DEFAULT_CONFIGS:
        hint = nearest(str(name), DEFAULT_CONFIGS) or f' Known: {", ".join(DEFAULT_CONFIGS)}.'
        raise OptionError(f'pyiqa has no metric {name!r}.{hint}')
    if name in OF_SETS:
        raise OptionError(f"pyiqa's {name} measures folders, not images; use {{type: FID}}.")
    return DEFAULT_CONFIGS[name]


def is_of_pyiqa(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of ``val.metrics`` names a metric of pyiqa, ``{type: pyiqa, name: ...}``."""
    return str(entry.get('type')).removeprefix(PREFIX) == 'pyiqa'


def known_names() -> list[str]:
    """The names of pyiqa's metrics of single images; empty if pyiqa is not installed."""
    try:
        from pyiqa.default_model_configs import DEFAULT_CONFIGS
    except ImportError:
        return []
    return [name for name in DEFAULT_CONFIGS if name not in OF_SETS]


def direction(name: str) -> str:
    """Returns ``higher`` or ``lower``: which values are better, by pyiqa's registry."""
    return 'lower' if registered(name).get('lower_better') else 'higher'


@functools.lru_cache(maxsize=8)
def _created(name: str, device: torch.device) -> Any:
    """The metric, or the error of its creation, kept because missing weights are missing for every image."""
    from pyiqa import create_metric

    try:
        with _safe_loading():
            return create_metric(name, device=device)
    except Exception as error:  # no network, a damaged file, a missing package: each metric fails in its own way
        line = (str(error).splitlines() or [''])[0][:160] or type(error).__name__
        return DataError(f'{line.rstrip(".")} (pyiqa itself downloads the weights of {name} to {_folder()})')


def _folder() -> str:
    from pyiqa.utils.download_util import DEFAULT_CACHE_DIR

    return str(DEFAULT_CACHE_DIR)


@contextmanager
def _safe_loading() -> Iterator[None]:
    """Makes torch read tensors only: pyiqa by itself allows a weights file to execute code."""
    before = os.environ.get(SAFE_LOADING)
    os.environ[SAFE_LOADING] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_LOADING]
        else:
            os.environ[SAFE_LOADING] = before


def create(name: str, device: str | None = None) -> Any:
    """Returns a metric of pyiqa, created once; pyiqa downloads its weights if they are not on this machine.

    Raises:
        OptionError: the metric is unknown.
        DataError: it cannot be created, most often because its weights cannot be downloaded.
    """
    registered(name)
    made = _created(name, str(pick_device(device)))
    if isinstance(made, DataError):
        raise made
    return made


@register(METRIC_REGISTRY)
@measured
def pyiqa(
    img: np.ndarray,
    img2: np.ndarray | None = None,
    *,
    name: str,
    crop_border: int = 0,
    device: str | None = None,
    better: str | None = None,
) -> float:
    """Metric of pyiqa, for example ``{type: pyiqa, name: topiq_nr}``; range and direction as pyiqa's registry has them.

    Args:
        img: the result, (H, W, 3) BGR or (H, W), uint8.
        img2: the reference, for metrics that need one.
        name: name of the metric in pyiqa: topiq_nr, musiq, clipiqa+, maniqa, ...
        crop_border: pixels left out at each border.
        device: where to compute; the GPU if there is one.
        better: ``higher`` or ``lower``; None takes that of pyiqa.

    Returns:
        The value; NaN if it cannot be measured, with the reason in the log, such as missing weights.
    """
    metric = create(name, device)
    place = pick_device(device)
    if metric.metric_mode == 'NR':
        images = [checked_image('result', img, crop_border)]
    else:
        images = list(checked_pair(img, img2, crop_border))
    value = metric(*(as_tensor(image, place) for image in images))
    return float(value[0] if isinstance(value, tuple) else value)


def check_options(options: Mapping[str, Any], where: str) -> None:
    """Checks an entry of ``val.metrics`` against pyiqa's registry, before anything is built.

    Raises:
        OptionError: the metric is unknown, or `better` contradicts pyiqa.
    """
    try:
        better = direction(str(options.get('name')))
    except OptionError as error:
        raise OptionError(f'{where}.name: {error}') from None
    if options.get('better') not in (None, better):
        raise OptionError(
            f'{where}.better is {options["better"]!r}, but {better} is better by pyiqa; remove the key `better`.'
        )


# Functions about a metric that the check of option files and `models.evaluation` call.
_asked: Any = pyiqa
_asked.check_options = check_options
_asked.direction = lambda entry: direction(entry['name'])
_asked.score_range = lambda entry: registered(entry['name']).get('score_range')
_asked.needs_reference = lambda entry: registered(entry['name'])['metric_mode'] == 'FR'
