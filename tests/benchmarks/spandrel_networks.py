"""Table of spandrel's networks: tests of their use in training and adaptation, each in a small version.

    python tests/benchmarks/spandrel_networks.py > tests/benchmarks/results/spandrel_networks.md

Columns: *forward*: a batch of two images of 17 x 21 pixels gives their size times the scale; *resumes*: another network
loads its saved weights and gives the same output; *recognised*: spandrel recognises the saved weights; *second
derivative*: ∇(g·v) exists and agrees with the difference of two gradients, in double precision; *bf16*: autocast gives
finite outputs; *fp16*: the network in half precision gives finite outputs; *smallest*: side of the smallest possible
image. GRL, ATD, DRCT, FFTformer, SwinIR and Swin2SR compute some layers always in float32. This explains their entries
in *fp16*, and that of GRL in *second derivative*.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from measuring import conditions
from torch import Tensor, nn

from metaf2n_arch.archs.spandrel_networks import architectures, build_spandrel

WINDOWS = {'embed_dim': 16, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'upscale': 4}
SMALL: dict[str, dict[str, Any]] = {
    'ATD': {**WINDOWS, 'category_size': 64, 'num_tokens': 8, 'reducted_dim': 4, 'upsampler': 'pixelshuffle'},
    'CRAFT': {'embed_dim': 24, 'depths': [2], 'num_heads': [2]},
    'Compact': {'num_feat': 8, 'num_conv': 2},
    'DAT': {'embed_dim': 16, 'depth': [2], 'num_heads': [2], 'split_size': [8, 8], 'upscale': 4},
    'DCTLSA': {'nf': 10, 'num_modules': 6},
    'DITN': {'dim': 8, 'ITL_blocks': 1, 'SAL_blocks': 1},
    'DRCT': {**WINDOWS, 'gc': 8, 'upsampler': 'pixelshuffle'},
    'DRUNet': {'in_nc': 4, 'out_nc': 3, 'nc': [8, 8, 8, 8], 'nb': 2},
    'DnCNN': {'in_nc': 3, 'out_nc': 3, 'nc': 8, 'nb': 3, 'act_mode': 'R'},
    'ESRGAN': {'num_filters': 8, 'num_blocks': 1},
    'FBCNN': {'nc': [8, 8, 8, 512], 'nb': 2},
    'FDAT': {'embed_dim': 16, 'num_groups': 1, 'depth_per_group': 1, 'num_heads': 2},
    'FFTformer': {'dim': 8, 'num_blocks': [1, 1, 1], 'num_refinement_blocks': 1},
    'GRL': {
        'embed_dim': 16,
        'depths': [2],
        'num_heads_window': [2],
        'num_heads_stripe': [2],
        'upscale': 4,
        'upsampler': 'pixelshuffle',
    },
    'HAT': {**WINDOWS, 'squeeze_factor': 4, 'num_feat': 16},
    'HVICIDNet': {'channels': [8, 8, 16, 16], 'heads': [1, 2, 2, 2]},
    'KBNet_l': {'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1},
    'KBNet_s': {'width': 8, 'middle_blk_num': 1, 'enc_blk_nums': [1, 1, 1, 1], 'dec_blk_nums': [1, 1, 1, 1]},
    'MMRealSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
    'MixDehazeNet': {'embed_dims': [8, 8, 8, 8, 8]},
    'MoESR': {'dim': 8, 'n_blocks': 1, 'n_block': 1, 'upsample_dim': 8},
    'MoSR': {'n_block': 1, 'dim': 8},
    'NAFNet': {'width': 8, 'enc_blk_nums': [1], 'dec_blk_nums': [1]},
    'OmniSR': {'num_feat': 16},
    'PLKSR': {'dim': 16, 'n_blocks': 1, 'kernel_size': 7},
    'RCAN': {'n_resgroups': 1, 'n_resblocks': 1, 'n_feats': 16},
    'RGT': {'embed_dim': 16, 'depth': [2], 'num_heads': [2], 'upscale': 4},
    'RealPLKSR': {'dim': 16, 'n_blocks': 1, 'kernel_size': 7},
    'RetinexFormer': {'n_feat': 8, 'stage': 1},
    'SAFMN': {'dim': 16, 'n_blocks': 1},
    'SAFMNBCIE': {'dim': 16, 'n_blocks': 1, 'num_layers': 1},
    'SCUNet': {'config': [2, 2, 2, 2, 2, 2, 2], 'dim': 64},
    'SPAN': {'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8},
    'SeemoRe': {'num_layers': 1, 'embedding_dim': 16, 'num_experts': 2},
    'SwiftSRGAN': {'num_channels': 8, 'num_blocks': 1},
    'Swin2SR': {**WINDOWS, 'upsampler': 'pixelshuffle'},
    'SwinIR': {**WINDOWS, 'upsampler': 'pixelshuffle'},
    'UpCunet2x': {},
    'UpCunet2x_fast': {},
    'UpCunet3x': {},
    'UpCunet4x': {},
    'Uformer': {'embed_dim': 8, 'depths': [1] * 9, 'num_heads': [1] * 9, 'modulator': False},
}
UNTRIED = {'IPT', 'GFPGAN', 'RestoreFormer', 'LaMa', 'AuraSR'}
"""Networks that have no small version, or are not for super-resolution; IPT is refused."""


def loss_of(net: nn.Module, image: Tensor, goal: Tensor) -> Tensor:
    return (net(image) - goal).square().mean()


def forward(net: nn.Module, image: Tensor) -> str:
    height, width = image.shape[-2:]
    shape = net(image).shape
    expected = (2, 3, height * net.needs.scale, width * net.needs.scale)
    return f'x{net.needs.scale}' if shape == expected else f'makes {tuple(shape)}'


def resumes(net: nn.Module, image: Tensor, options: dict[str, Any], name: str) -> str:
    torch.manual_seed(1)
    other = build_spandrel(name, **options)
    other.load_state_dict(copy.deepcopy(net.state_dict()))
    return 'yes' if torch.equal(other.eval()(image), net.eval()(image)) else 'no'


def recognised(net: nn.Module, image: Tensor) -> str:
    import spandrel

    found = spandrel.ModelLoader().load_from_state_dict(copy.deepcopy(dict(net.state_dict())))
    return 'yes' if found.architecture.id == net.architecture.id else f'as {found.architecture.name}'


def second_derivative(net: nn.Module, image: Tensor) -> str:
    """Compares d/dε ∇L(θ + ε v) at 0 by automatic differentiation with a central difference, in double precision.

    The initial weights are not enough: with bias 0 and input 0 (as in Swin2SR's table of positions) a unit is at the
    kink of its ReLU, where there is no derivative. A difference can also cross another kink by chance. So four points
    are tried, and the best one counts.
    """
    errors = [1.0]
    while len(errors) < 5 and min(errors) > 1e-2:
        moved = copy.deepcopy(net).double().eval()
        with torch.no_grad():
            for p in moved.parameters():
                p.add_(torch.randn_like(p), alpha=1e-3 if len(errors) > 1 else 0)
        errors.append(_error(moved, image[:1].double()))
    return 'yes' if min(errors) < 1e-2 else f'off by {min(errors):.1%}'


def _error(net: nn.Module, image: Tensor) -> float:
    """Relative error of the second derivative in a random direction."""
    goal = torch.rand_like(net(image)).detach()
    weights = [p for p in net.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(loss_of(net, image, goal), weights, create_graph=True, allow_unused=True)
    along = [torch.randn_like(p) for p in weights]
    product = sum((g * v).sum() for g, v in zip(gradient, along) if g is not None)
    exact = torch.autograd.grad(product, weights, allow_unused=True)
    return min(_difference(net, image, goal, along, exact, step) for step in (1e-10, 1e-8, 1e-7, 1e-6))


def _difference(net: nn.Module, image: Tensor, goal: Tensor, along: list, exact: tuple, step: float) -> float:
    """Relative error against a central difference: large steps cross kinks of ReLUs, small ones are imprecise."""
    moved = []
    for sign in (1, -1):
        shifted = copy.deepcopy(net)
        own = [p for p in shifted.parameters() if p.requires_grad]
        with torch.no_grad():
            for p, v in zip(own, along):
                p.add_(v, alpha=sign * step)
        moved.append(torch.autograd.grad(loss_of(shifted, image, goal), own, allow_unused=True))
    pairs = [(e, (a - b) / (2 * step)) for e, a, b in zip(exact, *moved) if e is not None and a is not None]
    error = sum((e - n).square().sum() for e, n in pairs) / sum(n.square().sum() for _, n in pairs)
    return float(error.sqrt())


def bf16(net: nn.Module, image: Tensor) -> str:
    with torch.autocast('cpu', torch.bfloat16):
        return 'yes' if torch.isfinite(net(image)).all() else 'not finite'


def fp16(net: nn.Module, image: Tensor) -> str:
    return 'yes' if torch.isfinite(copy.deepcopy(net).half()(image.half())).all() else 'not finite'


def smallest(net: nn.Module, image: Tensor) -> str:
    for side in (1, 2, 3, 4, 8, 16):
        try:
            if net(image[..., :side, :side]).shape[-1] == side * net.needs.scale:
                return str(side)
        except Exception:  # the image is too small for the network
            continue
    return 'over 16'


def attempt(check: Callable[..., str], *arguments: Any) -> str:
    try:
        return check(*arguments)
    except Exception as error:  # the table reports the error
        return f'no: {(str(error).splitlines() or [type(error).__name__])[0][:60]}'.replace('|', '/')


def row(name: str) -> list[str]:
    torch.manual_seed(0)
    options = SMALL[name]
    try:
        net = build_spandrel(name, **options).eval()
    except Exception as error:
        return [name, f'no: {str(error)[-110:]}', '', '', '', '', '', '']
    image = torch.rand(2, 3, 17, 21)
    cells = [attempt(forward, net, image), attempt(resumes, net, image, options, name)]
    cells += [attempt(check, net, image) for check in (recognised, second_derivative, bf16, fp16, smallest)]
    return [name, *cells]


def main() -> None:
    import spandrel

    warnings.filterwarnings('ignore')
    torch.set_num_threads(1)
    print('# Networks of spandrel, tried\n\nMade with `python tests/benchmarks/spandrel_networks.py`, ', end='')
    print(f'spandrel {spandrel.__version__}, {conditions()}, each in a small version.\n')
    print((__doc__ or '').partition('Columns: ')[2])
    print('| arch | forward | resumes | recognised | second derivative | bf16 | fp16 | smallest |')
    print('|---|---|---|---|---|---|---|---|')
    for name in sys.argv[1:] or sorted(architectures().keys() - UNTRIED):
        print('| ' + ' | '.join(row(name)) + ' |', flush=True)
    print(f'\nNot tried: {", ".join(sorted(UNTRIED))}.')


if __name__ == '__main__':
    main()
