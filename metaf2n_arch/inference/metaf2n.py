"""MetaF2N on photos: an object that is loaded once and called on images, from any number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metaf2n_arch.faces.detector import Detector, DetectorOptions
from metaf2n_arch.faces.detectors import build_detector
from metaf2n_arch.faces.pairs import FacePair, face_pairs
from metaf2n_arch.faces.pasting import pasted_strips
from metaf2n_arch.faces.restorer import Restorer, RestorerOptions
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.functional.color_fix import ColorFix
from metaf2n_arch.functional.low_frequency import SHARPEST, drift
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.kinds import as_rgb
from metaf2n_arch.images.resize import resized_strips
from metaf2n_arch.images.sizes import check_tile, output_size
from metaf2n_arch.inference.networks import Probed, SharedNetworks
from metaf2n_arch.inference.recorded import learned_rates, recorded_restorer
from metaf2n_arch.inference.restoration import Opened, Restoration
from metaf2n_arch.inference.restore_options import RestoreOptions
from metaf2n_arch.meta.guarded import FRACTIONS, UNTRAINED_LR, Behind, Guard, adapt_guarded
from metaf2n_arch.meta.params import Params
from metaf2n_arch.meta.photo import FaceAdaptation
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.modules import emulates_bfloat16, pick_device
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.progress import Progress, silent
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import Generator, load_generator, load_mask_net
from metaf2n_arch.weights.needs import needs_of_photos
from metaf2n_arch.weights.search import is_here, locate, locate_all


class MetaF2N:
    """Restores photos with a generator that adapts to each photo from the faces in it (Yin et al., ICCV 2023).

    The loaded weights never change: each photo starts from them again. Calls may run in several threads at once. Build
    it with `load`, or from parts.

    Args:
        generator: the generator, which restores photos.
        mask: MaskNet; None means W = 1, the same confidence for every pixel of a restored face.
        detector: finds faces; may be None without adaptation and pasted faces.
        restorer: restores faces; may be None without adaptation and pasted faces.
        device: where the networks run.
        options: see `RestoreOptions`. Options that are not given are taken from the training record in the generator's
            file, if it has one.
        learned: step size for each tensor of the generator, from training with ``inner_lr: learned``.

    Raises:
        OptionError: an option needs a part that is not given, or a GPU.
    """

    def __init__(
        self,
        generator: Generator,
        mask: nn.Module | None,
        detector: Detector | None,
        restorer: Restorer | None,
        device: torch.device,
        options: RestoreOptions,
        learned: Params | None = None,
    ) -> None:
        check_tile(options.tile, options.overlap)
        if options.precision == 'float16' and device.type == 'cpu':
            raise OptionError('precision float16 needs a GPU; on a CPU take bfloat16 or float32.')
        if options.backend == 'ncnn' and device.type != 'cpu':
            raise OptionError(f'backend ncnn computes on the CPU, and device is {device}; take backend torch.')
        self._given, self._learned = options, learned
        record = generator.record
        options = options.completed(record)
        if options.finds_faces and (detector is None or restorer is None):
            raise OptionError('adaptation needs a detector and a restorer; give both, or inner_steps 0.')
        if options.learned_rates and learned is None:
            raise OptionError('learned_rates needs the learned step sizes; give `learned`, or use MetaF2N.load.')
        self.detector = None if detector is None else detector.to(device)
        self.restorer = None if restorer is None else restorer.to(device)
        self.networks = SharedNetworks(generator, mask, device, options.backend)
        self.generator, self.mask, self.device = generator, mask, device
        self.options = options
        self.adapt_only = self.networks.names(options.adapt_only)
        self.meta_trained = record is not None and record.meta_trained
        trained_with = record.inner_lr if record is not None and record.meta_trained else None
        self.rates: float | Params = UNTRAINED_LR
        if options.learned_rates or (options.inner_lr == 'auto' and trained_with == 'learned' and learned is not None):
            assert learned is not None
            self.rates = {self.networks.prefix + name: rate.detach().to(device) for name, rate in learned.items()}
        elif options.inner_lr != 'auto':
            self.rates = options.inner_lr
        elif isinstance(trained_with, float):
            self.rates = trained_with
        # A meta-trained generator is compared with the faces as it was in training; others behind the colour fix, which
        # would undo the tones of a plain step, and leave the rest of its changes.
        fix_inside = record is not None and record.color_fix == options.color_fix
        self._behind: Behind = 'both' if not self.meta_trained else 'output' if fix_inside else 'neither'
        self._fix_sigma = record.color_fix_sigma if record is not None and fix_inside else None

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
        restorer: Mapping[str, Any] | RestorerOptions | Restorer | str | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> MetaF2N:
        """Loads all networks from files on this machine; downloads nothing.

        Args:
            weights: file of the generator's weights, or a name from ``metaf2n weights list``.
            architecture: option block of the generator, ``{type: RRDBNet, ...}``; None recognises it from the file.
            param_key: key of the generator in its file, if the file holds several networks, such as ``params_ema``.
            mask_weights: file of MaskNet's weights; None means W = 1, the same confidence for every pixel of a restored
                face.
            mask_architecture: option block of MaskNet, ``{upsample: authors}``, if its file does not record it.
            detector: type or option block of the face detector, see `DetectorOptions`.
            restorer: type or option block of the face restorer, see `RestorerOptions`; None takes that of the
                generator's training if its file records it, otherwise GPEN.
            device: ``cuda``, ``cuda:1``, ``cpu``, ...; None takes a GPU if there is one.
            options: fields of `RestoreOptions`.

        Raises:
            OptionError: an option is wrong.
            DataError: weights are missing (the message says how to get them) or belong to another network.
        """
        parsed = parse_block(RestoreOptions, options, '')
        place = pick_device(device)
        generator = None
        if is_here(weights):
            generator = load_generator(weights, architecture, param_key)
        if restorer is None:
            restorer = recorded_restorer(generator.record) if generator is not None else 'gpen'
        if parsed.finds_faces:
            ready_detector, ready_restorer = isinstance(detector, Detector), isinstance(restorer, Restorer)
            found = None if ready_detector else detector, None if ready_restorer else restorer
            locate_all(needs_of_photos(weights, mask_weights if parsed.adapts else None, *found))
        if generator is None:
            generator = load_generator(weights, architecture, param_key)
        if not parsed.finds_faces:
            return cls(generator, None, None, None, place, parsed)
        return cls(
            generator,
            load_mask_net(mask_weights, mask_architecture) if mask_weights is not None and parsed.adapts else None,
            detector if isinstance(detector, Detector) else build_detector(detector, place),
            restorer if isinstance(restorer, Restorer) else build_restorer(restorer),
            place,
            parsed,
            learned_rates(generator, locate(weights), parsed),
        )

    @classmethod
    def from_pretrained(
        cls, repo: str, *, file: str = 'model.safetensors', revision: str | None = None, **arguments: Any
    ) -> MetaF2N:
        """Loads the generator from a repository of the Hugging Face hub, which is downloaded unless it is in the cache.

        Args:
            repo: the repository, ``owner/name``.
            file: name of the file in the repository.
            revision: branch, tag or commit.
            arguments: further arguments of `load`.

        Raises:
            OptionError, DataError: as `load`; or the hub cannot be reached, or has no such file.
        """
        from metaf2n_arch.weights.hub import download

        return cls.load(download(repo, file, revision), **arguments)

    def with_options(
        self, *, max_faces: int | None = None, min_confidence: float | None = None, **options: Any
    ) -> MetaF2N:
        """Returns a restorer with the same networks and other options; options that are not named keep their values.

        Args:
            max_faces: largest number of faces, the largest faces first; None does not change the detector.
            min_confidence: minimum score of a face, 0 to 1; None does not change the detector.
            options: fields of `RestoreOptions`.

        Raises:
            OptionError: an option is wrong, or needs a network that was not loaded.
        """
        given = {name: getattr(self._given, name) for name in self._given.model_fields_set}
        parsed = parse_block(RestoreOptions, {**given, **options}, '')
        wanted = {'max_faces': max_faces, 'confidence': min_confidence}
        changed = {name: value for name, value in wanted.items() if value is not None}
        detector = None if self.detector is None else self.detector.with_options(**changed)
        parts = self.generator, self.mask, detector, self.restorer
        return MetaF2N(*parts, self.device, parsed, self._learned)

    @property
    def about(self) -> str:
        """One line for the user: whether the weights are meta-trained, the step size and number of steps, and whether
        the precision is slow on this device."""
        if self.options.precision == 'bfloat16' and emulates_bfloat16(self.device):
            return f'{self._step}; this CPU has no instructions for bfloat16 and takes about ten times as long with it'
        return self._step

    @property
    def _step(self) -> str:
        if not self.options.adapts:
            return 'adaptation is off'
        rate = 'learned' if isinstance(self.rates, dict) else f'{self.rates:g}'
        auto = ' or less' if self.options.inner_lr == 'auto' else ''
        steps = self.options.inner_steps
        step = f'step size {rate}{auto}, {steps} step{"" if steps == 1 else "s"}'
        step += f', colour fix {self.options.color_fix} inside the generator' if self._behind == 'output' else ''
        if self.meta_trained:
            return f'the weights are meta-trained; {step}'
        return f'the weights are not meta-trained (or have no training record), adaptation gains little; {step}'

    @property
    def scale(self) -> int:
        """Upscaling factor s of the generator."""
        return self.generator.scale

    def __call__(
        self,
        image: np.ndarray,
        *,
        unadapted: bool = False,
        require_face: bool = False,
        outscale: float | None = None,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> Restoration:
        """Finds the faces, adapts to them, restores the photo.

        Args:
            image: (H, W, 3) RGB or (H, W) grey; with alpha (H, W, 4) or (H, W, 2). uint8, uint16, or floats in
                [0, 1]. Alpha is enlarged separately, bicubic.
            unadapted: whether to restore the photo without adaptation, too; needs a second pass.
            require_face: whether a photo without a face is an error.
            outscale: upscaling factor of the result; None takes that of the generator.
            seed: seed of the patches; None takes that of the options.
            progress: called now and then with what is counted, how many are done, and of how many, see `Progress`.

        Raises:
            DataError: no face is found, with `require_face`; a given step size is far too large; or the generator's
                output is not finite.
            OptionError: `require_face` without adaptation, or a wrong `outscale`.
            ValueError: `image` has another shape or dtype, or values that are not finite.
        """
        opened = self.open(image, require_face=require_face, outscale=outscale, seed=seed, progress=progress)
        plain, result = opened.images() if unadapted else (None, opened.image())
        return Restoration(
            image=result,
            faces=opened.faces,
            gain=opened.gain,
            adapted=opened.adapted,
            inner_lr=opened.inner_lr,
            reason=opened.reason,
            unadapted=plain,
            _confide=self.networks.confidence,
        )

    def open(
        self,
        image: np.ndarray,
        *,
        require_face: bool = False,
        outscale: float | None = None,
        seed: int | None = None,
        progress: Progress = silent,
    ) -> Opened:
        """Finds the faces and adapts to them; the returned object then restores the photo, strip by strip.

        Args, Raises:
            As `__call__`.
        """
        photo = as_rgb(image)
        if require_face and not self.options.finds_faces:
            raise OptionError('require_face is set, but adaptation is off; give inner_lr and inner_steps above 0.')
        faces = self.find_faces(photo, progress)
        if require_face and not faces:
            raise DataError('no face found.')
        x = to_tensor(photo)[None].to(self.device)
        probed = self.networks.probe(x) if faces or self.options.color_fix == 'lowfreq' else None
        fix = ColorFix(self.options.color_fix, self._fix_sigma, None if probed is None else probed.traits())
        if faces and self.options.adapts:
            progress('adaptation', 0, 1)
        found = self.adapt(faces, self.options.seed if seed is None else seed, probed, fix)
        if found is not None and found.gain is not None and found.gain.diverged and self.options.inner_lr != 'auto':
            raise DataError(f'the step size {self.options.inner_lr:g} is far too large; give a smaller one, or auto.')
        params = found.fast_params if found is not None and found.kept else None
        size = output_size(image, self.scale if outscale is None else outscale)

        def restore(with_params: bool, tile: int | None, progress: Progress) -> Iterator[Tensor]:
            plain = self.networks.strips(params if with_params else None, x, self.options, tile, progress)
            paste = self.options.paste_faces
            pasted = pasted_strips(plain, faces, (x.shape[-2], x.shape[-1]), self.scale, paste) if paste else plain
            strips = fix.in_strips(pasted, x)
            return resized_strips(_shown(strips), (self.scale * x.shape[-2], self.scale * x.shape[-1]), size)

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
            _progress=progress,
        )

    def find_faces(self, photo: np.ndarray, progress: Progress = silent) -> list[FacePair]:
        """The face pairs of an (H, W, 3) RGB photo; an empty list without adaptation and pasted faces."""
        if self.detector is None or self.restorer is None or not self.options.finds_faces:
            return []
        skipped, paste = self.options.skip_faces, self.options.paste_faces
        return face_pairs(
            photo,
            self.detector,
            self.restorer,
            self.scale,
            skipped=skipped,
            keep_aligned=paste > 0,
            progress=progress,
        )

    def adapt(
        self,
        faces: Sequence[FacePair],
        seed: int = 0,
        probed: Probed | None = None,
        fix: ColorFix | None = None,
    ) -> FaceAdaptation | None:
        """The generator's parameters after the inner loop on these faces; None without faces or without adaptation.

        Args:
            faces: from `find_faces`.
            seed: seed of the patches' positions.
            probed: patches from all over the photo, on which the change of tones is measured; None skips this check.
            fix: colour fix of the generator's output; None applies none.
        """
        options = self.options
        if not faces or not options.adapts:
            return None
        net, mask = self.networks.own()
        pairs = [(face.lq.to(self.device), face.hq.to(self.device)) for face in faces]
        guard = Guard(
            None if probed is None else probed.patches,
            lambda y, x: drift(y, x, SHARPEST),
            ColorFix('none') if fix is None else fix,
            self._behind,
            FRACTIONS if options.inner_lr == 'auto' else (1.0,),
            options.force_adapt,
            None if probed is None else probed.restored,
        )
        return adapt_guarded(
            net,
            mask,
            pairs,
            numpy_generator(seed),
            guard,
            patches=options.patches,
            lq_patch_size=max(1, options.patch_size // self.scale),
            inner_lr=self.rates,
            inner_steps=options.inner_steps,
            adapt_only=self.adapt_only,
        )


def _shown(strips: Iterator[Tensor]) -> Iterator[Tensor]:
    """Strips clamped to [0, 1]."""
    for strip in strips:
        yield strip.clamp(0, 1)
        del strip  # it may be a view of a larger tensor, which must be freed before the next one is computed
