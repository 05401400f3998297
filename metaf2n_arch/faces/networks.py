"""Networks of the face restorers, loaded from weights files on this machine."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from metaf2n_arch.faces.restorer import NetworkRestorer, Restorer, RestorerOptions
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.files import load_state_dict, load_strictly
from metaf2n_arch.weights.published import RESTORERS
from metaf2n_arch.weights.search import locate

# Widths of the published GPEN networks: size -> (channel_multiplier, narrow).
GPEN_WIDTHS = {256: (1, 0.5), 512: (2, 1.0), 1024: (2, 1.0), 2048: (2, 1.0)}


def load_restorer(options: RestorerOptions, where: str) -> Restorer:
    """Builds the restorer that `options` describe, with its weights.

    Raises:
        DataError: the weights are missing, or belong to another network.
        OptionError: a package that it needs is not installed, or no weights are known for this size.
    """
    size = options.size or 512
    weights = options.weights or RESTORERS.get((options.type, size))
    if weights is None:
        raise OptionError(f'{where}.weights: missing; there are none for {options.type} of size {size}, name a file.')
    if options.type == 'gpen':
        return _gpen(options, size, locate(weights))
    if options.type == 'gfpgan':
        return _gfpgan(options, locate(weights))
    _require_spandrel(options.type, where)
    return SpandrelRestorer(options, locate(weights))


class SpandrelRestorer(Restorer):
    """RestoreFormer or CodeFormer: spandrel recognises the network in a state dict and builds it.

    Args:
        options: `type`, `batch`, and CodeFormer's `fidelity`.
        path: the weights file.

    Raises:
        DataError: the file cannot be read or holds another network.
    """

    def __init__(self, options: RestorerOptions, path: Path) -> None:
        import spandrel

        super().__init__(512, options.batch)
        try:
            descriptor = spandrel.ModelLoader(device='cpu').load_from_state_dict(load_state_dict(path))
        except (spandrel.UnsupportedModelError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f'{path} holds no {options.type} that spandrel recognises ({reason[:160]}).') from None
        if descriptor.architecture.id.lower() != options.type:
            found = descriptor.architecture.id
            raise DataError(f'{path} holds a {found} network, expected {options.type}.')
        self.network = descriptor.model.float().requires_grad_(False).eval()
        self.call = {'weight': options.fidelity} if options.type == 'codeformer' else {}

    def _run(self, faces: Tensor) -> Tensor:
        return (self.network(faces * 2 - 1, **self.call)[0] + 1) / 2


def _gpen(options: RestorerOptions, size: int, path: Path) -> Restorer:
    from metaf2n_arch.archs.gpen_arch import GPEN

    multiplier, narrow = GPEN_WIDTHS[size]
    network = GPEN(size, options.channel_multiplier or multiplier, options.narrow or narrow)
    load_strictly(network, load_state_dict(path), path)
    return NetworkRestorer(network, size, options.batch)


def _gfpgan(options: RestorerOptions, path: Path) -> Restorer:
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
    load_strictly(network, load_state_dict(path), path)
    # With the noise maps of the checkpoint instead of random ones, a face always has the same result.
    return NetworkRestorer(network, 512, options.batch, {'return_rgb': False, 'randomize_noise': False})


def _require_spandrel(kind: str, where: str) -> None:
    packages = ['spandrel', 'spandrel_extra_arches'] if kind == 'codeformer' else ['spandrel']
    try:
        import spandrel  # noqa: F401  (only whether it is installed)

        if kind == 'codeformer':
            import spandrel_extra_arches

            spandrel_extra_arches.install(ignore_duplicates=True)
    except ModuleNotFoundError as error:
        command = f'pip install {" ".join(packages)}'
        raise OptionError(f'{where}.type: {kind} needs the package {error.name}; run: {command}') from None
