"""Repairs of BasicSR, one file per module of BasicSR that is changed; `REPAIRS` lists all."""

from __future__ import annotations

from metaf2n_arch.bridge.host import (
    base_model,
    data,
    data_sampler,
    data_util,
    dist_util,
    file_client,
    img_util,
    logger,
    lr_scheduler,
    misc,
    options,
    package,
    prefetch_dataloader,
    registry,
    sr_model,
    train,
    transforms,
)
from metaf2n_arch.bridge.patching import Repair

REPAIRS: list[Repair] = [
    *package.REPAIRS,
    *registry.REPAIRS,
    *options.REPAIRS,
    *misc.REPAIRS,
    *logger.REPAIRS,
    *dist_util.REPAIRS,
    *file_client.REPAIRS,
    *img_util.REPAIRS,
    *data_util.REPAIRS,
    *transforms.REPAIRS,
    *data_sampler.REPAIRS,
    *prefetch_dataloader.REPAIRS,
    *data.REPAIRS,
    *lr_scheduler.REPAIRS,
    *base_model.REPAIRS,
    *sr_model.REPAIRS,
    *train.REPAIRS,
]
