"""The registered shell of the self-similarity loss, which itself needs nothing of BasicSR."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY

from metaf2n_arch.losses.self_similarity import SSLLoss

__all__ = ['SSLLoss']

LOSS_REGISTRY.register()(SSLLoss)
