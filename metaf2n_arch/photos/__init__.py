"""Floor 4: many photos: which file goes where, restoring one after the other, and what came of each."""

from metaf2n_arch.photos.jobs import Job, collect, remove_done
from metaf2n_arch.photos.outcomes import Outcome, Summary
from metaf2n_arch.photos.restoring import restore_photos
from metaf2n_arch.photos.sheet import comparison, shown

__all__ = ['Job', 'Outcome', 'Summary', 'collect', 'comparison', 'remove_done', 'restore_photos', 'shown']
