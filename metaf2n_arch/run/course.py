"""Position of the running training loop: epoch, sampler, position in the epoch.

BasicSR's loop keeps these in local variables. A state for an exact resume needs them, so the bridge records them here.
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
    """Position and parts of the training that runs in this process.

    Attributes:
        training: whether a training loader has been built.
        sampler: the training sampler; None for a sampler of another package, whose position is unknown.
        batch_size: items that one process takes per iteration.
        steps: iterations begun in the present epoch of the sampler.
        place: (epoch, items of it that all processes together have used), as of the last iteration that has begun.
            After the last iteration the loop may enter further epochs, but takes nothing from them.
        resumed: epoch and iteration of the state that the training was resumed from; (0, 0) for a new one.
        saved: iteration of the state that was last written or resumed from.
        random: states of the random generators, to be restored before the next iteration.
        options: options of the run, as the runner uses them.
        from_program: whether the stock runner runs, so that this package may handle signals.
        manifest: manifest of the checkpoint set that the training was resumed from, if it has one.
        checkpoints: saves the checkpoint sets of this run; None outside the stock runner.
        watch: what is needed to save before the program ends, see `run.rescue`.
        gathered: states of the random generators of all processes, once collective calls are no longer possible.
        seed_is_drawn: whether the option file gives no seed.
        seeded: phases whose data sets have a seed of their own in the option file.
        unreadable: list of the images that were skipped.
        tb_logger: TensorBoard's writer, if there is one.
        bar: progress bar, if stderr is a terminal.
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
        """Records a new training loader."""
        self.training, self.sampler, self.batch_size = True, sampler, batch_size
        self.steps, self.place, self.saved, self.random = 0, None, None, None

    def enter_epoch(self, sampler: Any) -> None:
        """Records that `sampler` begins an epoch."""
        if sampler is self.sampler:
            self.steps = 0

    def begin_iteration(self) -> None:
        """Records the position of the iteration that begins."""
        self.steps += 1
        if self.sampler is None:
            return
        epoch = int(self.sampler.epoch)
        start_epoch, start = getattr(self.sampler, 'start', (0, 0))
        begun_at = start if start_epoch == epoch else 0
        self.place = epoch, begun_at + self.steps * self.batch_size * self.sampler.num_replicas

    @property
    def begun(self) -> bool:
        """Whether an iteration has begun, in this run or in the one that it resumes."""
        return self.steps > 0 or self.place is not None

    @property
    def epoch(self) -> int:
        """The epoch of the last iteration that has begun."""
        if self.place is not None:
            return self.place[0]
        return self.resumed[0] if self.sampler is None else int(self.sampler.epoch)


course = Course()
