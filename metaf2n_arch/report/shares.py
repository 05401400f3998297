"""Shares of one evaluation, measured by several processes: each writes its own file, and the last one joins them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaf2n_arch.models.evaluation import write_json
from metaf2n_arch.utils.shard import Shard


def share_file(file: Path, share: Shard) -> Path:
    """Path of the file of one share: ``name.2-of-4.json``.

    >>> share_file(Path('a.json'), Shard(1, 4)).name
    'a.2-of-4.json'
    """
    return file.with_name(file.stem + share.suffix + file.suffix)


def join_shares(file: Path, count: int) -> bool:
    """Writes `file` from the files of all shares, if all exist; returns whether they do.

    Means are taken over all images that have a value. Each process calls this at its end, and the last one finds all
    files. If two processes end together, both write the same file.
    """
    parts = []
    for index in range(count):
        try:
            parts.append(json.loads(share_file(file, Shard(index, count)).read_text(encoding='utf-8')))
        except (OSError, ValueError):
            return False
    whole: dict[str, Any] = {**parts[0], 'count': sum(part['count'] for part in parts), 'images': {}, 'mean': {}}
    for part in parts:
        for folder, metrics in part['images'].items():
            for metric, values in metrics.items():
                whole['images'].setdefault(folder, {}).setdefault(metric, {}).update(values)
    for folder, metrics in whole['images'].items():
        for metric, values in metrics.items():
            known = [value for value in values.values() if value is not None]
            mean = sum(known) / len(known) if known else None
            whole['mean'].setdefault(folder, {})[metric] = mean
    write_json(file, whole)
    return True
