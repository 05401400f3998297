"""MetaF2N on photos: one object, loaded once, called on images, from as many threads as one likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from metaf2n_arch.faces.detector import Detector, DetectorOptions, build_detector
from metaf2n_arch.faces.pairs import FacePair, face_pairs
from metaf2n_arch.faces.restorer import Restorer, RestorerOptions, build_restorer
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.kinds import as_rgb, like_input, output_size
from metaf2n_arch.images.resize import resized_strips
from metaf2n_arch.images.tiles import check_tile, fitting_overlap, tiled_strips
from metaf2n_arch.meta.params import Params, functional, select
from metaf2n_arch.meta.photo import FaceAdaptation, Gain, adapt_to_faces
from metaf2n_arch.models.inner_rates import InnerRates
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.modules import pick_device, shell
from metaf2n_arch.utils.options import Strict, parse_block
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.download import locate
from metaf2n_arch.weights.loading import AnySize, Generator, load_generator, load_mask_net

MEASURED = 4
"""Patches of each face on which the gain is measured: an estimate, for a quarter of what all 16 would cost."""

_STRIP = 256
"""Rows of a result that are converted at once."""

_REMEDIES = {
    'float32': 'its weights are damaged or do not belong to it: give other --weights',
    'bfloat16': 'restore in float32, without --bf16',
    'float16': 'it does not take float16: restore without --half, or with --bf16',
}

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class RestoreOptions(Strict):
    """How photos are adapted to and restored.

    Attributes:
        inner_lr: α of the inner loop; the paper's 0.01.
        learned_rates: takes, instead of `inner_lr`, the rate of each tensor that training with ``inner_lr: learned``
            has left in the generator's file.
        inner_steps: steps of the inner loop; 1 in the paper, 0 does not adapt.
        patches: random patches per face; 16 in the authors' program.
        patch_size: their side in pixels of the restored photo; 64 in the authors' program.
        adapted: name patterns of the generator's tensors that may move; all if None.
        seed: decides where the patches lie.
        tile: longest side, in pixels of the photo, of what the generator is given at once; 0 gives it the whole photo.
        overlap: pixels of surroundings that a tile sees beyond what it contributes.
        precision: of the photo's pass through the generator; the inner loop always runs in float32, because its steps
            are smaller than what half precision resolves.
    """

    inner_lr: float = Field(1e-2, ge=0)
    learned_rates: bool = False
    inner_steps: int = Field(1, ge=0)
    patches: int = Field(16, ge=1)
    patch_size: int = Field(64, ge=4)
    adapted: tuple[str, ...] | None = None
    seed: int = Field(0, ge=0)
    tile: int = Field(512, ge=0)
    overlap: int = Field(24, ge=0)
    precision: Literal['float32', 'bfloat16', 'float16'] = 'float32'


@dataclass(eq=False)
class Restoration:
    """A restored photo.

    Attributes:
        image: the photo, s times as large, of the kind that was given.
        faces: its faces, from left to right: LQ and HQ crops (RGB in [0, 1]), boxes in the photo, landmarks, scores.
        gain: what adaptation gained on some patches of each face; None where there was none to adapt to.
        adapted: whether `image` comes from adapted weights: there was a face, and the inner loop led somewhere.
        unadapted: the photo restored with the weights as they are, if it was asked for.
    """

    image: np.ndarray
    faces: list[FacePair]
    gain: Gain | None
    adapted: bool
    unadapted: np.ndarray | None = None
    _confide: Callable[[FacePair], np.ndarray] = field(repr=False, default=lambda face: np.ones(face.hq.shape[-2:]))

    @cached_property
    def confidence(self) -> list[np.ndarray]:
        """How far each restored face is trusted, W per pixel, (s·h, s·w) float32; computed when first asked for."""
        return [self._confide(face) for face in self.faces]


@dataclass(eq=False)
class Opened:
    """A photo whose faces are found and adapted to, and which is restored strip by strip.

    Attributes:
        source: the photo, as it was given.
        size: height and width of the result.
        faces, gain, adapted: see `Restoration`.
    """

    source: np.ndarray
    size: tuple[int, int]
    faces: list[FacePair]
    gain: Gain | None
    adapted: bool
    _restore: Callable[[bool, int | None], Iterator[Tensor]] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: (H, W) or (H, W, C)."""
        return (*self.size, *self.source.shape[2:])

    def strips(self, adapted: bool = True, tile: int | None = None) -> Iterator[np.ndarray]:
        """The result in strips from top to bottom, of the kind of the photo; memory for one row of tiles is needed.

        Args:
            adapted: with what the faces have taught, if there is anything; else with the weights as they are.
            tile: instead of that of the options; its surroundings are made to fit.

        Raises:
            DataError: the generator's values are not finite.
        """
        first = 0
        for strip in self._restore(adapted and self.adapted, tile):
            for part in strip.split(_STRIP, -2):
                yield like_input(part, self.source, first, self.size[0])
                first += part.shape[-2]

    def image(self, adapted: bool = True) -> np.ndarray:
        """The whole result; see `strips`."""
        return np.concatenate(list(self.strips(adapted)))


class MetaF2N:
    """Restores photos with a generator that adapts to each from the faces in it (Yin et al., ICCV 2023).

    The weights are never changed: what a photo taught is gone with its result. Calls may run in several threads at
    once. Build it with `load`, or from parts.

    Args:
        generator: what restores.
        mask: MaskNet, or None: W = 1, every pixel of a restored face is trusted alike.
        detector: finds faces.
        restorer: restores them.
        device: where the networks run.
        options: of `RestoreOptions`.
    """

    def __init__(
        self,
        generator: Generator,
        mask: nn.Module | None,
        detector: Detector,
        restorer: Restorer,
        device: torch.device,
        options: RestoreOptions,
    ) -> None:
        check_tile(options.tile, options.overlap)
        if options.precision == 'float16' and device.type == 'cpu':
            raise OptionError('precision float16 needs a GPU; on a CPU take bfloat16 or float32.')
        self.generator = generator
        self.mask = mask
        self.detector = detector.to(device)
        self.restorer = restorer.to(device)
        self.device = device
        self.options = options
        # Convolutions of many channels are faster so, by a third on CPUs.
        for net in (generator.net, self.mask):
            if net is not None:
                net.to(device).to(memory_format=torch.channels_last)
        # A wrapped network's tensors are still called as in its file.
        self._inside = 'net.' if isinstance(generator.net, AnySize) else ''
        names = [name.removeprefix(self._inside) for name, _ in generator.net.named_parameters()]
        self.adapted = [self._inside + name for name in select(names, options.adapted)]
        self.rates: float | Params = options.inner_lr
        self._own = threading.local()

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        architecture: Mapping[str, Any] | None = None,
        mask_weights: str | Path | None = None,
        mask_architecture: Mapping[str, Any] | None = None,
        detector: Mapping[str, Any] | DetectorOptions | Detector | str = 'retinaface_resnet50',
        restorer: Mapping[str, Any] | RestorerOptions | Restorer | str = 'gpen',
        device: str | torch.device | None = None,
        **options: Any,
    ) -> MetaF2N:
        """Reads all networks from files that are on this machine; downloads nothing.

        Args:
            weights: of the generator: a file, or a name of ``metaf2n weights list``.
            architecture: the generator as option files spell it, ``{type: RRDBNet, ...}``; None recognises it.
            mask_weights: of MaskNet; without them W = 1, every pixel of a restored face is trusted alike.
            mask_architecture: of MaskNet, ``{upsample: authors}``, where its file does not record it.
            detector: its type or option block, see `DetectorOptions`.
            restorer: its type or option block, see `RestorerOptions`.
            device: ``cuda``, ``cuda:1``, ``cpu``, ...; None takes a GPU where there is one.
            options: fields of `RestoreOptions`.

        Raises:
            OptionError: a wrong option, with the nearest known one.
            DataError: weights that are missing (with how to get them) or of another network.
        """
        parsed = parse_block(RestoreOptions, options, '')
        place = pick_device(device)
        sr = cls(
            load_generator(weights, architecture),
            None if mask_weights is None else load_mask_net(mask_weights, mask_architecture),
            detector if isinstance(detector, Detector) else build_detector(detector, place),
            restorer if isinstance(restorer, Restorer) else build_restorer(restorer),
            place,
            parsed,
        )
        if parsed.learned_rates:
            sr._learn_rates(locate(weights))
        return sr

    def _learn_rates(self, path: Path) -> None:
        learned = InnerRates([name.removeprefix(self._inside) for name in self.adapted], self.options.inner_lr)
        learned.load(path, required=True)
        self.rates = {self._inside + name: rate.detach().to(self.device) for name, rate in learned.by_name().items()}

    @property
    def scale(self) -> int:
        """How many times larger a restored photo is."""
        return self.generator.scale

    def __call__(
        self,
        image: np.ndarray,
        *,
        unadapted: bool = False,
        require_face: bool = False,
        outscale: float | None = None,
        seed: int | None = None,
    ) -> Restoration:
        """Finds the faces, adapts to them, restores the photo.

        Args:
            image: (H, W, 3) RGB or (H, W) grey; with alpha (H, W, 4) or (H, W, 2). uint8, uint16, or floats in
                [0, 1]. Alpha is enlarged on its own, bicubically.
            unadapted: also restores the photo without adaptation, at the cost of another pass.
            require_face: a photo without a face is an error.
            outscale: size of the result in sizes of the photo, instead of the generator's own.
            seed: instead of that of the options.

        Raises:
            DataError: no face in it, if one is required.
            ValueError: another shape, dtype, or values that are not finite.
        """
        opened = self.open(image, require_face=require_face, outscale=outscale, seed=seed)
        result = opened.image()
        plain = None
        if unadapted:
            plain = opened.image(adapted=False) if opened.adapted else result
        return Restoration(
            image=result,
            faces=opened.faces,
            gain=opened.gain,
            adapted=opened.adapted,
            unadapted=plain,
            _confide=self._confide,
        )

    def open(
        self,
        image: np.ndarray,
        *,
        require_face: bool = False,
        outscale: float | None = None,
        seed: int | None = None,
    ) -> Opened:
        """Finds the faces and adapts to them; what it returns restores the photo, strip by strip.

        Args, Raises:
            As `__call__`.
        """
        photo = as_rgb(image)
        faces = self.find_faces(photo)
        if require_face and not faces:
            raise DataError('no face found.')
        found = self.adapt(faces, self.options.seed if seed is None else seed)
        adapted = found is not None and (found.gain is None or found.gain.finite)
        params = found.fast_params if found is not None and adapted else None
        x = to_tensor(photo)[None]
        size = output_size(image, self.scale if outscale is None else outscale)

        def restore(with_params: bool, tile: int | None) -> Iterator[Tensor]:
            strips = self._restore(params if with_params else None, x, tile)
            return resized_strips(strips, (self.scale * x.shape[-2], self.scale * x.shape[-1]), size)

        gain = found.gain if found is not None else None
        return Opened(image, size, faces, gain, adapted, restore)

    def find_faces(self, photo: np.ndarray) -> list[FacePair]:
        """The face pairs of an (H, W, 3) photo."""
        return face_pairs(photo, self.detector, self.restorer, self.scale)

    def adapt(self, faces: Sequence[FacePair], seed: int = 0) -> FaceAdaptation | None:
        """The generator's parameters after the inner loop on these faces; None if there is nothing to adapt to."""
        options = self.options
        if not faces or options.inner_steps == 0:
            return None
        net, mask = self._own_networks()
        pairs = [(self._move(face.lq), self._move(face.hq)) for face in faces]
        return adapt_to_faces(
            net,
            mask,
            pairs,
            numpy_generator(seed),
            patches=options.patches,
            patch_size=max(1, options.patch_size // self.scale),
            inner_lr=self.rates,
            inner_steps=options.inner_steps,
            adapted=self.adapted,
            measure=MEASURED,
        )

    @torch.no_grad()
    def _restore(self, params: Params | None, image: Tensor, tile: int | None) -> Iterator[Tensor]:
        """The whole photo through the generator; (1, 3, H, W) -> strips (1, 3, h, s·W), float32 in [0, 1], in place."""
        net, _ = self._own_networks()
        options = self.options
        dtype = PRECISIONS[options.precision]
        state = dict(params or {})
        if dtype != torch.float32:
            tensors = {**dict(net.named_parameters()), **dict(net.named_buffers()), **state}
            state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
        call = functional(net, torch.channels_last)

        def run(x: Tensor) -> Tensor:
            return call(state, x.to(dtype)).float()

        tile, overlap = (
            (options.tile, options.overlap) if tile is None else (tile, fitting_overlap(tile, options.overlap))
        )
        for strip in tiled_strips(run, image.to(self.device), scale=self.scale, tile=tile, overlap=overlap):
            # In parts, and in place: a strip of a large photo takes half a gigabyte.
            if not all(bool(torch.isfinite(part).all()) for part in strip.split(_STRIP, -2)):
                raise DataError(f'the generator gives values that are not finite; {_REMEDIES[options.precision]}.')
            yield strip.clamp_(0, 1)

    @torch.no_grad()
    def _confide(self, face: FacePair) -> np.ndarray:
        if self.mask is None:
            return np.ones(face.hq.shape[-2:], np.float32)
        mask = self._own_networks()[1]
        assert mask is not None
        return mask(self._move(face.lq)[None], self._move(face.hq)[None])[0, 0].float().cpu().numpy()

    def _own_networks(self) -> tuple[nn.Module, nn.Module | None]:
        """This thread's own shells of the networks, round the shared weights.

        Calling a module with other parameters puts them in its place for the time of the call: another thread that used
        the same module meanwhile would run with them, and might leave them there.
        """
        if not hasattr(self._own, 'networks'):
            self._own.networks = shell(self.generator.net), None if self.mask is None else shell(self.mask)
        return self._own.networks

    def _move(self, image: Tensor) -> Tensor:
        return image.to(self.device)
