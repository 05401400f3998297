"""Report of a run of ``metaf2n restore``: a printed line per photo, a file of JSON lines, and the summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from metaf2n_arch.photos.jobs import Job
from metaf2n_arch.photos.outcomes import PASSED, Outcome, Summary
from metaf2n_arch.utils.lines import LineWriter
from metaf2n_arch.utils.shard import Shard

SHOWN = 20


class Report:
    """Reports the outcome of every input, with the reason if it was not restored.

    Args:
        results: file of JSON lines, one line per input as soon as its outcome is known. Each share of several has its
            own file, ``name.2-of-4.jsonl``. None writes no file.
        share: which of the photos this process restores.
        passed: files that are not photos, and why.
        there: photos whose results exist already.
    """

    def __init__(
        self, results: Path | None, share: Shard, passed: Iterable[tuple[str, str]] = (), there: Iterable[Job] = ()
    ) -> None:
        self.summary = Summary()
        self._share = share
        self._lines = None
        if results is not None:
            self._lines = LineWriter(results.with_name(results.stem + share.suffix + results.suffix), fresh=True)
        self._reasons: Counter[str] = Counter()
        for file, reason in passed:
            self._reasons[reason] += 1
            self._line({'input': file, 'status': PASSED, 'reason': reason})
        for job in there:
            self.summary.skipped += 1
            self._line({'input': job.file, 'status': PASSED, 'reason': 'its result exists'})

    def add(self, outcome: Outcome) -> None:
        self.summary.add(outcome)
        self._line(outcome.record())
        if outcome.failed is None and outcome.passed is None:
            print(outcome, flush=True)

    def end(self) -> None:
        """Prints which photos failed, how many files were passed over, and the summary."""
        for outcome in self.summary.failed[:SHOWN]:
            print(f'failed: {outcome}', file=sys.stderr)
        if (more := len(self.summary.failed) - SHOWN) > 0:
            where = 'see the file of --results' if self._lines else 'give --results FILE for a list of all'
            print(f'... and {more} more failed; {where}', file=sys.stderr)
        for reason, number in self._reasons.most_common(SHOWN):
            print(f'passed over: {number} file{"" if number == 1 else "s"}, {reason}', file=sys.stderr)
        share = f'share {self._share} ({self._share.source}): ' if self._share.source else ''
        print(f'{share}{self.summary}', flush=True)
        if self._lines is not None:
            self._lines.close()

    def _line(self, entry: dict[str, object]) -> None:
        if self._lines is not None:
            self._lines.add(entry)
