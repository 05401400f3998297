"""What a run tells: a line per photo, a file with a line per input, and the summary."""

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
    """Accounts for every input: restored, refused and why, passed over and why.

    Args:
        results: file of JSON lines, a line per input as soon as it is known; each share of several has its own,
            ``name.2-of-4.jsonl``. None: without it.
        share: which of the photos this process does.
        passed: files that are no photos, and why.
        there: photos whose results are there already.
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
            self._line({'input': job.file, 'status': PASSED, 'reason': 'its result is there'})

    def add(self, outcome: Outcome) -> None:
        self.summary.add(outcome)
        self._line(outcome.record())
        if outcome.failed is None and outcome.passed is None:
            print(outcome, flush=True)

    def end(self) -> None:
        """Prints what failed and what was passed over, and the counts."""
        for outcome in self.summary.failed[:SHOWN]:
            print(f'failed: {outcome}', file=sys.stderr)
        if (more := len(self.summary.failed) - SHOWN) > 0:
            where = 'in the file of --results' if self._lines else 'with --results FILE, each is written down'
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
