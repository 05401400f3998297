"""Schemas of the option blocks that our models read."""

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
    """Gradient of the outer loss through the inner loop: ``second`` exact, ``first_mask`` without the Hessian but with
    the MaskNet term, ``first`` with neither (MaskNet then learns from its regulariser alone).
    """
    inner_lr: Annotated[float, Field(ge=0)] | Literal['learned', 'auto'] = 1e-2
    """Step size α of the inner loop; 0.01 in the paper. ``learned`` learns one for each adapted tensor along with the
    generator (`InnerRates`), kept in its checkpoint. ``auto``, at test time alone, tries 0.01 and less on patches that
    take no part in the step, and does not adapt where nothing is gained (`adapt_guarded`).
    """
    inner_lr_start: float = Field(1e-2, gt=0)
    """What learned rates begin at, with ``inner_lr: learned``."""
    inner_steps: int = Field(1, ge=1)
    """Number of inner steps; 1 in the paper."""
    adapt_only: tuple[str, ...] | None = None
    """Name patterns (``conv_*``, ``body.*``) of the generator's tensors that the inner loop may move; all if None."""
    annealing_iters: int = Field(0, ge=0)
    """With several inner steps, the iterations over which the weights of the outer losses after each step go from
    uniform to the last step alone; 0 means the last step alone from the start.
    """
    unadapted_weight: float = Field(0, ge=0)
    """Weight w of L(θ), the outer loss without adaptation, added so that a photo without faces is served well too; 0,
    the paper's, leaves θ free to be good at nothing but adapting.
    """
    checkpointing: bool = False
    """Recompute the generator's activations on the query in its backward pass: less memory, more time."""
    keep_graph: bool = True
    """Keep the graph of the last inner step while the outer loss is differentiated, instead of making it again: faster;
    false saves memory.
    """
    curvature: Literal['auto', 'forward', 'reverse'] = 'auto'
    """How second derivatives are taken; all routes are exact. ``auto`` goes forward where the generator's operations
    allow it; ``reverse`` saves the attempt where they do not (SwinIR, batch normalisation).
    """


class FaceOptions(Strict):
    """The block ``face``: what the inner loop sees of the faces."""

    restorer: RestorerOptions | None = None
    """The frozen face restorer of training, see `RestorerOptions`; None takes the high-quality face itself, an upper
    bound for runs without a restorer's weights.
    """
    patches: int = Field(16, ge=1)
    """Number of random patches per face at test time; 16 in the authors' program."""
    patch_size: int = Field(64, ge=4)
    """Side of these patches in high-resolution pixels; 64 in the authors' program."""


class PerformanceOptions(Strict):
    """The block ``performance``: arithmetic that trades a little accuracy, or nothing but layout, for time.

    Validation and restoring stay in float32.
    """

    autocast: Literal['bf16', 'fp16'] | None = None
    """``bf16`` computes the networks of a training in bfloat16 (8 bits of precision) where torch holds that to be safe;
    weights, gradients, losses and second derivatives' sums stay in float32. ``fp16`` takes float16 (11 bits, but a
    small range) with losses scaled by torch's `GradScaler`; only for models that differentiate once. None computes all
    in float32.
    """
    channels_last: bool = False
    """Keeps images and weights with their channels innermost, which convolutions prefer on CPUs with oneDNN and on GPUs
    with tensor cores; results differ by rounding.
    """
    tf32: bool | None = None
    """Whether GPUs may round the factors of float32 products to 10 bits; None leaves torch's own choice."""
    compile: str | None = None
    """A backend of `torch.compile` for the generator (``inductor``); only for models that differentiate it once, as
    compiled graphs refuse a second time.
    """
    concatenations: Literal['parts', 'whole'] = 'parts'
    """``parts`` keeps a concatenation for the backward pass as its parts, which are kept anyway: half the memory of a
    network of dense blocks (RRDBNet) for one more copy; ``whole`` leaves it to torch.
    """


class ColorFixOptions(Strict):
    """The block ``color_fix``: restored images get the low frequencies of the images they were made from.

    See `low_frequency_fix`. Without the block nothing is changed, as in the papers.
    """

    type: ColorFixName = 'none'
    """``lowfreq`` puts the low frequencies back, ``wavelet`` is StableSR's fix, ``none`` changes nothing."""
    sigma: float | None = Field(None, gt=0)
    """Standard deviation of ``lowfreq`` in low-quality pixels; None mixes bands, the finer
    the less, by the noise and the blur of each image."""
    in_training: bool = False
    """Whether the fix is part of the generator in training, too: losses, the inner loop and the discriminator see its
    output, so that nothing can be learned about tones. Else validation and test apply it, and training does not.
    """

    @model_validator(mode='after')
    def _only_keys_that_act(self) -> ColorFixOptions:
        if self.type != 'lowfreq' and self.sigma is not None:
            raise ValueError('sigma has an effect on the type lowfreq alone; remove it')
        if self.type == 'none' and self.in_training:
            raise ValueError('in_training has no effect without a type; give lowfreq or wavelet')
        return self


class SafetyOptions(Strict):
    """The block ``train.safety``: what happens to gradients that would do harm."""

    clip_grad_norm: float | None = Field(None, gt=0)
    """Largest 2-norm of all gradients of one optimizer together; None does not clip."""
    max_bad_steps: int = Field(20, ge=1)
    """After this many steps in a row whose loss or gradient is not finite, training ends with an error. Such a step
    changes no weight and no average.
    """


class OptimizerOptions(Strict):
    """A block ``train.optim_*``: ``type``, a class by its name, and its arguments."""

    model_config = {**Strict.model_config, 'extra': 'allow'}

    type: str
    """A class of ``torch.optim`` by its name (``AdamW``), or of schedulefree (``AdamWScheduleFree``) or
    pytorch_optimizer (``Adan``, ``Lion``), which the extra ``optimizers`` installs; its other arguments stand beside
    it, with the library's defaults."""
    lr: float = Field(gt=0)
    """Learning rate at the start, which ``train.scheduler`` changes."""


class AverageOptions(Strict):
    """The block ``train.ema``: an average of the generator's weights that validates and is saved beside them."""

    decay: float = Field(0.999, ge=0, le=1)
    """Part of the average that stays in each step; the longest it gets where `power` is given."""
    power: float | None = Field(None, gt=0)
    """Lets the decay grow with the number n of averagings, as 1 - n^(-power), up to `decay`; 0.75 is usual. With 1 and
    a decay of 1 the average is the plain mean of all weights since the warm-up (SWA, Izmailov et al. 2018)."""
    warmup_steps: int = Field(0, ge=0)
    """Steps at the start in which the average is just the weights."""
    every: int = Field(1, ge=1)
    """Steps between two averagings."""
    switch_every: int | None = Field(None, ge=1)
    """Steps between two moments at which training goes on from the average (Switch EMA, Li et al. 2024, arXiv
    2402.09240); None never does."""


SCHEDULER = (
    "Course of the learning rate over iterations: ``type`` and its arguments. BasicSR's ``MultiStepLR`` and "
    '``CosineAnnealingRestartLR``, or any class of ``torch.optim.lr_scheduler``; ``SequentialLR`` and '
    '``ChainedScheduler`` take a list ``schedulers`` of such blocks; ``ReduceLROnPlateau`` takes ``metric``, one of '
    '``val.metrics``. None keeps the rates as they are.'
)


class GANTrainOptions(Strict):
    """The block ``train`` of our models."""

    losses: list[dict[str, Any]] = Field(min_length=1)
    """Losses that are summed, each ``{type, name, target, start_iter, ...}`` with the arguments of its type."""
    total_iter: int = Field(ge=1)
    """Iterations of the whole training; each takes one batch per process."""
    warmup_iter: int = -1
    """Iterations over which the learning rate grows linearly from 0; -1 means none."""
    ema_decay: float = Field(0, ge=0, lt=1)
    """Decay of the exponential moving average of the generator, for example 0.999; 0 keeps none. Short for
    ``ema: {decay: ...}``."""
    ema: AverageOptions | None = None
    """Other averages of the generator's weights: with a decay that grows, a warm-up, or that training switches to."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged for each step of the optimizers; an iteration is still one batch."""
    optim_g: OptimizerOptions
    """Optimizer of the generator and of what is learned with it (MaskNet, inner rates)."""
    optim_d: OptimizerOptions | None = None
    """Optimizer of the discriminator; needed where a loss is adversarial."""
    scheduler: dict[str, Any] | None = Field(None, description=SCHEDULER)
    augmentations: list[dict[str, Any]] = []
    """The list of augmentations that mix images of a batch, for example ``[{type: CutMix, prob: 0.5}]``; a batch gets
    one of them at most. See `metaf2n_arch.data.augmentations`."""
    net_d_iters: int = Field(1, ge=1)
    """Iterations between two updates of the generator; the discriminator is updated in each."""
    net_d_init_iters: int = Field(0, ge=0)
    """Iterations at the start in which the discriminator alone is trained."""
    safety: SafetyOptions = SafetyOptions()
    """What happens to gradients that would do harm."""

    @model_validator(mode='after')
    def _that_fit_together(self) -> GANTrainOptions:
        if self.ema is not None and self.ema_decay:
            raise ValueError('ema and ema_decay are two averages; leave ema_decay out and give ema.decay')
        if self.total_iter % self.accumulate:
            raise ValueError(
                f'total_iter ({self.total_iter}) must be a multiple of accumulate ({self.accumulate}), else the last '
                'batches would teach nothing'
            )
        return self

    @property
    def average(self) -> AverageOptions | None:
        """What ``ema`` or ``ema_decay`` asks for."""
        return self.ema or (AverageOptions(decay=self.ema_decay) if self.ema_decay > 0 else None)


class ValOptions(Strict):
    """The block ``val`` of our models."""

    val_freq: float | None = Field(None, gt=0)
    """Iterations between two validations in training."""
    save_img: bool = False
    """Whether restored images are written; `suffix` is added to their names at test time."""
    save_unadapted: bool = False
    """Whether the images restored without adaptation are written beside them, into ``unadapted/``."""
    suffix: str | None = None
    """Added to the names of restored images at test time; the name of the run if None."""
    pbar: bool = False
    """Whether a progress bar is shown."""
    metrics: dict[str, dict[str, Any]] | None = None
    """What is measured, by the name that logs show: ``{type, better, ...}``, per image or over a whole set; ``{type:
    pyiqa, name: topiq_nr}`` is any metric of pyiqa."""
    allow_missing: bool = False
    """Whether a test goes on without the metrics whose weights are not on this machine; a training always does."""


class LoggerOptions(Strict):
    """The block ``logger``: how often to print and to save, and whether to write for tensorboard or wandb."""

    print_freq: int = Field(100, ge=1)
    """Iterations between two lines of the log."""
    loss_shares: bool = False
    """Whether each loss's share of the gradient that reaches the generator's output is logged as ``share_<name>``
    (0 to 1), measured in the iterations that are printed; a loss below 0.5 % is warned about once."""
    save_checkpoint_freq: float = Field(5000, gt=0)
    """Iterations between two checkpoints."""
    keep_last: int | None = Field(None, ge=1)
    """Number of checkpoints with their states to keep; older ones are removed, except for the networks of the iteration
    at which a validation metric was best. None keeps all.
    """
    save_in_background: bool = False
    """Whether checkpoints are written by a thread, from a copy in memory, so that training does not wait for the disk.
    The files are the same to the bit. It takes as much memory as a checkpoint is large, and a training that is killed
    while the thread writes goes on from the checkpoint before.
    """
    use_tb_logger: bool = False
    """Whether losses, metrics and pictures are written for tensorboard."""
    wandb: dict[str, Any] | None = None
    """``{project: ..., resume_id: ...}`` sends the values to Weights & Biases as well; None sends nothing."""
