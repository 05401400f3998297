"""Loads the networks of the restorers: each function reads a weights file that is already on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from metaf2n_arch.faces.restorer import NetworkRestorer, Restorer, RestorerOptions
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.utils.download import locate
from metaf2n_arch.utils.pretrained import read_weights

# Widths of the published GPEN networks: size -> (channel_multiplier, narrow).
GPEN_WIDTHS: dict[int, tuple[int, float]] = {256: (1, 0.5), 512: (2, 1.0), 1024: (2, 1.0), 2048: (2, 1.0)}
DEFAULT_WEIGHTS = {'gfpgan': 'gfpgan_v1.4', 'restoreformer': 'restoreformer', 'codeformer': 'codeformer'}


def load_restorer(options: RestorerOptions, where: str) -> Restorer:
    """Builds the restorer that `options` describe from its weights.

    Raises:
        DataError: the weights are missing, or of another network.
        OptionError: a package it needs is not installed.
    """
    if options.type == 'gpen':
        return _gpen(options, where)
    if options.type == 'gfpgan':
        return _gfpgan(options)
    return SpandrelRestorer(options, where)


def _gpen(options: RestorerOptions, where: str) -> Restorer:
    from metaf2n_arch.archs.gpen_arch import GPEN

    size = options.size or 512
    if options.weights is None and size not in (256, 512):
        raise OptionError(f'{where}.weights: missing; only GPEN of size 256 and 512 has published weights with a name.')
    weights = options.weights or f'gpen_bfr_{size}'
    multiplier, narrow = GPEN_WIDTHS[size]
    multiplier, narrow = options.channel_multiplier or multiplier, options.narrow or narrow
    network = GPEN(size, multiplier, narrow)
    _load_strictly(network, weights, ('g_ema', 'params_ema', 'params'))
    return NetworkRestorer(network, size, options.batch)


def _gfpgan(options: RestorerOptions) -> Restorer:
    from gfpgan.archs.gfpganv1_clean_arch import GFPGANv1Clean

    network = GFPGANv1Clean(
        out_size=512,
        num_style_feat=512,
        channel_multiplier=2,
        decoder_load_path=None,
        fix_decoder=False,
        num_mlp=8,
        input_is_latent=True,
        different_w=True,
        narrow=1,
        sft_half=True,
    )
    _load_strictly(network, options.weights or DEFAULT_WEIGHTS['gfpgan'], ('params_ema', 'params'))
    # The checkpoint brings its noise maps along; with them the same face always gives the same result.
    return NetworkRestorer(network, 512, options.batch, {'return_rgb': False, 'randomize_noise': False})


class SpandrelRestorer(Restorer):
    """RestoreFormer and CodeFormer as spandrel (CodeFormer: also spandrel_extra_arches, non-commercial) reads them."""

    def __init__(self, options: RestorerOptions, where: str) -> None:
        super().__init__(512, options.batch)
        packages = 'spandrel' if options.type == 'restoreformer' else 'spandrel spandrel_extra_arches'
        try:
            import spandrel

            if options.type == 'codeformer':
                import spandrel_extra_arches

                spandrel_extra_arches.install(ignore_duplicates=True)
        except ModuleNotFoundError as error:
            raise OptionError(
                f'{where}.type: {options.type} needs the package {error.name}; run: pip install {packages}'
            ) from error
        path = locate(options.weights or DEFAULT_WEIGHTS[options.type])
        try:
            descriptor = spandrel.ModelLoader(device='cpu').load_from_file(path)
        except Exception as error:
            raise DataError(f'{path} cannot be read by spandrel: {_first_line(error)}') from error
        if descriptor.architecture.id.lower() != options.type:
            raise DataError(
                f'{path} holds a network of the kind {descriptor.architecture.id}, expected {options.type}.'
            )
        self.network = descriptor.model.float().requires_grad_(False).eval()
        self.call: dict[str, Any] = {'weight': options.fidelity} if options.type == 'codeformer' else {}

    def _run(self, faces: Tensor) -> Tensor:
        return (self.network(faces * 2 - 1, **self.call)[0] + 1) / 2


def _load_strictly(network: nn.Module, weights: str, keys: tuple[str, ...]) -> None:
    """Loads a file into `network`: a state dict, bare or under the first of `keys` that is there."""
    path = locate(weights)
    state: dict[str, Any] = _read(path)
    state = next((state[key] for key in keys if key in state), state)
    try:
        network.load_state_dict({key.removeprefix('module.'): value for key, value in state.items()}, strict=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        name = type(network).__name__
        raise DataError(f'{path} does not fit the network {name} as configured: {_first_line(error)}') from None


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != '.safetensors':
        return read_weights(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f'{path} cannot be read as weights ({error}). Fetch or copy it again.') from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return ' '.join(lines[:2])[:300]
