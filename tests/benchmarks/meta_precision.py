"""How far the meta-gradient of networks in bfloat16 and float16 is from float32's, with trained weights.

    python tests/benchmarks/meta_precision.py weights/realesr-animevideov3.pth

One task on the astronaut: a face of 64² to adapt on, another place of 64² as query, one inner step of 0.01, L1, MaskNet
as initialised. Columns: relative error (2-norm) of the gradient by the generator's weights, of its second-order part
(what `first` leaves out), and of the gradient by the confidence map. `bare` is float16 without a scale of losses.
"""

from __future__ import annotations

import argparse

import torch
from skimage import data
from torch import Tensor, nn
from torch.nn import functional as F

from metaf2n_arch.archs.mask_net_arch import MaskNet
from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.meta import MetaGradient, Params, meta_gradient
from metaf2n_arch.meta.support import weighted_l1
from metaf2n_arch.models.model_options import PerformanceOptions
from metaf2n_arch.models.performance import Performance
from metaf2n_arch.weights.loading import load_generator

ROWS = {
    'float32': (None, 1.0),
    'bf16': ('bf16', 1.0),
    'fp16': ('fp16', 2.0**16),
    'fp16, bare': ('fp16', 1.0),
}


def flat(params: Params) -> Tensor:
    return torch.cat([p.flatten() for p in params.values()])


def parts(net: nn.Module, mask: nn.Module, face: Tensor, natural: Tensor, kind: str) -> list[Tensor]:
    """The gradient by the weights, its second-order part, and the gradient by the confidence map."""
    autocast, scale = ROWS[kind]
    performance = Performance(PerformanceOptions(autocast=autocast), torch.device('cpu'))
    generate = performance.pure(net)
    face_lq, natural_lq = (F.interpolate(x, scale_factor=0.25, mode='area') for x in (face, natural))
    confidence = performance.pure(mask)({}, face_lq, face).detach()

    def gradient(mode: str) -> MetaGradient:
        return meta_gradient(
            dict(net.named_parameters()),
            {'confidence': confidence},
            weighted_l1(generate, lambda phi, *_: phi['confidence'], face_lq, face),
            lambda theta, phi, step: (natural - generate(theta, natural_lq)).abs().mean(),
            inner_lr=1e-2,
            mode=mode,
            keep_graph=True,
            loss_scale=scale,
        )

    second, first = gradient('second'), gradient('first')
    return [flat(second.theta), flat(second.theta) - flat(first.theta), second.phi['confidence']]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights')
    torch.manual_seed(0)
    net, mask = load_generator(parser.parse_args().weights).net.requires_grad_(), MaskNet(bias_last=1.0)
    photo = to_tensor(data.astronaut())[None]
    face, natural = photo[..., 60:124, 200:264], photo[..., 300:364, 40:104]
    exact = parts(net, mask, face, natural, 'float32')
    print('| networks in | gradient | second-order part | by confidence |\n|---|---|---|---|')
    for kind in ROWS:
        found = parts(net, mask, face, natural, kind)
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, exact)]
        print(f'| {kind} | {" | ".join(f"{error:.1%}" for error in errors)} |', flush=True)


if __name__ == '__main__':
    main()
