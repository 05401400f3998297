"""MetaF2N on photos: one object, loaded once, called on images, from as many threads as one likes."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from metaf2n_arch.faces.detector import Detector, DetectorOptions
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.faces.pairs import FacePair, face_pairs
from metaf2n_arch.faces.pasting import pasted_strips
from metaf2n_arch.faces.restorer import Restorer, RestorerOptions
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.functional.color_fix import ColorFix, ColorFixName, pooled_noise
from metaf2n_arch.functional.low_frequency import SHARPEST, drift
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.kinds import as_rgb
from metaf2n_arch.images.resize import resized_strips
from metaf2n_arch.images.sizes import check_tile, fitting_overlap, output_size
from metaf2n_arch.images.tiles import tiled_strips
from metaf2n_arch.meta.guarded import FRACTIONS, PAPER_LR, PROBE, Guard, adapt_guarded, probes_of
from metaf2n_arch.meta.params import Params, functional, select
from metaf2n_arch.meta.photo import FaceAdaptation
from metaf2n_arch.models.inner_rates import InnerRates
from metaf2n_arch.restoration import STRIP, Opened, Restoration
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.modules import pick_device, shell
from metaf2n_arch.utils.options import Strict, parse_block
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import AnySize, Generator, load_generator, load_mask_net
from metaf2n_arch.weights.needs import needs_of_photos
from metaf2n_arch.weights.search import locate, locate_all

PROBES = (2, 12)
"""Least and largest number of patches, all over the photo, that are restored first."""

_REMEDIES = {
    'float32': 'its weights are damaged or do not belong to it: give other --weights',
    'bfloat16': 'restore in float32, without --bf16',
    'float16': 'it does not take float16: restore without --half, or with --bf16',
}

PRECISIONS = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


class RestoreOptions(Strict):
    """How photos are adapted to and restored."""

    inner_lr: float | Literal['auto'] = 'auto'
    """Step size α of the inner loop; 0.01 in the paper. 0 does not adapt. ``auto`` tries a few on patches that take no
    part in the step, and does not adapt where nothing is gained.
    """
    force_adapt: bool = False
    """Whether a given step size is kept although the loss grows on patches that take no part in the step."""
    color_fix: ColorFixName = 'lowfreq'
    """How the result gets the photo's own tones back: ``lowfreq`` (`low_frequency_fix`), ``wavelet`` (StableSR's), or
    ``none``.
    """
    learned_rates: bool = False
    """Whether to take, instead of `inner_lr`, the rate of each tensor that training with ``inner_lr: learned`` has left
    in the generator's file.
    """
    inner_steps: int = Field(1, ge=0)
    """Steps of the inner loop; 1 in the paper, 0 does not adapt."""
    skip_faces: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Numbers of faces that are left out, counted from 0 from left to right, as `metaf2n restore --list-faces` shows
    them.
    """
    paste_faces: float = Field(0, ge=0, le=1)
    """How much of the restorer's faces is blended into the result: 0 nothing, 1 all."""
    patches: int = Field(16, ge=1)
    """Random patches per face; 16 in the authors' program. At most 32 in all, spread over the faces."""
    patch_size: int = Field(64, ge=4)
    """Side of these patches, in pixels of the restored photo; 64 in the authors' program."""
    adapted: tuple[str, ...] | None = None
    """Name patterns of the generator's tensors that may move; all if None."""
    seed: int = Field(0, ge=0)
    """Seed of the patches' places."""
    tile: int = Field(512, ge=0)
    """Longest side, in pixels of the photo, of what the generator is given at once; 0 gives it the whole photo."""
    overlap: int = Field(24, ge=0)
    """Pixels of surroundings that a tile sees beyond what it contributes."""
    precision: Literal['float32', 'bfloat16', 'float16'] = 'float32'
    """Arithmetic of the photo's pass through the generator; the inner loop always runs in float32, because its steps
    are smaller than what half precision resolves.
    """

    @field_validator('inner_lr', mode='before')
    @classmethod
    def _a_rate(cls, value: object) -> object:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value != 'auto' and not (number and 0 <= value < math.inf):  # type: ignore[operator]  # a number by now
            raise ValueError('expected a number from 0 on, or auto')
        return value

    @property
    def adapts(self) -> bool:
        """Whether there is an inner loop at all; without, no face is looked for."""
        return self.inner_steps > 0 and (self.learned_rates or self.inner_lr != 0)


class MetaF2N:
    """Restores photos with a generator that adapts to each from the faces in it (Yin et al., ICCV 2023).

    The weights are never changed: what a photo taught is gone with its result. Calls may run in several threads at
    once. Build it with `load`, or from parts.

    Args:
        generator: what restores.
        mask: MaskNet, or None: W = 1, every pixel of a restored face is trusted alike.
        detector: finds faces; None where nothing is adapted.
        restorer: restores them; None where nothing is adapted.
        device: where the networks run.
        options: of `RestoreOptions`.
    """

    def __init__(
        self,
        generator: Generator,
        mask: nn.Module | None,
        detector: Detector | None,
        restorer: Restorer | None,
        device: torch.device,
        options: RestoreOptions,
    ) -> None:
        check_tile(options.tile, options.overlap)
        if options.precision == 'float16' and device.type == 'cpu':
            raise OptionError('precision float16 needs a GPU; on a CPU take bfloat16 or float32.')
        self.generator = generator
        self.mask = mask
        if options.adapts and (detector is None or restorer is None):
            raise OptionError('adaptation needs a detector and a restorer; give both, or inner_steps 0.')
        self.detector = None if detector is None else detector.to(device)
        self.restorer = None if restorer is None else restorer.to(device)
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
        record = generator.record if generator.record is not None and generator.record.meta_trained else None
        self.meta_trained = record is not None
        self.steps = options.inner_steps
        if record is not None and record.inner_steps and 'inner_steps' not in options.model_fields_set:
            self.steps = record.inner_steps
        self.rates: float | Params
        if options.inner_lr == 'auto':
            given = None if record is None else record.inner_lr
            self.rates = given if isinstance(given, float) else PAPER_LR
        else:
            self.rates = options.inner_lr
        self._own = threading.local()

    @classmethod
    def load(
        cls,
        weights: str | Path,
        *,
        architecture: Mapping[str, Any] | None = None,
        param_key: str | None = None,
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
            param_key: where the generator lies in its file, if there are several networks in it.
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
        if not parsed.adapts:
            return cls(load_generator(weights, architecture, param_key), None, None, None, place, parsed)
        locate_all(
            needs_of_photos(
                weights,
                mask_weights,
                None if isinstance(detector, Detector) else detector,
                None if isinstance(restorer, Restorer) else restorer,
            )
        )
        sr = cls(
            load_generator(weights, architecture, param_key),
            None if mask_weights is None else load_mask_net(mask_weights, mask_architecture),
            detector if isinstance(detector, Detector) else build_detector(detector, place),
            restorer if isinstance(restorer, Restorer) else build_restorer(restorer),
            place,
            parsed,
        )
        record = sr.generator.record
        if parsed.learned_rates or (parsed.inner_lr == 'auto' and record is not None and record.inner_lr == 'learned'):
            sr._learn_rates(locate(weights))
        return sr

    @classmethod
    def from_pretrained(
        cls, repo: str, *, file: str = 'model.safetensors', revision: str | None = None, **arguments: Any
    ) -> MetaF2N:
        """Reads the generator from a repository of the Hugging Face hub, fetched if it is not in its cache.

        Args:
            repo: ``owner/name``.
            file: its name in the repository.
            revision: branch, tag or commit.
            arguments: of `load`.

        Raises:
            OptionError, DataError: as `load`; or the hub cannot be reached, or has no such file.
        """
        from metaf2n_arch.weights.hub import download

        return cls.load(download(repo, file, revision), **arguments)

    def _learn_rates(self, path: Path) -> None:
        learned = InnerRates([name.removeprefix(self._inside) for name in self.adapted], PAPER_LR)
        learned.load(path, required=True)
        self.rates = {self._inside + name: rate.detach().to(self.device) for name, rate in learned.by_name().items()}

    @property
    def about(self) -> str:
        """Whether the weights were trained to be adapted, and what that means for the step, in one line."""
        if not self.options.adapts:
            return 'adaptation is off'
        rate = 'learned' if isinstance(self.rates, dict) else f'{self.rates:g}'
        auto = ' or less' if self.options.inner_lr == 'auto' else ''
        step = f'step size {rate}{auto}, {self.steps} step{"" if self.steps == 1 else "s"}'
        if self.meta_trained:
            return f'the weights are meta-trained; {step}'
        return f'the weights are not meta-trained (or do not say so), adaptation gains little; {step}'

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
            inner_lr=opened.inner_lr,
            reason=opened.reason,
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
        if require_face and self.detector is None:
            raise OptionError('a face is required, but nothing adapts to it; let the inner loop take a step.')
        faces = self.find_faces(photo)
        if require_face and not faces:
            raise DataError('no face found.')
        x = to_tensor(photo)[None].to(self.device)
        probed = self._probe(x) if faces or self.options.color_fix == 'lowfreq' else None
        fix = ColorFix(self.options.color_fix, noise=None if probed is None else pooled_noise(*probed))
        found = self.adapt(faces, self.options.seed if seed is None else seed, probed, fix)
        params = found.fast_params if found is not None and found.kept else None
        size = output_size(image, self.scale if outscale is None else outscale)

        def restore(with_params: bool, tile: int | None) -> Iterator[Tensor]:
            plain = self._restore(params if with_params else None, x, tile)
            paste = self.options.paste_faces
            pasted = pasted_strips(plain, faces, (x.shape[-2], x.shape[-1]), self.scale, paste) if paste else plain
            strips = fix.in_strips(pasted, x)
            shown = (strip.clamp(0, 1) for strip in strips)
            return resized_strips(shown, (self.scale * x.shape[-2], self.scale * x.shape[-1]), size)

        taken = found.fraction * self.rates if params is not None and found and isinstance(self.rates, float) else None
        return Opened(
            source=image,
            size=size,
            faces=faces,
            gain=found.gain if found is not None else None,
            adapted=params is not None,
            inner_lr=taken,
            reason=found.reason if found is not None else None,
            _restore=restore,
        )

    def find_faces(self, photo: np.ndarray) -> list[FacePair]:
        """The face pairs of an (H, W, 3) photo; none where nothing would adapt to them."""
        if self.detector is None or self.restorer is None:
            return []
        skipped, paste = self.options.skip_faces, self.options.paste_faces
        return face_pairs(photo, self.detector, self.restorer, self.scale, skipped=skipped, keep_aligned=paste > 0)

    def adapt(
        self,
        faces: Sequence[FacePair],
        seed: int = 0,
        probed: tuple[Tensor, Tensor] | None = None,
        fix: ColorFix | None = None,
    ) -> FaceAdaptation | None:
        """The generator's parameters after the inner loop on these faces; None if there is nothing to adapt to.

        Args:
            faces: from `find_faces`.
            seed: decides where patches lie.
            probed: patches from all over the photo, restored without adaptation, and as they are.
            fix: what becomes of the generator's output.
        """
        options = self.options
        if not faces or not options.adapts:
            return None
        net, mask = self._own_networks()
        pairs = [(self._move(face.lq), self._move(face.hq)) for face in faces]
        guard = Guard(
            None if probed is None else probed[1],
            lambda y, x: drift(y, x, SHARPEST),
            ColorFix('none') if fix is None else fix,
            FRACTIONS if options.inner_lr == 'auto' else (1.0,),
            options.force_adapt,
        )
        return adapt_guarded(
            net,
            mask,
            pairs,
            numpy_generator(seed),
            guard,
            patches=options.patches,
            patch_size=max(1, options.patch_size // self.scale),
            inner_lr=self.rates,
            inner_steps=self.steps,
            adapted=self.adapted,
        )

    @torch.no_grad()
    def _probe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Patches from all over the photo: restored with the weights as they are, and as they are in the photo."""
        count = min(max(round(x.shape[-2] * x.shape[-1] / (10 * PROBE**2)), PROBES[0]), PROBES[1])
        patches = probes_of(x, PROBE, count, numpy_generator(0))
        output = functional(self._own_networks()[0], torch.channels_last)({}, patches)
        return output.nan_to_num().clamp(0, 1), patches

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
            if not all(bool(torch.isfinite(part).all()) for part in strip.split(STRIP, -2)):
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
