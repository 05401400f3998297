"""Meta-learning (floor 1): the inner loop and the exact gradient through it, as functions of parameters."""

from metaf2n_arch.meta.inner import Adaptation, adapt
from metaf2n_arch.meta.outer import MODES, MetaGradient, meta_gradient
from metaf2n_arch.meta.params import InnerLoss, OuterTerm, Params, functional, select
from metaf2n_arch.meta.schedule import step_weights
from metaf2n_arch.meta.tasks import accumulate, assign_gradients

__all__ = [
    'MODES',
    'Adaptation',
    'InnerLoss',
    'MetaGradient',
    'OuterTerm',
    'Params',
    'accumulate',
    'adapt',
    'assign_gradients',
    'functional',
    'meta_gradient',
    'select',
    'step_weights',
]
