"""Self-similarity graph and loss, the public functions: each picks the fastest path for the device."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import NamedTuple, ParamSpec

import torch
from torch import Tensor

from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.criterion import REDUCTIONS, CriterionWeights, criterion_weights
from metaf2n_arch.functional.self_similarity.fused import fused_graph, fused_loss
from metaf2n_arch.functional.self_similarity.geometry import Geometry, require_scale
from metaf2n_arch.functional.self_similarity.ops import register
from metaf2n_arch.utils.checks import require_choice, require_same_shape

Arguments = ParamSpec('Arguments')


def outside_compiled_graphs(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Keeps `torch.compile` from tracing a function: it would trace numba's compiler, and fail."""

    @functools.wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        # Not decorated at import: that imports the compiler of torch, which costs more than a second.
        if torch.compiler.is_compiling():
            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return run


@outside_compiled_graphs
def self_similarity_graph(
    image: Tensor,
    mask: Tensor,
    *,
    search_size: int = 25,
    patch_size: int = 9,
    h: float = 0.004,
    border: str = 'image',
    normalize: bool = True,
) -> Tensor:
    """Computes the self-similarity graph of the masked pixels of a batch.

    d²(p, q) = 1/(C P²) Σ_c Σ_j (I_c[p + j] - I_c[q + j])²,  S = exp(-d²/h),  S̄ = S / (Σ_q S + 1e-10)
    for every q of the K × K window around p (Chen et al., ACM MM 2024, arXiv 2408.05713, eq. 3-5).

    Args:
        image: (B, C, H, W) in [0, 1], any floating-point dtype; half precision is computed in float32.
        mask: (B, 1, H, W) or (B, H, W), any real dtype; non-zero pixels are the M masked ones.
        search_size: K, odd.
        patch_size: P, odd.
        h: scale of the squared distance.
        border: 'image' reads the patch around q from the reflect-padded image; 'window' (the authors' program) counts
            its pixels outside p's search window as 0.
        normalize: return S̄ rather than S.

    Returns:
        (M, K²), float32 (float64 for a float64 image); rows in the order of ``mask.nonzero()``, columns row by row from
        the shift (-R, -R), R = K // 2. Differentiable with respect to `image`.

    Raises:
        ValueError: wrong shapes or dtypes, or an image smaller than its reflect padding.
        OptionError: an option has a value that is not allowed.

    >>> import torch
    >>> mask = torch.zeros(1, 1, 8, 8)
    >>> mask[..., 4, 4] = 1
    >>> self_similarity_graph(torch.rand(1, 3, 8, 8), mask, search_size=5, patch_size=3).shape
    torch.Size([1, 25])
    """
    geometry = Geometry(search_size, patch_size, border)
    require_scale(h)
    return fastest_path(image.device.type).graph(image, geometry.check(image, mask), geometry, h, normalize)


def self_similarity_loss(
    pred: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    criterion: str = 'l1',
    l1_weight: float = 1.0,
    search_size: int = 25,
    patch_size: int = 9,
    h: float = 0.004,
    border: str = 'image',
    reduction: str = 'mean',
) -> Tensor:
    """Computes the self-similarity loss without keeping either graph.

    L = 1/M Σ_p 1/K² Σ_q [KL(S̄_HR ‖ S̄_SR) + λ |S̄_SR - S̄_HR|], log arguments clamped at 1e-10
    (Chen et al., ACM MM 2024, arXiv 2408.05713, eq. 6-7); without the factor 1/K² for ``reduction='window'``.

    The mean is over the masked pixels of the whole batch, as in the authors' program: each masked pixel weighs the
    same, whichever image it is in, and an image without any contributes nothing.

    Args:
        pred: S̄_SR's image, (B, C, H, W) in [0, 1].
        target: S̄_HR's image, of the same shape; it gets a gradient only if it requires one.
        mask: (B, 1, H, W) or (B, H, W), any real dtype; non-zero pixels are compared.
        criterion: 'l1' (the second term alone, λ = 1), 'kl' (the first alone) or 'kl+l1'.
        l1_weight: λ of 'kl+l1'.
        search_size: K, odd.
        patch_size: P, odd.
        h: scale of the squared distance.
        border: 'image' or 'window', see `self_similarity_graph`.
        reduction: over the K² pixels q of a search window: 'mean' (the authors' program), or 'window', the sum, which
            takes |S̄_SR - S̄_HR| as a norm and is K² times as large. Over the pixels p it is always the mean.

    Returns:
        A scalar, float32 (float64 for float64 images); 0 with a zero gradient if nothing is masked.

    Raises:
        ValueError: wrong shapes or dtypes, or an image smaller than its reflect padding.
        OptionError: an option has a value that is not allowed.

    >>> import torch
    >>> x = torch.rand(1, 3, 16, 16)
    >>> self_similarity_loss(x, x, torch.ones(1, 16, 16), search_size=5, patch_size=3).item()
    0.0
    """
    require_choice('reduction', reduction, REDUCTIONS)
    options = (search_size, patch_size, border, h, *criterion_weights(criterion, l1_weight))
    if torch.compiler.is_compiling():
        recorded = torch.is_grad_enabled()
        wanted = (recorded and pred.requires_grad, recorded and target.requires_grad)
        loss = _compiled(pred, target, mask, *options, *wanted)[0]
    else:
        loss = _loss(pred, target, mask, *options)
    return loss if reduction == 'mean' else loss * search_size**2


def _loss(
    pred: Tensor, target: Tensor, mask: Tensor, search: int, patch: int, border: str, h: float, kl: float, l1: float
) -> Tensor:
    geometry = Geometry(search, patch, border)
    require_scale(h)
    require_same_shape('pred', pred, 'target', target)
    geometry.check(target, mask, 'target')
    selected = geometry.check(pred, mask, 'pred')
    return fastest_path(pred.device.type).loss(pred, target, selected, geometry, h, CriterionWeights(kl, l1))


_compiled = register(_loss)


class Implementation(NamedTuple):
    """One way to compute the graph and the loss."""

    graph: Callable[..., Tensor]
    loss: Callable[..., Tensor]


class _Kernels(NamedTuple):
    module: str
    needs: str


_KERNELS = {'cpu': _Kernels('cpu', 'numba'), 'cuda': _Kernels('gpu', 'triton')}


@functools.cache
def fastest_path(device: str) -> Implementation:
    """Returns the fused kernels for a type of device, or else box filters in plain PyTorch.

    Warns once if the device has kernels but they cannot be used.
    """
    if device not in _KERNELS:
        return Implementation(box_graph, box_loss)
    needed = _KERNELS[device].needs
    try:
        importlib.import_module(needed)
        kernels = importlib.import_module(f'metaf2n_arch.functional.self_similarity.{_KERNELS[device].module}')
        kernels.require()
    except ImportError as error:  # not installed, not with this Python or NumPy, or not on this machine
        warnings.warn(
            f'{needed} cannot be used ({error}): the self-similarity loss on {device} falls back to plain PyTorch, '
            f'which gives the same result more slowly. Install a {needed} that fits this environment to speed it up.',
            stacklevel=4,
        )
        return Implementation(box_graph, box_loss)
    return Implementation(functools.partial(fused_graph, kernels), functools.partial(fused_loss, kernels))
