"""Option schemas of BasicSR's own data sets of images, and of the training of its own models.

BasicSR ignores unknown keys, and ends with a KeyError if a key is missing. In runs that name a part of this package
these schemas report such mistakes in one line; other runs are not checked.
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
    """``disk``: folders of images; ``lmdb``: folders with names that end in ``.lmdb``; ``memcached``: a server."""
    readonly: bool = True
    """Whether an LMDB is opened for reading only."""
    lock: bool = False
    """Whether an LMDB is locked while it is read."""
    readahead: bool = False
    """Whether the operating system reads an LMDB in advance."""
    server_list_cfg: str | None = None
    """Memcached: file with the list of servers."""
    client_cfg: str | None = None
    """Memcached: file with the configuration of the client."""
    sys_path: str | None = None
    """Memcached: folder of its Python module."""


class StockDatasetOptions(LoaderOptions):
    """Keys of all of BasicSR's data sets of images."""

    io_backend: StockStorage  # type: ignore[assignment]  # BasicSR has more kinds than this package, and no default
    """How images are stored; required."""
    mean: list[float] | None = None
    """Mean of each channel, which is subtracted from images in [0, 1]; null subtracts nothing."""
    std: list[float] | None = None
    """Standard deviation of each channel, by which images are divided; null does not divide."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Keys that BasicSR requires in this phase."""
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
    """Folder of clean images, or an LMDB (a folder ending in .lmdb)."""
    dataroot_lq: str
    """Folder of degraded images, or an LMDB (a folder ending in .lmdb)."""
    meta_info_file: str | None = None
    """Text file that lists the images to use; null uses all."""
    filename_tmpl: str = '{}'
    """Name of a degraded image without suffix; ``{}`` is the name of the clean one: ``'{}x4'``."""
    gt_size: int | None = Field(None, ge=1)
    """Side of the random patch, in pixels of the clean image; required in training."""
    use_hflip: bool = False
    """Whether half of the patches, chosen at random, are flipped left to right; required in training."""
    use_rot: bool = False
    """Whether patches are randomly flipped top to bottom and rotated by 90 degrees; required in training."""
    color: Literal['y'] | None = None
    """``y`` uses only the luma channel; null uses RGB."""

    @property
    def needed(self) -> tuple[str, ...]:
        return ('gt_size', 'use_hflip', 'use_rot') if self.phase == 'train' else ()


class RealESRGANPairedOptions(PairedImageOptions):
    """Options of ``RealESRGANPairedDataset``: pairs of images, optionally from a list with both paths."""

    meta_info: str | None = None
    """Text file; each line has the paths of a clean and a degraded image, with a comma between; null uses folders."""


class SingleImageOptions(StockDatasetOptions):
    """Options of ``SingleImageDataset``: degraded images without ground truth."""

    dataroot_lq: str
    """Folder of degraded images, or an LMDB (a folder ending in .lmdb)."""
    meta_info_file: str | None = None
    """Text file that lists the images to use; remove this key to use all."""
    color: Literal['y'] | None = None
    """``y`` uses only the luma channel; null uses RGB."""


class FFHQOptions(StockDatasetOptions):
    """Options of ``FFHQDataset``: faces for StyleGAN."""

    dataroot_gt: str
    """Folder of faces, or an LMDB (a folder ending in .lmdb)."""
    use_hflip: bool
    """Whether half of the images, chosen at random, are flipped left to right."""


class RealESRGANOptions(StockDatasetOptions):
    """Options of ``RealESRGANDataset``: clean images, and the kernels with which the model blurs them."""

    dataroot_gt: str
    """Folder of clean images, or an LMDB (a folder ending in .lmdb)."""
    meta_info: str
    """Text file that lists the images to use."""
    gt_size: int | None = None
    """No effect here; the model reads it from the top level."""
    use_hflip: bool
    """Whether half of the images, chosen at random, are flipped left to right."""
    use_rot: bool
    """Whether images are randomly flipped top to bottom and rotated by 90 degrees."""
    blur_kernel_size: int
    """First stage: largest side of a kernel, in pixels; 21 in Real-ESRGAN."""
    kernel_list: list[str]
    """First stage: names of the kernels to draw from."""
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
    """Second stage: names of the kernels to draw from."""
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
    """Probability of a final sinc filter; 0.8 in Real-ESRGAN."""


DATASETS: dict[str, type[StockDatasetOptions]] = {
    'PairedImageDataset': PairedImageOptions,
    'RealESRGANPairedDataset': RealESRGANPairedOptions,
    'SingleImageDataset': SingleImageOptions,
    'FFHQDataset': FFHQOptions,
    'RealESRGANDataset': RealESRGANOptions,
}
"""Schemas of BasicSR's data sets by type; its data sets of videos have none."""


class StockTrainOptions(Strict):
    """The block ``train`` of BasicSR's models of single images, `STOCK_MODELS`."""

    total_iter: int = Field(ge=1)
    """Number of iterations of the whole training. An iteration uses one batch per process."""
    warmup_iter: int = -1
    """Iterations over which the learning rate grows linearly from 0; -1 means no warm-up."""
    ema_decay: float = Field(0, ge=0, lt=1)
    """Decay of the exponential moving average of the generator's weights, for example 0.999; 0 means no average."""
    optim_g: OptimizerOptions
    """Optimizer of the generator."""
    optim_d: OptimizerOptions | None = None
    """Optimizer of the discriminator, for models that have one."""
    scheduler: dict[str, Any] | None = Field(None, description=SCHEDULER)
    pixel_opt: dict[str, Any] | None = None
    """Loss between output and ground truth, ``{type: L1Loss, loss_weight: 1.0, reduction: mean}``."""
    perceptual_opt: dict[str, Any] | None = None
    """Loss between features of output and ground truth, ``{type: PerceptualLoss, layer_weights: {...}, ...}``."""
    ldl_opt: dict[str, Any] | None = None
    """Loss on artifacts (LDL, Liang et al., CVPR 2022)."""
    gan_opt: dict[str, Any] | None = None
    """Adversarial loss, ``{type: GANLoss, gan_type: vanilla, loss_weight: 0.1}``."""
    net_d_iters: int = Field(1, ge=1)
    """Iterations between two updates of the generator; the discriminator is updated in each iteration."""
    net_d_init_iters: int = Field(0, ge=0)
    """Number of iterations at the start in which only the discriminator is trained."""


class RunOptions(Strict):
    """Top level of an option file: the options that are not in a block."""

    name: str
    """Name of the run and of its folder in ``experiments/`` or ``results/``. A name that contains ``debug`` logs and
    saves often.
    """
    model_type: str
    """The model: ``MetaF2NModel``, ``GANSRModel``, or one of BasicSR or of another package."""
    scale: int = Field(4, ge=1)
    """Upscaling factor: side of the clean image divided by side of the degraded one."""
    num_gpu: int | Literal['auto']
    """Number of GPUs; ``auto`` uses all that are there, 0 computes on the CPU."""
    manual_seed: int | None = Field(None, ge=0)
    """Seed of all random draws; null draws a seed."""
    dist_params: dict[str, Any] | None = None
    """Arguments of the process group with Slurm: ``{backend: nccl, port: 29500}``."""
    find_unused_parameters: bool = False
    """For BasicSR's own models on several GPUs: whether a step may leave some parameters unused."""
