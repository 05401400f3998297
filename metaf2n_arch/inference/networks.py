"""Generator and MaskNet for restoring photos: shared by threads; whole photos in strips, probes, confidence maps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from metaf2n_arch.faces.pairs import FacePair
from metaf2n_arch.functional.traits import Traits, pooled_traits
from metaf2n_arch.images.sizes import fitting_overlap
from metaf2n_arch.images.tiles import tiled_strips
from metaf2n_arch.inference.ncnn_network import NcnnNetwork
from metaf2n_arch.inference.restoration import STRIP
from metaf2n_arch.inference.restore_options import RestoreOptions
from metaf2n_arch.meta.guarded import PROBE, probes_of
from metaf2n_arch.meta.params import Params, functional, select
from metaf2n_arch.utils.checks import DataError
from metaf2n_arch.utils.modules import shell
from metaf2n_arch.utils.progress import Progress, silent
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import AnySize, Generator

PROBES = (2, 12)
"""Minimum and maximum number of probes: patches from all over the photo that are restored first."""
PROBED = 1 / 25
"""Share of the photo's area that the probes cover, within the limits `PROBES`."""

_REMEDIES = {
    'float32': 'its weights are damaged or do not belong to it: give other --weights',
    'bfloat16': 'restore in float32, without --bf16',
    'float16': 'it does not work in float16: restore without --half, or with --bf16',
}

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class Probed:
    """Probes of a photo: patches (N, 3, h, w) RGB in [0, 1], and their restorations without adaptation."""

    def __init__(self, patches: Tensor, restored: Tensor) -> None:
        self.patches, self.restored = patches, restored

    def traits(self) -> Traits:
        """The photo's noise and sharpness, see `pooled_traits`."""
        return pooled_traits(self.restored, self.patches)


class SharedNetworks:
    """Generator and MaskNet on their device; any number of threads may use them at once.

    Args:
        generator: the generator, which restores photos.
        mask: MaskNet; None means W = 1.
        device: where both run.
        backend: what computes the photo's pass, see `RestoreOptions`.

    Raises:
        OptionError: the backend cannot compute this generator.
    """

    def __init__(
        self, generator: Generator, mask: nn.Module | None, device: torch.device, backend: str = 'torch'
    ) -> None:
        self.generator, self.mask, self.device = generator, mask, device
        # Convolutions of many channels are faster in this memory format, by a third on CPUs.
        for net in (generator.net, mask):
            if net is not None:
                net.to(device).to(memory_format=torch.channels_last)
        # The wrapper `AnySize` adds this prefix to the names of the tensors in the file.
        self.prefix = 'net.' if isinstance(generator.net, AnySize) else ''
        self._own = threading.local()
        self._in_ncnn = NcnnNetwork(generator.net, {}) if backend == 'ncnn' else None

    def names(self, patterns: tuple[str, ...] | None) -> list[str]:
        """Names of the generator's tensors that match `patterns`, with the prefix that `adapt` needs."""
        names = [name.removeprefix(self.prefix) for name, _ in self.generator.net.named_parameters()]
        return [self.prefix + name for name in select(names, patterns)]

    def own(self) -> tuple[nn.Module, nn.Module | None]:
        """This thread's own copies of the module structures, with the shared weights.

        A call with other parameters swaps them into the module while it runs. If threads shared the module, another
        thread would compute with these parameters, and could leave them in the module.
        """
        if not hasattr(self._own, 'networks'):
            self._own.networks = shell(self.generator.net), None if self.mask is None else shell(self.mask)
        return self._own.networks

    @torch.no_grad()
    def probe(self, x: Tensor) -> Probed:
        """Restores patches from all over a photo (1, 3, H, W) without adaptation."""
        count = min(max(round(PROBED * x.shape[-2] * x.shape[-1] / PROBE**2), PROBES[0]), PROBES[1])
        patches = probes_of(x, PROBE, count, numpy_generator(0))
        output = functional(self.own()[0], torch.channels_last)({}, patches)
        return Probed(patches, output.nan_to_num().clamp(0, 1))

    def strips(
        self,
        params: Params | None,
        image: Tensor,
        options: RestoreOptions,
        tile: int | None = None,
        progress: Progress = silent,
    ) -> Iterator[Tensor]:
        """Yields the whole photo through the generator in strips (1, 3, h, s·W), float32 in [0, 1].

        Args:
            params: the generator's parameters; None for those of its file.
            image: the photo, (1, 3, H, W) RGB in [0, 1].
            options: `tile`, `overlap` and `precision` are used.
            tile: side of the tiles instead of that of the options; the overlap is reduced to fit.
            progress: counts the ``tiles``.

        Raises:
            DataError: the generator's output is not finite.
        """
        run = self._run_of(params, options.precision)
        side, overlap = options.tile, options.overlap
        if tile is not None:
            side, overlap = tile, fitting_overlap(tile, options.overlap)
        scale, photo = self.generator.scale, image.to(self.device)
        for strip in tiled_strips(run, photo, scale=scale, tile=side, overlap=overlap, progress=progress):
            # Checked in parts and clamped in place: a strip of a large photo takes half a gigabyte.
            if not all(bool(torch.isfinite(part).all()) for part in strip.split(STRIP, -2)):
                raise DataError(f'the output of the generator is not finite; {_REMEDIES[options.precision]}.')
            yield strip.clamp_(0, 1)
            del strip  # freed before the next one is computed

    def _run_of(self, params: Params | None, precision: str) -> Callable[[Tensor], Tensor]:
        if self._in_ncnn is not None:
            return self._in_ncnn if params is None else NcnnNetwork(self.generator.net, params)
        net, _ = self.own()
        dtype = PRECISIONS[precision]
        state = dict(params or {})
        if dtype != torch.float32:
            tensors = {**dict(net.named_parameters()), **dict(net.named_buffers()), **state}
            state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
        call = functional(net, torch.channels_last)

        # Not around the loop over the tiles: as a decorator of a function that yields, torch would keep each strip in
        # memory until the next one is computed.
        @torch.no_grad()
        def run(x: Tensor) -> Tensor:
            return call(state, x.to(dtype)).float()

        return run

    @torch.no_grad()
    def confidence(self, face: FacePair) -> np.ndarray:
        """Confidence W in each pixel of a restored face, (s·h, s·w) float32; 1 everywhere without MaskNet."""
        if self.mask is None:
            return np.ones(face.hq.shape[-2:], np.float32)
        mask = self.own()[1]
        assert mask is not None
        return mask(face.lq[None].to(self.device), face.hq[None].to(self.device))[0, 0].float().cpu().numpy()
