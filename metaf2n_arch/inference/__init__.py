"""Floor 4: one photo restored: the networks and their options, the inner step, and what came of it."""

from metaf2n_arch.inference.metaf2n import MetaF2N
from metaf2n_arch.inference.restoration import Opened, Restoration
from metaf2n_arch.inference.restore_options import RestoreOptions

__all__ = ['MetaF2N', 'Opened', 'Restoration', 'RestoreOptions']
