"""Schemas of the option blocks that our models read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from metaf2n_arch.faces.restorer import RestorerOptions
from metaf2n_arch.utils.options import Strict


class MetaOptions(Strict):
    """The block ``meta``: the inner loop, in training and at test time (Yin et al., ICCV 2023, section 3).

    Attributes:
        mode: gradient of the outer loss through the inner loop: ``second`` exact, ``first_mask`` without the Hessian
            but with the MaskNet term, ``first`` with neither (MaskNet then learns from its regulariser alone).
        inner_lr: α, step size of the inner loop; ``learned`` learns one for each adapted tensor along with the
            generator (`InnerRates`), kept in its checkpoint.
        inner_lr_start: what learned rates begin at.
        inner_steps: number of inner steps; 1 in the paper.
        adapted: name patterns (``conv_*``, ``body.*``) of the generator's tensors that the inner loop may move; all if
            None.
        annealing_iters: with several inner steps, the iterations over which the weights of the outer losses after each
            step go from uniform to the last step alone; 0 means the last step alone from the start.
        unadapted_weight: w ≥ 0 adds w · L(θ), the outer loss without adaptation, so that a photo without faces is
            served well too; 0, the paper's, leaves θ free to be good at nothing but adapting.
        checkpointing: recompute the generator's activations on the query in its backward pass: less memory, more time.
        keep_graph: keep the graph of the last inner step while the outer loss is differentiated, instead of making it
            again: faster; false saves memory.
        curvature: how second derivatives are taken; all routes are exact. ``auto`` goes forward where the generator's
            operations allow it; ``reverse`` saves the attempt where they do not (SwinIR, batch normalisation).
    """

    mode: Literal['first', 'first_mask', 'second'] = 'second'
    inner_lr: Annotated[float, Field(ge=0)] | Literal['learned'] = 1e-2
    inner_lr_start: float = Field(1e-2, gt=0)
    inner_steps: int = Field(1, ge=1)
    adapted: tuple[str, ...] | None = None
    annealing_iters: int = Field(0, ge=0)
    unadapted_weight: float = Field(0, ge=0)
    checkpointing: bool = False
    keep_graph: bool = True
    curvature: Literal['auto', 'forward', 'reverse'] = 'auto'


class FaceOptions(Strict):
    """The block ``face``: what the inner loop sees of the faces.

    Attributes:
        restorer: the frozen face restorer of training, see `RestorerOptions`; None takes the high-quality face itself,
            an upper bound for runs without a restorer's weights.
        patches: number of random patches per face at test time; 16 in the authors' program.
        patch_size: side of these patches in high-resolution pixels; 64 in the authors' program.
    """

    restorer: RestorerOptions | None = None
    patches: int = Field(16, ge=1)
    patch_size: int = Field(64, ge=4)


class PerformanceOptions(Strict):
    """The block ``performance``: arithmetic that trades a little accuracy, or nothing but layout, for time.

    Validation and restoring stay in float32.

    Attributes:
        autocast: ``bf16`` computes the networks of a training in bfloat16 (8 bits of precision) where torch holds that
            to be safe; weights, gradients, losses and second derivatives' sums stay in float32. None computes all in
            float32.
        channels_last: keeps images and weights with their channels innermost, which convolutions prefer on CPUs with
            oneDNN and on GPUs with tensor cores; results differ by rounding.
        tf32: whether GPUs may round the factors of float32 products to 10 bits; None leaves torch's own choice.
        compile: a backend of `torch.compile` for the generator (``inductor``); only for models that differentiate it
            once, as compiled graphs refuse a second time.
        concatenations: ``parts`` keeps a concatenation for the backward pass as its parts, which are kept anyway: half
            the memory of a network of dense blocks (RRDBNet) for one more copy; ``whole`` leaves it to torch.
    """

    autocast: Literal['bf16'] | None = None
    channels_last: bool = False
    tf32: bool | None = None
    compile: str | None = None
    concatenations: Literal['parts', 'whole'] = 'parts'


class SafetyOptions(Strict):
    """The block ``train.safety``: what happens to gradients that would do harm.

    Attributes:
        clip_grad_norm: largest 2-norm of all gradients of one optimizer together; None does not clip.
        max_bad_steps: after this many steps in a row whose loss or gradient is not finite, training ends with an error.
            Such a step changes no weight and no average.
    """

    clip_grad_norm: float | None = Field(None, gt=0)
    max_bad_steps: int = Field(20, ge=1)


class OptimizerOptions(Strict):
    """A block ``train.optim_*``: ``type``, any class of ``torch.optim``, and its arguments."""

    model_config = {**Strict.model_config, 'extra': 'allow'}

    type: str
    lr: float = Field(gt=0)


class GANTrainOptions(Strict):
    """The block ``train`` of our models.

    Attributes:
        losses: the list of losses, see `LossTerms`.
        ema_decay: decay of the exponential moving average of the generator; 0 keeps none.
        net_d_iters: the generator is updated every so many iterations.
        net_d_init_iters: iterations in which the discriminator alone is trained.
    """

    losses: list[dict[str, Any]] = Field(min_length=1)
    total_iter: int = Field(ge=1)
    warmup_iter: int = -1
    ema_decay: float = Field(0, ge=0, lt=1)
    optim_g: OptimizerOptions
    optim_d: OptimizerOptions | None = None
    scheduler: dict[str, Any]
    augmentations: list[dict[str, Any]] = []
    """The list of augmentations that mix images of a batch, for example ``[{type: CutMix, prob: 0.5}]``; a batch gets
    one of them at most. See `metaf2n_arch.data.augmentations`."""
    net_d_iters: int = Field(1, ge=1)
    net_d_init_iters: int = Field(0, ge=0)
    safety: SafetyOptions = SafetyOptions()


class ValOptions(Strict):
    """The block ``val`` of our models.

    Attributes:
        val_freq: iterations between two validations in training.
        save_img: whether restored images are written; `suffix` is added to their names at test time.
        save_unadapted: whether the images restored without adaptation are written beside them, into ``unadapted/``.
        metrics: name -> ``{type, ...}``, functions per image and set-level classes alike.
    """

    val_freq: float | None = Field(None, gt=0)
    save_img: bool = False
    save_unadapted: bool = False
    suffix: str | None = None
    pbar: bool = False
    metrics: dict[str, dict[str, Any]] | None = None


class LoggerOptions(Strict):
    """The block ``logger``: how often to print and to save, and whether to write for tensorboard or wandb.

    Attributes:
        keep_last: number of checkpoints with their states to keep; older ones are removed, except for the networks of
            the iteration at which a validation metric was best. None keeps all.
    """

    print_freq: int = Field(100, ge=1)
    loss_shares: bool = False
    """Whether each loss's share of the gradient that reaches the generator's output is logged as ``share_<name>``
    (0 to 1), measured in the iterations that are printed; a loss below 0.5 % is warned about once."""
    save_checkpoint_freq: float = Field(5000, gt=0)
    keep_last: int | None = Field(None, ge=1)
    use_tb_logger: bool = False
    wandb: dict[str, Any] | None = None
