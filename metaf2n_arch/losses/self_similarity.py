"""Self-similarity loss (SSL) as a module, for any training program; `ssl_loss.py` registers it with BasicSR."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from metaf2n_arch.functional.edges import edge_mask, thin_mask
from metaf2n_arch.functional.self_similarity import self_similarity_loss
from metaf2n_arch.functional.self_similarity.criterion import REDUCTIONS, criterion_weights
from metaf2n_arch.functional.self_similarity.geometry import Geometry, require_scale
from metaf2n_arch.utils.checks import DataError, OptionError, require_choice, require_number

# Distance from [0, 1] that values may have: resampling and sharpening overshoot less, other scales (0 to 255) more.
SLACK = 0.5


class SSLLoss(nn.Module):
    """Self-similarity loss (Chen et al., "SSL", ACM MM 2024, arXiv 2408.05713, eq. 3-7).

    For each edge pixel p, S̄ says how similar its patch is to the patches around it. The loss compares S̄ of the restored
    image (SR) with S̄ of the true image (HR), see `metaf2n_arch.functional.self_similarity`:

    L = loss_weight · 1/M Σ_p 1/K² Σ_q [KL(S̄_HR ‖ S̄_SR) + λ |S̄_SR - S̄_HR|], over the M edge pixels p of the batch and
    the K² pixels q around each. ``reduction='window'`` omits 1/K²: ‖S̄_SR - S̄_HR‖₁ is then a norm, and a weight of 0.05
    gives about half of L1's gradient on photographs. With ``'mean'``, the authors' program, 0.05 gives 0.1 % of L1's
    gradient; the authors' settings, a weight of 1000 with `mask_stride` 3 and both terms, give 20 to 90 times as much.

    The edge pixels are those of the target, where the Laplacian of its 8-bit luminance exceeds `mask_threshold`; a
    precomputed mask can be given instead. Differences from the authors' program: ``border='image'`` reads patches from
    the whole padded image as the paper's equation says (``'window'`` is their program's way), and the default compares
    with L1 alone.

    It does not import BasicSR, and works with `torch.func` and ``torch.compile(fullgraph=True)``. In neosr: register
    it with ``neosr.utils.registry.LOSS_REGISTRY`` and name it in a loss block. traiNNer-redux's trainer multiplies
    each loss by its `loss_weight`, so that the weight would count twice; register a subclass there whose `forward`
    returns ``super().forward(pred, target) / self.loss_weight``.

    Args:
        loss_weight: weight of the whole loss.
        criterion: 'l1' | 'kl' | 'kl+l1'.
        l1_weight: λ, read by 'kl+l1' alone.
        search_size: K, odd.
        patch_size: P, odd.
        h: scale of the squared distance.
        mask_threshold: 8-bit Laplacian response that an edge pixel must exceed.
        mask_stride: of each stride × stride block only the diagonal is compared, also with a given mask.
        border: 'image' | 'window'.
        reduction: 'mean' | 'window', over the pixels of a search window.

    Raises:
        OptionError: an option is out of its range; raised when the loss is constructed.

    >>> import torch
    >>> SSLLoss()(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)).item()
    0.0
    """

    inputs = ('pred', 'target', 'mask')

    def __init__(
        self,
        loss_weight: float = 1.0,
        criterion: str = 'l1',
        l1_weight: float = 1.0,
        search_size: int = 25,
        patch_size: int = 9,
        h: float = 0.004,
        mask_threshold: int = 20,
        mask_stride: int = 1,
        border: str = 'image',
        reduction: str = 'mean',
    ) -> None:
        super().__init__()
        Geometry(search_size, patch_size, border)
        require_scale(h)
        criterion_weights(criterion, l1_weight)
        require_choice('reduction', reduction, REDUCTIONS)
        if isinstance(mask_stride, bool) or not isinstance(mask_stride, int) or mask_stride < 1:
            raise OptionError(f'mask_stride is {mask_stride!r}, expected an integer of 1 (keep all) or more.')
        for name, value in (('loss_weight', loss_weight), ('mask_threshold', mask_threshold)):
            require_number(name, value)
        if not 0 <= mask_threshold < 255:
            raise OptionError(f'mask_threshold is {mask_threshold!r}, expected 0 to 254 (8-bit response).')
        self.loss_weight = loss_weight
        self.criterion = criterion
        self.l1_weight = l1_weight
        self.search_size = search_size
        self.patch_size = patch_size
        self.h = h
        self.mask_threshold = mask_threshold
        self.mask_stride = mask_stride
        self.border = border
        self.reduction = reduction
        self._checked = False

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the loss of a batch.

        Args:
            pred: restored images, (B, 3, H, W) RGB in [0, 1].
            target: true images, of the same shape; a gradient reaches them only if they require one.
            mask: pixels to compare, (B, 1, H, W) or (B, H, W), non-zero = compared; made from `target` if None.

        Returns:
            A scalar; 0, with a zero gradient, where no pixel is compared.

        Raises:
            ValueError: shapes that differ, a non-floating dtype, or images too small for the search window.
            DataError: true images that are not in [0, 1]. On a GPU only the first batch is checked, because the check
                makes the host wait for the device.
        """
        if not torch.compiler.is_compiling():
            self._check_values(pred, target)
        loss = self_similarity_loss(
            pred,
            target,
            self._pixels(target, mask),
            criterion=self.criterion,
            l1_weight=self.l1_weight,
            search_size=self.search_size,
            patch_size=self.patch_size,
            h=self.h,
            border=self.border,
            reduction=self.reduction,
        )
        return self.loss_weight * loss

    def shares(self, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the weight of each image's loss in the loss of the batch, (B,): its share of all compared pixels."""
        counts = self._pixels(target, mask).flatten(1).sum(1)
        return (counts / counts.sum().clamp_min(1)).to(target.dtype)

    def _pixels(self, target: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return edge_mask(target, self.mask_threshold, self.mask_stride)
        return thin_mask(mask != 0, self.mask_stride)

    def _check_values(self, pred: Tensor, target: Tensor) -> None:
        """Checks that images are on the scale [0, 1] that `h` and the mask assume; far outside it gradients are 0."""
        if self._checked and target.device.type != 'cpu':
            return
        low, high = _range(target)
        if low < -SLACK or high > 1 + SLACK:
            remedy = 'divide by 255' if high > 2 and low >= 0 else 'scale images to it before the loss'
            raise DataError(f'SSLLoss: target has values from {low:.3g} to {high:.3g}, expected [0, 1]; {remedy}.')
        low, high = _range(pred)
        if not self._checked and (low < -SLACK or high > 1 + SLACK):
            warnings.warn(
                f'SSLLoss: pred has values from {low:.3g} to {high:.3g}, expected [0, 1]. Far outside this range no '
                'two patches are similar, and the gradient is 0. Clamp the output, or check its scale.',
                stacklevel=3,
            )
        if not self._checked and target.dtype == torch.float64:
            warnings.warn(
                'SSLLoss: float64 images take twice the time of float32, and the very first call on a CPU compiles for '
                'half a minute. Convert them with .float() unless you need float64 precision.',
                stacklevel=3,
            )
        self._checked = True

    def extra_repr(self) -> str:
        names = ('loss_weight', 'criterion', 'search_size', 'patch_size', 'h', 'mask_stride', 'border', 'reduction')
        return ', '.join(f'{name}={getattr(self, name)!r}' for name in names)


def _range(image: Tensor) -> tuple[float, float]:
    """Smallest and largest value; 0, which is in range, for an image that cannot be read inside `torch.func.vmap`."""
    if not image.is_floating_point() or image.numel() == 0:
        return 0.0, 0.0
    low, high = image.detach().aminmax()
    try:
        return low.item(), high.item()
    except RuntimeError:
        return 0.0, 0.0
