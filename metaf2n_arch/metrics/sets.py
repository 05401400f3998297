"""Metrics of a whole set of images, gathered image by image, on one process or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor


@runtime_checkable
class SetMetric(Protocol):
    """The interface of a metric of a set of images, for validation loops.

    A registered *class* is a set metric, a registered function a metric of one image. One instance serves one
    validation of one data set: `update` per image, `merge` once if there are several processes, then `compute`.
    """

    def update(self, img: np.ndarray, img2: np.ndarray | None = None) -> None:
        """Adds one result and its reference: (H, W, 3) BGR, uint8, as for `calculate_metric`."""

    def state(self) -> dict[str, Tensor]:
        """Returns the state after all updates: CPU tensors, with the same names and shapes on every process."""

    def merge(self, states: Iterable[Mapping[str, Tensor]]) -> None:
        """Replaces the state by the union of `states`: one of each process, this one's included."""

    def compute(self) -> float:
        """Returns the metric; NaN if it cannot be computed, with the reason in the log."""


class SummedSetMetric:
    """A set metric whose state consists of sums, so that the union of several states is their sum."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def state(self) -> dict[str, Tensor]:
        return {name: total.clone() for name, total in self.sums.items()}

    def merge(self, states: Iterable[Mapping[str, Tensor]]) -> None:
        states = list(states)
        self.sums = {name: torch.stack([state[name] for state in states]).sum(0) for name in self.sums}
