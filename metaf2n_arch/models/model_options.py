"""Option schemas of the models: the blocks meta, face, performance, color_fix, train, val and logger."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from metaf2n_arch.faces.restorer import RestorerOptions
from metaf2n_arch.functional.methods import ColorFixName
from metaf2n_arch.utils.options import Strict


class MetaOptions(Strict):
    """The block ``meta``: the inner loop, in training and at test time (Yin et al., ICCV 2023, section 3)."""

    renamed = {'adapted': 'adapt_only'}

    mode: Literal['first', 'first_mask', 'second'] = 'second'
    """Gradient of the outer loss through the inner loop. ``second`` is exact. ``first_mask`` leaves out the Hessian and
    keeps the MaskNet term. ``first`` leaves out both; MaskNet then learns only from its regulariser.
    """
    inner_lr: Annotated[float, Field(ge=0)] | Literal['learned', 'auto'] = 1e-2
    """Step size α of the inner loop; 0.01 in the paper. ``learned`` trains one for each adapted tensor, together with
    the generator (`InnerRates`), and saves them in its checkpoint. ``auto``, only at test time, tries 0.01 and smaller
    values, checks each on patches that were not used in the step, and does not adapt if there is no gain
    (`adapt_guarded`).
    """
    inner_lr_start: float = Field(1e-2, gt=0)
    """Initial value of the learned rates, with ``inner_lr: learned``."""
    inner_steps: int = Field(1, ge=1)
    """Number of inner steps; 1 in the paper."""
    adapt_only: tuple[str, ...] | None = None
    """Name patterns (``conv_*``, ``body.*``) of the generator's tensors that the inner loop may change; null: all."""
    annealing_iters: int = Field(0, ge=0)
    """With several inner steps, the outer loss is a weighted sum of the losses after each step. In the first
    `annealing_iters` iterations the weights change from equal to all on the last step; with 0 only the last step counts
    from the start.
    """
    unadapted_weight: float = Field(0, ge=0)
    """Weight w of L(θ), the outer loss without adaptation, which is added so that photos without faces are restored
    well too. With 0, as in the paper, θ is trained only for its result after adaptation.
    """
    checkpointing: bool = False
    """Whether the generator's activations on the query images are computed again in the backward pass: less memory,
    more time.
    """
    keep_graph: bool = True
    """Whether the graph of the last inner step is kept while the outer loss is differentiated. ``false`` builds it
    again: less memory, more time.
    """
    curvature: Literal['auto', 'forward', 'reverse'] = 'auto'
    """How second derivatives are computed; all ways are exact. ``auto`` uses forward-mode differentiation if all
    operations of the generator support it, and reverse mode otherwise. ``reverse`` skips the attempt, for generators
    that do not support it (SwinIR, batch normalisation).
    """


class FaceOptions(Strict):
    """The block ``face``: the pairs of faces that the inner loop uses."""

    restorer: RestorerOptions | None = None
    """The frozen face restorer of training, see `RestorerOptions`. null uses the high-quality face itself as the
    target: an upper bound, for runs without the weights of a restorer.
    """
    patches: int = Field(16, ge=1)
    """Number of random patches per face at test time; 16 in the authors' program."""
    patch_size: int = Field(64, ge=4)
    """Side of these patches in high-resolution pixels; 64 in the authors' program."""


class PerformanceOptions(Strict):
    """The block ``performance``: faster arithmetic and memory layouts for training.

    Validation and restoring stay in float32.
    """

    autocast: Literal['bf16', 'fp16'] | None = None
    """``bf16`` computes the networks in bfloat16 (8 bits of precision) in training, for the operations that
    `torch.autocast` selects; weights, gradients, losses and the sums of second derivatives stay in float32. ``fp16``
    uses float16 (11 bits, but a small range) with losses scaled by torch's `GradScaler`: after an overflow the scale is
    halved and no weight changes. null computes everything in float32.
    """
    channels_last: bool = False
    """Whether images and weights are stored with the channels as the innermost dimension. Convolutions are then faster
    on CPUs with oneDNN and on GPUs with tensor cores. Results differ by rounding.
    """
    tf32: bool | None = None
    """Whether GPUs may round the factors of float32 products to TF32 (10 bits of mantissa); null: as torch is set."""
    compile: str | None = None
    """Backend of `torch.compile` for the generator (``inductor``). Only for models that differentiate it once: compiled
    graphs do not support second derivatives.
    """
    concatenations: Literal['parts', 'whole'] = 'parts'
    """How a concatenation is kept for the backward pass. ``parts`` keeps only its parts, which are in memory anyway,
    and concatenates them again: half the memory of a network of dense blocks (RRDBNet), for one more copy. ``whole``
    keeps the concatenation, as torch does.
    """


class ColorFixOptions(Strict):
    """The block ``color_fix``: gives restored images the low frequencies of their low-quality images.

    See `low_frequency_fix`. Without this block nothing is changed, as in the papers.
    """

    type: ColorFixName = 'none'
    """``lowfreq`` takes the low frequencies from the low-quality image, ``wavelet`` is StableSR's fix, ``none`` changes
    nothing.
    """
    sigma: float | None = Field(None, gt=0)
    """Standard deviation of the Gaussian of ``lowfreq`` in low-quality pixels. null mixes several frequency bands, the
    finer ones less, by the noise and the blur of each image.
    """
    in_training: bool = False
    """Whether the fix is part of the generator in training too. Losses, the inner loop and the discriminator then see
    its output, so that the generator does not learn brightness and colour. Otherwise only validation and test apply it.
    """

    @model_validator(mode='after')
    def _only_keys_that_act(self) -> ColorFixOptions:
        if self.type != 'lowfreq' and self.sigma is not None:
            raise ValueError('sigma has an effect only with the type lowfreq; remove it')
        if self.type == 'none' and self.in_training:
            raise ValueError('in_training has no effect without a type; give lowfreq or wavelet')
        return self


class SafetyOptions(Strict):
    """The block ``train.safety``: clipping of gradients, and the end of a training whose gradients are not finite."""

    clip_grad_norm: float | None = Field(None, gt=0)
    """Largest 2-norm of all gradients of one optimizer together; null does not clip."""
    max_bad_steps: int = Field(20, ge=1)
    """Number of steps in a row without a finite gradient after which training ends with an error. Such steps are
    skipped: they change no weight and no average.
    """


class OptimizerOptions(Strict):
    """A block ``train.optim_*``: ``type``, the name of a class, and its arguments."""

    model_config = {**Strict.model_config, 'extra': 'allow'}

    type: str
    """Name of a class of ``torch.optim`` (``AdamW``), of schedulefree (``AdamWScheduleFree``) or of pytorch_optimizer
    (``Adan``, ``Lion``); the extra ``optimizers`` installs the last two. Its other arguments are keys of this block;
    their defaults are those of the library.
    """
    lr: float = Field(gt=0)
    """Learning rate at the start; ``train.scheduler`` changes it."""


class AverageOptions(Strict):
    """The block ``train.ema``: an average of the generator's weights, used by validation and saved beside them."""

    decay: float = Field(0.999, ge=0, le=1)
    """Share of the old average in the new one, at each averaging. With `power` it is the largest decay."""
    power: float | None = Field(None, gt=0)
    """Lets the decay grow with the number n of averagings, as 1 - n^(-power), up to `decay`; 0.75 is usual. With 1 and
    a decay of 1 the average is the plain mean of all weights since the warm-up (SWA, Izmailov et al. 2018).
    """
    warmup_steps: int = Field(0, ge=0)
    """Number of steps at the start in which the average is a copy of the weights."""
    every: int = Field(1, ge=1)
    """Steps between two averagings."""
    switch_every: int | None = Field(None, ge=1)
    """Steps between two copies of the average into the trained weights (Switch EMA, Li et al. 2024, arXiv 2402.09240).
    null never copies it.
    """


SCHEDULER = (
    "Schedule of the learning rate: ``type`` and its arguments. The type is BasicSR's ``MultiStepLR`` or "
    '``CosineAnnealingRestartLR``, or any class of ``torch.optim.lr_scheduler``. ``SequentialLR`` and '
    '``ChainedScheduler`` take a list ``schedulers`` of such blocks. ``ReduceLROnPlateau`` takes ``metric``, one of '
    '``val.metrics``. null keeps the rates constant.'
)


class GANTrainOptions(Strict):
    """The block ``train`` of the models of this package."""

    losses: list[dict[str, Any]] = Field(min_length=1)
    """Losses, whose sum is minimised; each is ``{type, name, target, start_iter, ...}`` with the type's arguments."""
    total_iter: int = Field(ge=1)
    """Number of iterations of the whole training. An iteration uses one batch per process."""
    warmup_iter: int = -1
    """Iterations over which the learning rate grows linearly from 0; -1 means no warm-up."""
    ema_decay: float = Field(0, ge=0, lt=1)
    """Decay of the exponential moving average of the generator's weights, for example 0.999; 0 means no average. Short
    for ``ema: {decay: ...}``.
    """
    ema: AverageOptions | None = None
    """Other averages of the generator's weights: with a growing decay, with a warm-up, or Switch EMA."""
    accumulate: int = Field(1, ge=1)
    """Number of batches whose gradients are averaged for one optimizer step; an iteration is still one batch."""
    optim_g: OptimizerOptions
    """Optimizer of the generator, and of MaskNet and the learned inner rates."""
    optim_d: OptimizerOptions | None = None
    """Optimizer of the discriminator; required if a loss is adversarial."""
    scheduler: dict[str, Any] | None = Field(None, description=SCHEDULER)
    augmentations: list[dict[str, Any]] = []
    """List of augmentations that mix the images of a batch, for example ``[{type: CutMix, prob: 0.5}]``. A batch gets
    at most one of them. See `metaf2n_arch.data.augmentations`.
    """
    net_d_iters: int = Field(1, ge=1)
    """Iterations between two updates of the generator; the discriminator is updated in each iteration."""
    net_d_init_iters: int = Field(0, ge=0)
    """Number of iterations at the start in which only the discriminator is trained."""
    safety: SafetyOptions = SafetyOptions()
    """Clipping of gradients, and the end of a training whose gradients are not finite."""

    @model_validator(mode='after')
    def _that_fit_together(self) -> GANTrainOptions:
        if self.ema is not None and self.ema_decay:
            raise ValueError('ema and ema_decay are two averages; remove ema_decay and give ema.decay')
        if self.total_iter % self.accumulate:
            raise ValueError(
                f'total_iter ({self.total_iter}) must be a multiple of accumulate ({self.accumulate}), else the last '
                'batches would not be used'
            )
        return self

    @property
    def average(self) -> AverageOptions | None:
        """The average of ``ema`` or ``ema_decay``; None without one."""
        return self.ema or (AverageOptions(decay=self.ema_decay) if self.ema_decay > 0 else None)


class ValOptions(Strict):
    """The block ``val`` of the models of this package."""

    val_freq: float | None = Field(None, gt=0)
    """Iterations between two validations in training."""
    save_img: bool = False
    """Whether restored images are written; at test time `suffix` is added to their names."""
    save_unadapted: bool = False
    """Whether the images restored without adaptation are also written, into the subfolder ``unadapted/``."""
    suffix: str | None = None
    """Text added to the names of restored images at test time; null adds the name of the run."""
    pbar: bool = False
    """Whether a progress bar is shown."""
    metrics: dict[str, dict[str, Any]] | None = None
    """Metrics by the names shown in logs: ``{type, better, ...}``, computed per image or over the whole set. ``{type:
    pyiqa, name: topiq_nr}`` is a metric of pyiqa, by its name there.
    """
    allow_missing: bool = False
    """Whether a test runs without the metrics whose weights are not on this machine; a training always does."""


class LoggerOptions(Strict):
    """The block ``logger``: how often to log and to save, and whether to write for TensorBoard or Weights & Biases."""

    print_freq: int = Field(100, ge=1)
    """Iterations between two log lines."""
    loss_shares: bool = False
    """Whether the share of each loss in the gradient at the generator's output is logged as ``share_<name>``, 0 to 1,
    in the iterations that are logged. A share below 0.5 % gives a warning once; without this option only the first
    logged iteration is checked.
    """
    save_checkpoint_freq: float = Field(5000, gt=0)
    """Iterations between two checkpoints."""
    keep_last: int | None = Field(None, ge=1)
    """Number of checkpoints to keep, with their training states. Older ones are removed, except the networks of the
    iterations at which a validation metric was best. null keeps all.
    """
    save_in_background: bool = False
    """Whether a thread writes the checkpoints, from a copy in memory, so that training does not wait for the disk. The
    files are bitwise the same. It needs as much memory as a checkpoint is large. If the training is killed while the
    thread writes, it resumes from the checkpoint before.
    """
    use_tb_logger: bool = False
    """Whether losses, metrics and images are written for TensorBoard."""
    wandb: dict[str, Any] | None = None
    """``{project: ..., resume_id: ...}`` also sends the values to Weights & Biases; null sends nothing."""
