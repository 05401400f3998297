"""The registered shell of the self-similarity loss, which itself needs nothing of BasicSR."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY

from metaf2n_arch.losses.self_similarity import SSLLoss
from metaf2n_arch.utils.registries import register

__all__ = ['SSLLoss']

register(LOSS_REGISTRY)(SSLLoss)
