"""SSLLoss registered with BasicSR; the loss itself, in `self_similarity.py`, does not import BasicSR."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY

from metaf2n_arch.losses.self_similarity import SSLLoss
from metaf2n_arch.utils.registries import register

__all__ = ['SSLLoss']

register(LOSS_REGISTRY)(SSLLoss)
