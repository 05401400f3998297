"""MetaF2N on photos: one object, loaded once, called on images, from as many threads as one likes."""

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
from metaf2n_arch.meta.guarded import FRACTIONS, PAPER_LR, Guard, adapt_guarded
from metaf2n_arch.meta.params import Params
from metaf2n_arch.meta.photo import FaceAdaptation
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.modules import pick_device
from metaf2n_arch.utils.options import parse_block
from metaf2n_arch.utils.progress import Progress, silent
from metaf2n_arch.utils.rng import numpy_generator
from metaf2n_arch.weights.loading import Generator, load_generator, load_mask_net
from metaf2n_arch.weights.needs import needs_of_photos
from metaf2n_arch.weights.search import is_here, locate, locate_all


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
        options: of `RestoreOptions`; what they leave open is as in the generator's training, where its file says so.
        learned: a step size for each tensor, where training has learned them.
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
        self._given, self._learned = options, learned
        record = generator.record
        options = options.completed(record)
        if options.finds_faces and (detector is None or restorer is None):
            raise OptionError('adaptation needs a detector and a restorer; give both, or inner_steps 0.')
        if options.learned_rates and learned is None:
            raise OptionError('learned_rates needs the rates themselves; give `learned`, or use MetaF2N.load.')
        self.detector = None if detector is None else detector.to(device)
        self.restorer = None if restorer is None else restorer.to(device)
        self.networks = SharedNetworks(generator, mask, device)
        self.generator, self.mask, self.device = generator, mask, device
        self.options = options
        self.adapt_only = self.networks.names(options.adapt_only)
        self.meta_trained = record is not None and record.meta_trained
        trained_with = record.inner_lr if record is not None and record.meta_trained else None
        self.rates: float | Params = PAPER_LR
        if options.learned_rates or (options.inner_lr == 'auto' and trained_with == 'learned' and learned is not None):
            assert learned is not None
            self.rates = {self.networks.prefix + name: rate.detach().to(device) for name, rate in learned.items()}
        elif options.inner_lr != 'auto':
            self.rates = options.inner_lr
        elif isinstance(trained_with, float):
            self.rates = trained_with
        # Inside the generator only where training had it there, and nothing else is asked for.
        self._fix_inside = record is not None and record.color_fix == options.color_fix
        self._fix_sigma = record.color_fix_sigma if record is not None and self._fix_inside else None

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
        """Reads all networks from files that are on this machine; downloads nothing.

        Args:
            weights: of the generator: a file, or a name of ``metaf2n weights list``.
            architecture: the generator as option files spell it, ``{type: RRDBNet, ...}``; None recognises it.
            param_key: where the generator lies in its file, if there are several networks in it.
            mask_weights: of MaskNet; without them W = 1, every pixel of a restored face is trusted alike.
            mask_architecture: of MaskNet, ``{upsample: authors}``, where its file does not record it.
            detector: its type or option block, see `DetectorOptions`.
            restorer: its type or option block, see `RestorerOptions`; None takes that of the training, else GPEN.
            device: ``cuda``, ``cuda:1``, ``cpu``, ...; None takes a GPU where there is one.
            options: fields of `RestoreOptions`.

        Raises:
            OptionError: a wrong option, with the nearest known one.
            DataError: weights that are missing (with how to get them) or of another network.
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

    def with_options(
        self, *, max_faces: int | None = None, min_confidence: float | None = None, **options: Any
    ) -> MetaF2N:
        """The same networks under other options; what is not named stays as it was given.

        Args:
            max_faces: most faces that are found, the largest ones; None leaves the detector as it is.
            min_confidence: minimum score of a face, 0 to 1; None leaves the detector as it is.
            options: fields of `RestoreOptions`.

        Raises:
            OptionError: a wrong option, or one that needs what was not loaded.
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
        """Whether the weights were trained to be adapted, and what that means for the step, in one line."""
        if not self.options.adapts:
            return 'adaptation is off'
        rate = 'learned' if isinstance(self.rates, dict) else f'{self.rates:g}'
        auto = ' or less' if self.options.inner_lr == 'auto' else ''
        steps = self.options.inner_steps
        step = f'step size {rate}{auto}, {steps} step{"" if steps == 1 else "s"}'
        step += f', colour fix {self.options.color_fix} inside the generator' if self._fix_inside else ''
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
        progress: Progress = silent,
    ) -> Restoration:
        """Finds the faces, adapts to them, restores the photo.

        Args:
            image: (H, W, 3) RGB or (H, W) grey; with alpha (H, W, 4) or (H, W, 2). uint8, uint16, or floats in
                [0, 1]. Alpha is enlarged on its own, bicubically.
            unadapted: also restores the photo without adaptation, at the cost of another pass.
            require_face: a photo without a face is an error.
            outscale: upscaling factor of the result, instead of the generator's own.
            seed: instead of that of the options.
            progress: called now and then with what is counted, how many are done, and of how many, see `Progress`.

        Raises:
            DataError: no face in it, if one is required.
            ValueError: another shape, dtype, or values that are not finite.
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
        """Finds the faces and adapts to them; what it returns restores the photo, strip by strip.

        Args, Raises:
            As `__call__`.
        """
        photo = as_rgb(image)
        if require_face and not self.options.finds_faces:
            raise OptionError('a face is required, but nothing adapts to it; let the inner loop take a step.')
        faces = self.find_faces(photo, progress)
        if require_face and not faces:
            raise DataError('no face found.')
        x = to_tensor(photo)[None].to(self.device)
        probed = self.networks.probe(x) if faces or self.options.color_fix == 'lowfreq' else None
        fix = ColorFix(self.options.color_fix, self._fix_sigma, None if probed is None else probed.traits())
        if faces and self.options.adapts:
            progress('adaptation', 0, 1)
        found = self.adapt(faces, self.options.seed if seed is None else seed, probed, fix)
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
        """The face pairs of an (H, W, 3) photo; none where nothing asks for them."""
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
        """The generator's parameters after the inner loop on these faces; None if there is nothing to adapt to.

        Args:
            faces: from `find_faces`.
            seed: decides where patches lie.
            probed: patches from all over the photo, on which tones are looked at.
            fix: what becomes of the generator's output.
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
            self._fix_inside and fix is not None,
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
        del strip  # it may be a view of many more rows, which must go before the next ones are computed
