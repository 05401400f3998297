"""Face restorers: the interface that they share. It takes faces and returns restored faces of the same size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from metaf2n_arch.utils.checks import require_image_batch
from metaf2n_arch.utils.options import Strict

RestorerName = Literal['gpen', 'gfpgan', 'restoreformer', 'codeformer', 'identity']
RESTORERS: tuple[str, ...] = get_args(RestorerName)


class RestorerOptions(Strict):
    """The option block ``restorer``."""

    type: RestorerName
    """The face restorer; ``identity`` returns the face unchanged."""
    size: Literal[256, 512, 1024, 2048] | None = None
    """Side in pixels of the square faces that the network restores. GPEN has published weights for 256 and 512; all
    other restorers have 512.
    """
    weights: str | None = None
    """A file, or a name of ``metaf2n weights list``; by default the published weights of `type` and `size`."""
    channel_multiplier: int | None = Field(None, ge=1, le=4)
    """Factor on GPEN's channels at sides of 64 and more; by default that of the published network of this size."""
    narrow: float | None = Field(None, gt=0, le=1)
    """Factor on GPEN's channels in all layers; by default that of the published network of this size."""
    fidelity: float = Field(0.5, ge=0, le=1)
    """CodeFormer's w in [0, 1]: 0 invents most detail, 1 follows the input most."""
    batch: int = Field(0, ge=0)
    """Maximum number of faces in one forward pass of the network; 0 means all at once."""

    @model_validator(mode='after')
    def _only_keys_that_act(self) -> RestorerOptions:
        acting = {
            'gpen': {'size', 'weights', 'channel_multiplier', 'narrow', 'batch'},
            'codeformer': {'weights', 'fidelity', 'batch'},
            'identity': set[str](),
        }.get(self.type, {'weights', 'batch'})
        idle = self.model_fields_set - acting - {'type'} - ({'size'} if self.size in (None, 512) else set())
        if idle and self.type != 'identity':
            raise ValueError(f'{", ".join(sorted(idle))} has no effect on the restorer {self.type}; remove it')
        return self


class Restorer(nn.Module):
    """A face restorer ``Restore`` of MetaF2N (Yin et al., ICCV 2023, section 3.2): frozen, deterministic, batched.

    It stays in evaluation mode, its parameters need no gradient, and `restore` builds no graph, so that it can be a
    submodule of any network. Subclasses implement `_run` on square faces of side `size`.

    Args:
        size: side of the faces that `_run` restores, or None if it accepts any shape.
        batch: maximum number of faces in one call of `_run`; 0 means all at once.
    """

    def __init__(self, size: int | None = None, batch: int = 0) -> None:
        super().__init__()
        self.size = size
        self.batch = batch

    def train(self, mode: bool = True) -> Restorer:
        """Stays in evaluation mode for any `mode`: a restorer is never trained."""
        super().train(False)
        return self

    @torch.no_grad()
    def restore(self, faces: Tensor) -> Tensor:
        """Restores a batch of aligned faces.

        Faces of another size than `size` are resized to it and back (bicubic, antialiased). Faces that are not square
        are first padded at the bottom and right, so that their aspect ratio does not change.

        Args:
            faces: (N, 3, H, W) in [0, 1], RGB, on the restorer's device; values outside are clamped.

        Returns:
            (N, 3, H, W) in [0, 1], RGB, of the same dtype, without a graph.

        Raises:
            ValueError: `faces` is not such a batch.

        >>> IdentityRestorer().restore(torch.rand(2, 3, 64, 48)).shape
        torch.Size([2, 3, 64, 48])
        """
        require_image_batch('faces', faces, channels=3)
        if faces.shape[0] == 0:
            return faces.clone()
        height, width = faces.shape[2:]
        side = max(height, width)
        # GFPGAN's network accepts no other memory format.
        x = faces.detach().float().clamp(0, 1).contiguous()
        if self.size is not None:
            x = F.pad(x, (0, side - width, 0, side - height), mode='replicate')
            x = _resize(x, self.size)
        with torch.autocast(faces.device.type, enabled=False):
            x = torch.cat([self._run(part) for part in x.split(self.batch or len(x))])
        if self.size is not None:
            x = _resize(x, side)[:, :, :height, :width]
        return x.clamp(0, 1).to(faces.dtype)

    def forward(self, faces: Tensor) -> Tensor:
        """The same as `restore`."""
        return self.restore(faces)

    def _run(self, faces: Tensor) -> Tensor:
        raise NotImplementedError


class IdentityRestorer(Restorer):
    """Returns the faces unchanged, for demos and tests without the weights of a restorer."""

    def _run(self, faces: Tensor) -> Tensor:
        return faces


class NetworkRestorer(Restorer):
    """A network that maps (N, 3, size, size) RGB faces in ``[-1, 1]`` to restored ones in ``[-1, 1]``.

    Args:
        network: called with the faces; it may return a tuple whose first item is the image.
        size: side of its input and output.
        batch: maximum number of faces in one forward pass; 0 means all at once.
        options: keyword arguments of each call of `network`.
    """

    def __init__(self, network: nn.Module, size: int, batch: int = 0, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(size, batch)
        self.network = network.requires_grad_(False).eval()
        self.options = dict(options or {})

    def _run(self, faces: Tensor) -> Tensor:
        output = self.network(faces * 2 - 1, **self.options)
        image = output[0] if isinstance(output, tuple) else output
        return (image + 1) / 2


def _resize(x: Tensor, side: int) -> Tensor:
    """Bicubic resizing of square images to ``side`` x ``side``, anti-aliased, clamped to [0, 1]."""
    if x.shape[-1] == side:
        return x
    return F.interpolate(x, size=(side, side), mode='bicubic', align_corners=False, antialias=True).clamp(0, 1)
