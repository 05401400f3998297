"""FID: time of each validation after the first, compared with computing everything again.

    python tests/benchmarks/fid.py

`again` is what pytorch-fid and pyiqa do at each call: Inception runs on results and references, in torch's default
memory format. `kept` is ours, which stores the features of the references. Weights are random, which does not change
the time. Times are processor seconds; the variants are measured in turn.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from measuring import conditions, spread
from skimage import data

from metaf2n_arch.metrics import fid_metric
from metaf2n_arch.metrics.fid_metric import FID, inception_features, prepare

IMAGES, ROUNDS = 24, 3


def again(network: torch.nn.Module, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    start = time.process_time()
    sums = torch.zeros(2, 2048, 2048, dtype=torch.float64)
    with torch.inference_mode():
        for pair in pairs:
            features = network(torch.cat([prepare(image, 'clean') for image in pair])).double()
            for product, vector in zip(sums, features):
                product.addr_(vector, vector)
    return time.process_time() - start


def kept(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    start = time.process_time()
    metric = FID(device='cpu')
    for pair in pairs:
        metric.update(*pair)
    metric.state()
    return time.process_time() - start


def main() -> None:
    fid_metric.load_published = lambda *_, **__: None  # type: ignore[assignment]  # no weights on this machine
    torch.manual_seed(0)
    photo = data.astronaut()
    crops = [photo[y : y + 256, x : x + 256] for y in range(0, 250, 50) for x in range(0, 250, 50)][:IMAGES]
    pairs = [(np.ascontiguousarray(crop[::-1]), np.ascontiguousarray(crop)) for crop in crops]
    inception_features('cpu')
    plain = inception_features.__wrapped__('cpu').to(memory_format=torch.contiguous_format)
    kept(pairs)  # the first validation
    times = np.array([(again(plain, pairs), kept(pairs)) for _ in range(ROUNDS)]) / IMAGES
    print(f'{conditions()}; {IMAGES} images, {ROUNDS} rounds, seconds per image: median (least to most)')
    print(f'again {spread(times[:, 0])}, kept {spread(times[:, 1])}: {np.median(times[:, 0] / times[:, 1]):.1f} times')


if __name__ == '__main__':
    main()
