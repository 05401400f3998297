"""Position of the running training loop: epoch, sampler, place in the epoch.

The loop keeps its epoch, its sampler and its place in the epoch in local variables. A state that is to continue exactly
there needs them, so the repairs note them here as they pass by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaf2n_arch.run.manifests import Manifest
    from metaf2n_arch.run.rescue import Watch
    from metaf2n_arch.run.saving import SetSaver
    from metaf2n_arch.run.unreadable import Unreadable


@dataclass
class Course:
    """The course of one training.

    Attributes:
        training: whether a training loader has been built.
        sampler: the training sampler; None if it is somebody else's, whose place cannot be known.
        batch_size: items that one process takes per iteration.
        steps: iterations begun since the sampler's epoch was entered.
        place: epoch, and how many items of it all processes together have used up, of the last iteration that has
            begun. After the last one the loop enters further epochs, and takes nothing from them.
        resumed: epoch and iteration of the state that training goes on from.
        saved: iteration of the state that was last written or resumed from.
        random: state of the generators to put back before the next iteration.
        options: of the run, as the runner uses them.
        from_program: whether the stock runner is driving, so that signals are ours to handle.
        manifest: manifest of the set that training goes on from, if it has one.
        checkpoints: who saves the sets of this run; None where no runner of the host has found its folders.
        watch: looks on, so that whatever ends the training saves first.
        gathered: the generators of all processes, where they can no more be asked.
        seed_is_drawn: whether the option file gives no seed.
        seeded: phases whose data sets the option file gives seeds of their own.
        unreadable: list of the images that are skipped, if the option file wants that.
        tb_logger: tensorboard's writer, if there is one.
        bar: the progress bar, on a terminal.
    """

    training: bool = False
    sampler: Any = None
    batch_size: int = 1
    steps: int = 0
    place: tuple[int, int] | None = None
    resumed: tuple[int, int] = (0, 0)
    saved: int | None = None
    random: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    from_program: bool = False
    manifest: Manifest | None = None
    checkpoints: SetSaver | None = None
    watch: Watch | None = None
    gathered: list[dict[str, Any]] | None = None
    seed_is_drawn: bool = False
    seeded: set[str] = field(default_factory=set)
    unreadable: Unreadable | None = None
    tb_logger: Any = None
    bar: Any = None

    def begin(self, sampler: Any, batch_size: int) -> None:
        """Notes a new training loader."""
        self.training, self.sampler, self.batch_size = True, sampler, batch_size
        self.steps, self.place, self.saved, self.random = 0, None, None, None

    def enter_epoch(self, sampler: Any) -> None:
        """Notes that `sampler` begins an epoch."""
        if sampler is self.sampler:
            self.steps = 0

    def begin_iteration(self) -> None:
        """Notes where the iteration that begins is."""
        self.steps += 1
        if self.sampler is None:
            return
        epoch = int(self.sampler.epoch)
        start_epoch, start = getattr(self.sampler, 'start', (0, 0))
        begun_at = start if start_epoch == epoch else 0
        self.place = epoch, begun_at + self.steps * self.batch_size * self.sampler.num_replicas

    @property
    def begun(self) -> bool:
        """Whether an iteration has begun before."""
        return self.steps > 0 or self.place is not None

    @property
    def epoch(self) -> int:
        """The epoch of the last iteration that has begun."""
        if self.place is not None:
            return self.place[0]
        return self.resumed[0] if self.sampler is None else int(self.sampler.epoch)


course = Course()
