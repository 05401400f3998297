"""Problem of the self-similarity benchmarks: cases, crops, and the two programs with which ours is compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights, graph_difference

K, P, H = 25, 9, 0.004
CASES = {
    # name: images, side, mask_stride, criterion
    'crop 96²': (1, 96, 1, 'l1'),
    'crop 96², kl+l1': (1, 96, 1, 'kl+l1'),
    'image 256²': (1, 256, 1, 'l1'),
    'batch 12 × 256², mask_stride 3, kl+l1': (12, 256, 3, 'kl+l1'),
}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def crops(count: int, side: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """Crops of the astronaut: for one image the crop with an edge density nearest to 0.3, otherwise on a grid."""
    from skimage import data

    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float() / 255
    if count == 1:
        density = F.avg_pool2d(edge_mask(photo).float(), side, 1)[0, 0]
        nearest = int((density - 0.3).abs().argmin())
        corners = [(nearest // density.shape[1], nearest % density.shape[1])]
    else:
        corners = [(y, x) for y in range(0, 513 - side, 64) for x in range(0, 513 - side, 64)][:count]
    target = torch.cat([photo[..., y : y + side, x : x + side] for y, x in corners])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (target + 0.05 * noise).clamp(0, 1), target, edge_mask(target, 20, stride)


def unfolded(image: Tensor, mask: Tensor) -> Tensor:
    """C P² d² of a (C, H, W) image, (M, K²): unfold every masked pixel's window, then every patch of each window."""
    windows = F.unfold(F.pad(image[None], [K // 2] * 4, mode='reflect'), K)[0][:, mask.flatten()]
    windows = windows.view(len(image), K * K, -1).permute(2, 0, 1).reshape(-1, len(image), K, K)
    patches = F.unfold(windows, P, padding=P // 2)
    return (patches - patches[:, :, K * K // 2].unsqueeze(2)).square().sum(1)


def unfolded_in_parts(image: Tensor, mask: Tensor, count: int = 64) -> Tensor:
    """The same for `count` masked pixels at a time, recomputed in the backward pass, which needs less memory."""
    pixels = mask.flatten().nonzero()[:, 0]
    parts = []
    for some in pixels.split(count):
        chosen = torch.zeros_like(mask.flatten())
        chosen[some] = True
        parts.append(checkpoint(unfolded, image, chosen.view_as(mask), use_reentrant=False))
    return torch.cat(parts)


def loss_by(distances: Callable[[Tensor, Tensor], Tensor], criterion: str) -> Loss:
    """The loss as in the authors' training: a self-similarity graph for each image of the batch, all kept in memory.

    Args:
        distances: (C, H, W) image and (H, W) mask -> C P² d² with border='window', (M, K²).
        criterion: as in `self_similarity_loss`.
    """
    weights = criterion_weights(criterion, 1.0)

    def graph(image: Tensor, mask: Tensor) -> Tensor:
        s = torch.exp(distances(image, mask) / (-H * len(image) * P * P))
        return s / (s.sum(1, keepdim=True) + 1e-10)

    def loss(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        parts = [graph_difference(graph(x, m), graph(y, m), weights) for x, y, m in zip(pred, target, mask[:, 0])]
        return torch.stack(parts).sum() / (mask.sum() * K * K)

    return loss


def authors_distances(operator: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """The authors' CUDA operator, `compute_similarity` and `compute_similarity_backward`, as an autograd function."""

    class Distances(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, padded: Tensor, positions: Tensor) -> Tensor:
            ctx.save_for_backward(padded, positions)
            ctx.sizes = (len(positions), K, P, *padded.shape[1:], len(padded))
            out = padded.new_zeros(len(positions), K, K)
            operator.compute_similarity(padded, positions, out, *ctx.sizes)
            return out.flatten(1)

        @staticmethod
        def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
            padded, positions = ctx.saved_tensors
            gradient = torch.zeros_like(padded)
            operator.compute_similarity_backward(padded, upstream.contiguous(), positions, gradient, *ctx.sizes)
            return gradient, None

    def distances(image: Tensor, mask: Tensor) -> Tensor:
        padded = F.pad(image[None], [K // 2] * 4, mode='reflect')[0].contiguous()
        return Distances.apply(padded, (mask.nonzero() + K // 2).to(torch.int32).contiguous())

    return distances


def build_authors_operator(folder: Path) -> Any:
    """Compiles `similarity.cu` and `similaritywrapper.cpp` of the authors' repository (github.com/ChrisDud0257/SSL)."""
    from importlib.util import find_spec

    from torch.utils import cpp_extension

    sources = [folder / name for name in ('similaritywrapper.cpp', 'similarity.cu')]
    missing = [str(x) for x in sources if not x.is_file()]
    if missing:
        raise SystemExit(f'{missing[0]} does not exist; --authors takes the folder basicsr/losses/similarity.')
    # The source includes headers of curand, which are not part of nvcc, but of CUDA's wheels.
    nvidia = find_spec('nvidia')
    roots = nvidia.submodule_search_locations if nvidia else None
    headers = [str(x) for root in roots or () for x in sorted(Path(root).glob('*/include'))]
    try:
        return cpp_extension.load(
            'authors_similarity', [str(x) for x in sources], extra_include_paths=headers, extra_cuda_cflags=['-O3']
        )
    except (OSError, RuntimeError, ImportError) as error:
        raise SystemExit(f'The operator in {folder} could not be built: {error}') from error
