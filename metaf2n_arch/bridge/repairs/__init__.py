"""One file per group of repairs of the host, each explained in its docstring; `REPAIRS` lists them all."""

from __future__ import annotations

from metaf2n_arch.bridge.repairs import (
    checkpoints,
    cosine_restarts,
    data_files,
    epochs,
    exact_resume,
    messages,
    options,
    paths,
    prefetching,
    processes,
    resume,
    sampling,
    torchvision_import,
    validation,
)
from metaf2n_arch.bridge.table import Repair

REPAIRS: list[Repair] = [
    *torchvision_import.REPAIRS,
    Repair('registration', 'basicsr', lambda module: True, 'scans its own folders only'),
    *options.REPAIRS,
    *paths.REPAIRS,
    *resume.REPAIRS,
    *epochs.REPAIRS,
    *processes.REPAIRS,
    *checkpoints.REPAIRS,
    *data_files.REPAIRS,
    *sampling.REPAIRS,
    *prefetching.REPAIRS,
    *messages.REPAIRS,
    *exact_resume.REPAIRS,
    *cosine_restarts.REPAIRS,
    *validation.REPAIRS,
]
