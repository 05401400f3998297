"""Networks on the command line: given by a name, as YAML in one line, or by an option file that has their block."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metaf2n_arch.utils.checks import OptionError

if TYPE_CHECKING:
    from metaf2n_arch.inference import MetaF2N, RestoreOptions
    from metaf2n_arch.utils.shard import Shard

Weights = Annotated[str, typer.Option(help='Generator: a file, or a name of `metaf2n weights list`.')]
Architecture = Annotated[
    str | None,
    typer.Option(
        help="Generator network: '{type: RRDBNet, ...}', or an option file with network_g; by default recognised from"
        ' its weights.'
    ),
]
ParamKey = Annotated[
    str | None,
    typer.Option(help='Key of the generator in its file, if the file holds several networks: params, net_g, ...'),
]
MaskWeights = Annotated[
    str | None, typer.Option(help='Weights of MaskNet; without them the confidence is 1 in every pixel.')
]
MaskArchitecture = Annotated[
    str | None,
    typer.Option(
        help="MaskNet network: '{upsample: authors}', or an option file with network_m; by default as its file"
        ' records it.'
    ),
]
Detector = Annotated[
    str,
    typer.Option(
        help='Face detector: retinaface_resnet50, retinaface_mobile0.25, yunet, cascade, or {type: ..., ...}.'
    ),
]
Restorer = Annotated[
    str | None,
    typer.Option(
        help='Face restorer: gpen, gfpgan, restoreformer, codeformer, identity, or {type: ..., ...}; by default that of'
        " the generator's training, otherwise gpen."
    ),
]
Device = Annotated[
    str | None, typer.Option(help='cuda, cuda:1, xpu, mps or cpu; by default a GPU if there is one, otherwise cpu.')
]


def load(
    weights: str,
    architecture: str | None,
    mask_weights: str | None,
    mask_architecture: str | None,
    detector: str | dict[str, Any],
    restorer: str | None,
    device: str | None,
    param_key: str | None = None,
    **options: Any,
) -> MetaF2N:
    """Calls `MetaF2N.load` with arguments as texts of the command line; `options` are fields of `RestoreOptions`."""
    network_g = network_block(architecture, 'network_g', '--architecture')
    network_m = network_block(mask_architecture, 'network_m', '--mask-architecture')
    detector = part(detector, '--detector') if isinstance(detector, str) else detector
    restorer = None if restorer is None else part(restorer, '--restorer')
    _locate(weights, mask_weights, detector, restorer, restore_options(**options))
    from metaf2n_arch.inference import MetaF2N

    return MetaF2N.load(
        weights,
        architecture=network_g,
        mask_weights=mask_weights,
        mask_architecture=network_m,
        detector=detector,
        restorer=restorer,
        device=device,
        param_key=param_key,
        **options,
    )


def _locate(weights: str, mask_weights: str | None, detector: Any, restorer: Any, options: RestoreOptions) -> None:
    """Reports missing weights before torch is loaded.

    Where the restorer is recorded in the generator's file, `MetaF2N.load` reports them: reading the file needs torch.
    """
    from metaf2n_arch.weights.needs import needs_of_photos
    from metaf2n_arch.weights.search import is_here, locate_all

    if restorer is None and is_here(weights):
        return
    if options.finds_faces:
        locate_all(needs_of_photos(weights, mask_weights if options.adapts else None, detector, restorer or 'gpen'))
    else:
        locate_all({weights: 'the generator'})


def restore_options(**options: Any) -> RestoreOptions:
    """`RestoreOptions` from options of the command line, checked before torch is loaded; None means not given."""
    from metaf2n_arch.inference.restore_options import RestoreOptions
    from metaf2n_arch.utils.options import parse_block

    return parse_block(RestoreOptions, {name: value for name, value in options.items() if value is not None}, '')


def device_of(device: str | None, share: Shard) -> str | None:
    """The named device; without one, each process of a launcher gets a GPU of its own; None means `pick_device`."""
    if device is not None or share.local is None:
        return device
    import torch

    from metaf2n_arch.utils.modules import pick_device

    kind = pick_device(None).type
    several = {'cuda': torch.cuda, 'xpu': torch.xpu}.get(kind)
    return None if several is None else f'{kind}:{share.local % several.device_count()}'


def of_faces(detector: str, faces: str, min_confidence: float | None) -> str | dict[str, Any]:
    """Option block or type of a detector, with ``--faces`` (largest number of faces) and ``--min-confidence``."""
    block = part(detector, '--detector')
    more: dict[str, Any] = {} if min_confidence is None else {'confidence': min_confidence}
    if faces != 'all':
        number = '1' if faces == 'largest' else faces
        if not number.isdecimal() or int(number) == 0:
            raise OptionError(f'--faces is {faces!r}, expected a number of at least 1, largest, or all.')
        more['max_faces'] = int(number)
    from metaf2n_arch.faces.detector import detector_options

    detector_options(block, '--detector')  # a wrong name is reported before missing weights
    if not more:
        return block
    return {**({'type': block} if isinstance(block, str) else block), **more}


def numbers(text: str, name: str) -> tuple[int, ...]:
    """Parses whole numbers of at least 0, separated by commas; `name` is the option, for errors."""
    parts = [part.strip() for part in text.split(',') if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise OptionError(f'{name} is {text!r}, expected whole numbers separated by commas, such as 0,2.')
    return tuple(int(part) for part in parts)


def part(text: str, name: str) -> Any:
    """Type of a detector or restorer, or its option block if the text is YAML; `name` is the option, for errors."""
    return _mapping(text, name) if text.lstrip().startswith('{') else text


def network_block(text: str | None, key: str, name: str) -> Any:
    """Option block of a network, from YAML text or from block `key` of an option file; `name` is the option.

    Raises:
        OptionError: neither YAML of a mapping, nor an option file with this block.
    """
    if text is None or text.lstrip().startswith('{'):
        return None if text is None else _mapping(text, name)
    options = option_file_content(text, name)
    if not isinstance(options.get(key), dict):
        raise OptionError(f'{name} {text}: the file has no block {key}; give a file with it, or {{type: ..., ...}}.')
    return options[key]


def option_file_content(text: str, name: str) -> dict[str, Any]:
    """Content of an option file.

    Args:
        text: path of a file, or name of an option file that comes with this package.
        name: the command-line option, for errors.

    Raises:
        OptionError: there is no such file, or it is not YAML.
    """
    from metaf2n_arch.utils.resources import shipped_option_file

    path = Path(text)
    if not path.is_file():
        path = shipped_option_file(path.name) or path
    try:
        return _mapping(path.read_text(encoding='utf-8'), text)
    except UnicodeDecodeError:
        raise OptionError(f'{name} {text}: not a text file; give an option file, or {{type: ..., ...}}.') from None
    except OSError as error:
        raise OptionError(f'{name} {text}: {error.strerror}; give an option file, or {{type: ..., ...}}.') from None


def _mapping(text: str, name: str) -> dict[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise OptionError(f'{name}: not valid YAML ({" ".join(str(error).split())[:160]}).') from None
    if not isinstance(value, dict):
        raise OptionError(f'{name} is {text[:80]!r}, expected {{type: ..., ...}}.')
    return value
