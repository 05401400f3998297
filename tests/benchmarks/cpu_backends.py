"""The pass of a photo through the generator on a CPU: torch in float32 and bfloat16, OpenVINO and ncnn, in turns.

    python tests/benchmarks/cpu_backends.py WEIGHTS [WEIGHTS ...] [--side 512] [--tile 512] [--rounds 2] [--threads 1]

Needs `pip install openvino ncnn`; a missing one is left out. ncnn is that of `metaf2n restore --backend ncnn`. The
photo is a square of --side, in tiles as in `metaf2n restore`. The inner step changes the weights from photo to photo,
so that each backend pays for receiving them and for compiling, once per photo, beside the pass itself. A pass takes
time in proportion to its pixels: the column of 1 megapixel is one such payment and the pass times 10^6 / side².
Differences are whole grey levels of the restored photo from torch's float32. Times are the processor's, so that other
work on the machine changes the ratios little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from measuring import conditions, spread
from skimage import data
from torch import Tensor, nn

from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.images.tiles import run_tiled
from metaf2n_arch.inference.ncnn_network import NcnnNetwork
from metaf2n_arch.utils.modules import emulates_bfloat16
from metaf2n_arch.weights.loading import load_generator

Run = Callable[[Tensor], Tensor]


def torch_backend(net: nn.Module, example: Tensor, precision: torch.dtype) -> Run:
    net = net.to(memory_format=torch.channels_last)

    def run(tile: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=precision == torch.bfloat16):
            return net(tile.contiguous(memory_format=torch.channels_last)).float()

    return run


def openvino_backend(net: nn.Module, example: Tensor, precision: str) -> Run:
    import openvino

    model = openvino.convert_model(net, example_input=example, input=[(1, 3, -1, -1)])
    settings = {'INFERENCE_PRECISION_HINT': precision, 'INFERENCE_NUM_THREADS': torch.get_num_threads()}
    compiled = openvino.Core().compile_model(model, 'CPU', settings)
    return lambda tile: torch.from_numpy(compiled(tile.numpy())[0])


def backends() -> dict[str, Callable[[nn.Module, Tensor], Run]]:
    """Makes of a network, with the weights that it has now, what runs a tile."""
    found: dict[str, Callable[[nn.Module, Tensor], Run]] = {
        'torch float32': lambda net, example: torch_backend(net, example, torch.float32),
    }
    halves = not emulates_bfloat16(torch.device('cpu'))  # where it is emulated it takes ten times as long
    if halves:
        found['torch bfloat16'] = lambda net, example: torch_backend(net, example, torch.bfloat16)
    if find_spec('openvino'):
        for precision in ('f32', 'bf16') if halves else ('f32',):
            found[f'openvino {precision}'] = lambda net, example, p=precision: openvino_backend(net, example, p)
    if find_spec('ncnn'):
        found['ncnn float32'] = lambda net, example: NcnnNetwork(net, {})
    return found


def photo(side: int) -> Tensor:
    """A square of photographs side by side, (1, 3, side, side)."""
    astronaut, coffee = data.astronaut(), data.coffee()[:400, :600]
    row = np.concatenate([astronaut[:400], coffee], 1)
    tiled = np.tile(row, (-(-side // 400), -(-side // row.shape[1]), 1))
    return to_tensor(tiled[:side, :side])[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', nargs='+')
    parser.add_argument('--side', type=int, default=512)
    parser.add_argument('--tile', type=int, default=512)
    parser.add_argument('--rounds', type=int, default=2)
    parser.add_argument('--threads', type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    image = photo(options.side)
    print('# Backends for the pass of a photo on a CPU\n')
    print(
        f'A photo of {options.side}², tile {options.tile}; {conditions()}; processor seconds, median (least to most).\n'
    )
    print(
        '| weights | backend | weights, compile | pass | 1 megapixel, torch float32 = 1 | largest difference | mean |'
    )
    print('|---' * 7 + '|')
    for weights in options.weights:
        generator = load_generator(weights)
        example = image[..., :64, :64].contiguous()
        taken: dict[str, list[tuple[float, float]]] = {}
        outputs: dict[str, Tensor] = {}
        programs = backends()
        for _ in range(options.rounds):
            for name, build in programs.items():
                start = time.process_time()
                run = build(generator.net, example)
                ready = time.process_time()
                tiles = run_tiled(run, image, scale=generator.scale, tile=options.tile, overlap=24)
                taken.setdefault(name, []).append((ready - start, time.process_time() - ready))
                outputs[name] = (tiles.clamp(0, 1) * 255).round()
        whole = {
            name: min(first for first, _ in pairs) + min(last for _, last in pairs) * 1e6 / options.side**2
            for name, pairs in taken.items()
        }
        for name, pairs in taken.items():
            off = (outputs[name] - outputs['torch float32']).abs()
            share = whole[name] / whole['torch float32']
            row = [Path(weights).stem, name, *(spread([pair[i] for pair in pairs], 2) for i in (0, 1)), f'{share:.2f}']
            print('| ' + ' | '.join([*row, f'{off.max():.0f}', f'{off.mean():.2f}']) + ' |', flush=True)


if __name__ == '__main__':
    main()
