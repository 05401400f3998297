"""Schemas of blocks that BasicSR itself reads: its data sets of images, and the training of its own models.

BasicSR lets unknown keys pass and meets missing ones with a bare KeyError. In runs that name a part of ours these
schemas say in one line what is wrong; other runs are none of our business.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from metaf2n_arch.data.data_set_options import LoaderOptions
from metaf2n_arch.models.model_options import SCHEDULER, OptimizerOptions
from metaf2n_arch.utils.options import Strict


class StockStorage(Strict):
    """The block ``io_backend`` of BasicSR's data sets."""

    type: Literal['disk', 'lmdb', 'memcached'] = 'disk'
    """``disk``: folders of images; ``lmdb``: folders whose names end in ``.lmdb``; ``memcached``: a server."""
    readonly: bool = True
    """Whether an LMDB is opened for reading only."""
    lock: bool = False
    """Whether an LMDB is locked while it is read."""
    readahead: bool = False
    """Whether the system reads an LMDB ahead."""
    server_list_cfg: str | None = None
    """Memcached: file with the list of servers."""
    client_cfg: str | None = None
    """Memcached: file with the client's configuration."""
    sys_path: str | None = None
    """Memcached: folder of its Python module."""


class StockDatasetOptions(LoaderOptions):
    """Keys of all of BasicSR's data sets of images."""

    io_backend: StockStorage  # type: ignore[assignment]  # the host's has more kinds than ours, and no default
    """Where images are stored; must be given."""
    mean: list[float] | None = None
    """Mean of each channel, subtracted from images in [0, 1]; None subtracts nothing."""
    std: list[float] | None = None
    """Standard deviation of each channel, by which images are divided; None divides by nothing."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Keys that the host reads in this phase without a default."""
        return ()

    @model_validator(mode='after')
    def _given(self) -> StockDatasetOptions:
        lacking = [key for key in self.needed if key not in self.model_fields_set]
        if lacking:
            raise ValueError(f'{", ".join(lacking)} must be given for {self.type} in the phase {self.phase}')
        return self


class PairedImageOptions(StockDatasetOptions):
    """Options of ``PairedImageDataset``: pairs of a clean and a degraded image."""

    dataroot_gt: str
    """Clean images: a folder, or a ``.lmdb`` folder."""
    dataroot_lq: str
    """Degraded images: a folder, or a ``.lmdb`` folder."""
    meta_info_file: str | None = None
    """Text file that lists the images to use; None takes all."""
    filename_tmpl: str = '{}'
    """Name of a degraded image, ``{}`` standing for that of the clean one, without suffix: ``'{}x4'``."""
    gt_size: int | None = Field(None, ge=1)
    """Side of the random patch of the clean image, in pixels; needed in training."""
    use_hflip: bool = False
    """Random horizontal flips; needed in training."""
    use_rot: bool = False
    """Random quarter turns; needed in training."""
    color: Literal['y'] | None = None
    """``y`` takes the luma alone; None takes RGB."""

    @property
    def needed(self) -> tuple[str, ...]:
        return ('gt_size', 'use_hflip', 'use_rot') if self.phase == 'train' else ()


class RealESRGANPairedOptions(PairedImageOptions):
    """Options of ``RealESRGANPairedDataset``: pairs, listed with both paths."""

    meta_info: str | None = None
    """Text file whose lines hold the paths of a clean and a degraded image, with a comma; None takes the folders."""


class SingleImageOptions(StockDatasetOptions):
    """Options of ``SingleImageDataset``: degraded images without a truth."""

    dataroot_lq: str
    """Degraded images: a folder, or a ``.lmdb`` folder."""
    meta_info_file: str | None = None
    """Text file that lists the images to use; leave it out to take all."""
    color: Literal['y'] | None = None
    """``y`` takes the luma alone; None takes RGB."""


class FFHQOptions(StockDatasetOptions):
    """Options of ``FFHQDataset``: faces for StyleGAN."""

    dataroot_gt: str
    """Faces: a folder, or a ``.lmdb`` folder."""
    use_hflip: bool
    """Random horizontal flips."""


class RealESRGANOptions(StockDatasetOptions):
    """Options of ``RealESRGANDataset``: clean images, and the kernels that the model blurs them with."""

    dataroot_gt: str
    """Clean images: a folder, or a ``.lmdb`` folder."""
    meta_info: str
    """Text file that lists the images to use."""
    gt_size: int | None = None
    """Read by the model alone, at the top level; without effect here."""
    use_hflip: bool
    """Random horizontal flips."""
    use_rot: bool
    """Random quarter turns."""
    blur_kernel_size: int
    """First stage: largest side of a kernel, in pixels; 21 in Real-ESRGAN."""
    kernel_list: list[str]
    """First stage: names of the kernels drawn from."""
    kernel_prob: list[float]
    """First stage: probability of each kernel of ``kernel_list``."""
    sinc_prob: float = Field(ge=0, le=1)
    """First stage: probability of a sinc kernel; 0.1 in Real-ESRGAN."""
    blur_sigma: list[float]
    """First stage: range of the kernels' standard deviation, in pixels; [0.2, 3] in Real-ESRGAN."""
    betag_range: list[float]
    """First stage: range of the generalized Gaussian's exponent; [0.5, 4] in Real-ESRGAN."""
    betap_range: list[float]
    """First stage: range of the plateau kernel's exponent; [1, 2] in Real-ESRGAN."""
    blur_kernel_size2: int
    """Second stage: largest side of a kernel, in pixels; 21 in Real-ESRGAN."""
    kernel_list2: list[str]
    """Second stage: names of the kernels drawn from."""
    kernel_prob2: list[float]
    """Second stage: probability of each kernel of ``kernel_list2``."""
    sinc_prob2: float = Field(ge=0, le=1)
    """Second stage: probability of a sinc kernel; 0.1 in Real-ESRGAN."""
    blur_sigma2: list[float]
    """Second stage: range of the kernels' standard deviation, in pixels; [0.2, 1.5] in Real-ESRGAN."""
    betag_range2: list[float]
    """Second stage: range of the generalized Gaussian's exponent; [0.5, 4] in Real-ESRGAN."""
    betap_range2: list[float]
    """Second stage: range of the plateau kernel's exponent; [1, 2] in Real-ESRGAN."""
    final_sinc_prob: float = Field(ge=0, le=1)
    """Probability of a sinc filter at the end; 0.8 in Real-ESRGAN."""


DATASETS: dict[str, type[StockDatasetOptions]] = {
    'PairedImageDataset': PairedImageOptions,
    'RealESRGANPairedDataset': RealESRGANPairedOptions,
    'SingleImageDataset': SingleImageOptions,
    'FFHQDataset': FFHQOptions,
    'RealESRGANDataset': RealESRGANOptions,
}
"""Schemas of BasicSR's data sets by type. Those of videos have none."""


class StockTrainOptions(Strict):
    """The block ``train`` of BasicSR's models of single images."""

    total_iter: int = Field(ge=1)
    """Iterations of the whole training; each takes one batch per process."""
    warmup_iter: int = -1
    """Iterations over which the learning rate grows linearly from 0; -1 means none."""
    ema_decay: float = Field(0, ge=0, lt=1)
    """Decay of the exponential moving average of the generator, for example 0.999; 0 keeps none."""
    optim_g: OptimizerOptions
    """Optimizer of the generator."""
    optim_d: OptimizerOptions | None = None
    """Optimizer of the discriminator, for models that have one."""
    scheduler: dict[str, Any] | None = Field(None, description=SCHEDULER)
    pixel_opt: dict[str, Any] | None = None
    """Loss between output and truth, ``{type: L1Loss, loss_weight: 1.0, reduction: mean}``."""
    perceptual_opt: dict[str, Any] | None = None
    """Loss between features of output and truth, ``{type: PerceptualLoss, layer_weights: {...}, ...}``."""
    ldl_opt: dict[str, Any] | None = None
    """Loss on artifacts (LDL, Liang et al., CVPR 2022)."""
    gan_opt: dict[str, Any] | None = None
    """Adversarial loss, ``{type: GANLoss, gan_type: vanilla, loss_weight: 0.1}``."""
    net_d_iters: int = Field(1, ge=1)
    """Iterations between two updates of the generator; the discriminator is updated in each."""
    net_d_init_iters: int = Field(0, ge=0)
    """Iterations at the start in which the discriminator alone is trained."""


MODELS = ('SRModel', 'SRGANModel', 'ESRGANModel', 'SwinIRModel', 'RealESRNetModel', 'RealESRGANModel')
"""BasicSR's models whose ``train`` block is `StockTrainOptions`."""


class RunOptions(Strict):
    """Top level of an option file: what is no block of its own."""

    name: str
    """Name of the run: of its folder in ``experiments/`` or ``results/``; ``debug`` in it prints and saves often."""
    model_type: str
    """What trains and restores: ``MetaF2NModel``, ``GANSRModel``, or a model of BasicSR or of another plug-in."""
    scale: int = Field(4, ge=1)
    """Side of the clean image over side of the degraded one."""
    num_gpu: int | Literal['auto']
    """GPUs of this process: ``auto`` takes what there is, 0 computes on the CPU."""
    manual_seed: int | None = Field(None, ge=0)
    """Seed of everything that is drawn; None draws one."""
    dist_params: dict[str, Any] | None = None
    """Arguments of the process group under slurm: ``{backend: nccl, port: 29500}``."""
    find_unused_parameters: bool = False
    """For BasicSR's own models on several GPUs: whether a step may leave parameters out."""
