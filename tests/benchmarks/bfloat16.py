"""bfloat16 against float32 on a CPU: difference of restored photos in grey levels, and time.

    python tests/benchmarks/bfloat16.py weights/realesr-animevideov3.pth weights/RealESRGAN_x4plus.pth

Crops of 64² of photographs that come with scikit-image; processor seconds of one thread, the smallest of three.
"""

from __future__ import annotations

import argparse
import time

import torch
from measuring import conditions
from skimage import data
from torch import Tensor, nn

from metaf2n_arch.images.arrays import to_tensor
from metaf2n_arch.weights.loading import load_generator


def restored(net: nn.Module, image: Tensor, half: bool) -> tuple[Tensor, float]:
    """The restored photo in whole grey levels, and the smallest of three times in processor seconds."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=half):
            output = net(image).float()
        seconds.append(time.process_time() - start)
    return (output.clamp(0, 1) * 255).round(), min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('weights', nargs='+')
    torch.set_num_threads(1)
    photos = {
        'astronaut': data.astronaut()[40:104, 180:244],
        'coffee': data.coffee()[100:164, 200:264],
        'cat': data.chelsea()[100:164, 150:214],
    }
    print(f'{conditions()}\n')
    print('| weights | photo | largest difference | mean | over one level | time, float32 = 1 |')
    print('|---|---|---|---|---|---|')
    for weights in parser.parse_args().weights:
        net = load_generator(weights).net.to(memory_format=torch.channels_last)
        for name, photo in photos.items():
            image = to_tensor(photo)[None].contiguous(memory_format=torch.channels_last)
            (exact, slow), (rounded, fast) = restored(net, image, False), restored(net, image, True)
            off = (exact - rounded).abs()
            share = (off > 1).float().mean().item()
            print(f'| {weights} | {name} | {off.max():.0f} | {off.mean():.2f} | {share:.2%} | {fast / slow:.2f} |')


if __name__ == '__main__':
    main()
