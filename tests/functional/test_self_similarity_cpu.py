"""The fused CPU kernels: equal to the loop and to the box filters, the same bits on every run."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.functional.self_similarity import self_similarity_loss
from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.dispatch import fastest_path
from metaf2n_arch.functional.self_similarity.geometry import Geometry
from metaf2n_arch.functional.self_similarity.naive import naive_graph

cpu_graph, cpu_loss = fastest_path('cpu')
BORDERS = ('image', 'window')
# (K, P, C, H, W, share of masked pixels; 0 stands for a single one)
SMALL = [
    (5, 3, 3, 11, 13, 0.2),
    (7, 7, 1, 9, 8, 0.3),
    (3, 1, 3, 5, 7, 1.0),
    (5, 5, 3, 6, 19, 0.0),
    (9, 3, 2, 12, 10, 0.1),
    (1, 1, 3, 2, 3, 0.5),
]
LARGE = [
    (25, 9, 3, 31, 45, 0.1),
    (25, 9, 1, 17, 40, 1.0),
    (13, 11, 3, 23, 24, 0.3),
    (11, 5, 4, 33, 16, 0.5),
    (15, 7, 3, 20, 61, 0.0),
    (9, 9, 3, 16, 16, 1.0),
]


@pytest.fixture
def one_thread():
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def images_and_mask(photo, case, border):
    search, patch, channels, height, width, share = case
    least = search // 2 + (patch // 2 if border == 'image' else 0) + 1
    height, width = max(height, least), max(width, least)
    photo = torch.cat([photo, photo[:, :1]], 1)[:, :channels].double()
    images = torch.cat([photo[..., y : y + height, 200 : 200 + width] for y in (40, 90)])
    mask = torch.rand(2, height, width, generator=torch.Generator().manual_seed(0)) < share
    if share == 0:
        mask[-1, height // 2, width - 1] = True
    return images, mask


def value_and_gradient(function, image):
    image = image.clone().requires_grad_()
    graph = function(image)
    weight = torch.randn(graph.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((graph * weight.to(graph.dtype)).sum(), image)
    return graph.detach(), gradient


@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('case', SMALL)
def test_graph_equals_the_loop(astronaut_tensor, tolerance, case, border, normalize) -> None:
    images, mask = images_and_mask(astronaut_tensor, case, border)
    geometry = Geometry(*case[:2], border)
    oracle = value_and_gradient(lambda x: naive_graph(x, mask, geometry, 0.02, normalize), images)
    ours = value_and_gradient(lambda x: cpu_graph(x, mask, geometry, 0.02, normalize), images)
    for a, b in zip(ours, oracle):
        torch.testing.assert_close(a, b, **tolerance[torch.float64])


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('case', LARGE)
def test_graph_equals_the_box_filters(astronaut_tensor, tolerance, case, border, dtype) -> None:
    images, mask = images_and_mask(astronaut_tensor, case, border)
    geometry = Geometry(*case[:2], border)
    oracle = value_and_gradient(lambda x: box_graph(x, mask, geometry, 0.01), images.to(dtype).double())
    ours = value_and_gradient(lambda x: cpu_graph(x, mask, geometry, 0.01), images.to(dtype))
    for a, b in zip(ours, oracle):
        assert a.dtype == dtype
        torch.testing.assert_close(a.double(), b, **tolerance[dtype])


@pytest.mark.parametrize('criterion', ['l1', 'kl', 'kl+l1'])
@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('case', LARGE[:4])
def test_loss_and_both_gradients_equal_the_box_filters(astronaut_tensor, tolerance, case, border, criterion) -> None:
    images, mask = images_and_mask(astronaut_tensor, case, border)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=images.dtype)
    pair = [(images + 0.05 * noise).requires_grad_(), images.clone().requires_grad_()]
    options = (mask, Geometry(*case[:2], border), 0.01, criterion_weights(criterion, 0.7))
    ours, oracle = cpu_loss(*pair, *options), box_loss(*pair, *options)
    torch.testing.assert_close(ours, oracle, **tolerance[torch.float64])
    gradients = torch.autograd.grad(oracle, pair)
    for a, b in zip(torch.autograd.grad(ours, pair), gradients):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12 * b.abs().max().item())
    single = [x.detach().float().requires_grad_() for x in pair]
    narrow = cpu_loss(*single, *options)
    torch.testing.assert_close(narrow.double(), oracle, rtol=1e-4, atol=1e-10)
    for a, b in zip(torch.autograd.grad(narrow, single), gradients):
        # Rounding may turn the sign of an entry whose two graphs agree, which moves the L1 term's gradient by a step.
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-3 * b.abs().max().item())


@pytest.mark.parametrize('border', BORDERS)
def test_cutting_the_image_into_bands_changes_only_the_rounding(
    astronaut_tensor, tolerance, monkeypatch, border
) -> None:
    images, mask = images_and_mask(astronaut_tensor, (9, 5, 3, 37, 30, 0.3), border)
    mask[0, 10:20] = False
    geometry, weights = Geometry(9, 5, border), criterion_weights('kl+l1', 1.0)

    def graph_and_loss():
        x = images.clone().requires_grad_()
        loss = cpu_loss(x, images.roll(1, 0), mask, geometry, 0.01, weights)
        return (
            *value_and_gradient(lambda i: cpu_graph(i, mask, geometry, 0.01), images),
            loss,
            *torch.autograd.grad(loss, x),
        )

    whole = graph_and_loss()
    monkeypatch.setattr('metaf2n_arch.functional.self_similarity.cpu_stream.BAND_PIXELS', 30 * 5)
    for a, b in zip(graph_and_loss(), whole):
        torch.testing.assert_close(a, b, **tolerance[torch.float64])


@pytest.mark.parametrize('border', BORDERS)
def test_same_bits_on_every_run_and_with_any_number_of_threads(astronaut_tensor, border, one_thread) -> None:
    target = astronaut_tensor[..., 30:130, 180:270]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    pred = (target + 0.05 * noise).requires_grad_()
    mask = edge_mask(target)
    results = []
    for threads in (1, 1, 2, 3, 2):
        torch.set_num_threads(threads)
        loss = self_similarity_loss(pred, target, mask, criterion='kl+l1', border=border)
        results.append((loss.detach(), *torch.autograd.grad(loss, pred)))
    for loss, gradient in results[1:]:
        assert torch.equal(loss, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_not_a_number_is_not_hidden(astronaut_tensor) -> None:
    pred = astronaut_tensor[..., 40:70, 200:230].clone()
    target = pred.clone()
    pred[..., 15, 15] = float('nan')
    pred.requires_grad_()
    loss = self_similarity_loss(pred, target, torch.ones(1, 30, 30))
    assert loss.isnan()
    assert torch.autograd.grad(loss, pred)[0].isnan().any()


def test_calls_from_several_threads_at_once_do_not_disturb_each_other(astronaut_tensor) -> None:
    from concurrent.futures import ThreadPoolExecutor

    crops = [astronaut_tensor[..., y : y + 40, 200:240] for y in (30, 60, 90, 120)]

    def gradient(crop):
        x = (crop * 0.9).requires_grad_()
        return torch.autograd.grad(self_similarity_loss(x, crop, edge_mask(crop)), x)[0]

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(gradient, crops))
    for ours, crop in zip(together, crops):
        assert torch.equal(ours, gradient(crop))


@pytest.mark.parametrize('border', BORDERS)
def test_second_derivatives_are_right_too(astronaut_tensor, border) -> None:
    x = astronaut_tensor[:, :1, 40:44, 200:205].double().requires_grad_()
    y = (0.9 * x.detach()).requires_grad_()
    mask = torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 2, 2:4] = True
    geometry = Geometry(3, 3, border)
    assert torch.autograd.gradgradcheck(lambda i: cpu_graph(i, mask, geometry, 0.02)[:, ::4], x)
    kl = criterion_weights('kl', 1.0)
    assert torch.autograd.gradgradcheck(lambda i, j: 100 * cpu_loss(i, j, mask, geometry, 0.02, kl), (x, y))


def test_importing_the_package_does_not_import_numba() -> None:
    code = 'import sys, metaf2n_arch.functional.self_similarity; print("numba" in sys.modules, "triton" in sys.modules)'
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ['False', 'False']


def test_plain_torch_stands_in_where_numba_may_not_compile() -> None:
    code = (
        'import torch, warnings\n'
        'warnings.simplefilter("error")\n'
        'from metaf2n_arch.functional.self_similarity import self_similarity_loss\n'
        'x = torch.rand(1, 3, 9, 9)\n'
        'try: self_similarity_loss(x, x, torch.ones(1, 9, 9), search_size=5, patch_size=3)\n'
        'except UserWarning as warning: print(warning)\n'
        'warnings.simplefilter("ignore")\n'
        'print(self_similarity_loss(x, x, torch.ones(1, 9, 9), search_size=5, patch_size=3).item())\n'
    )
    environment = {**os.environ, 'NUMBA_DISABLE_JIT': '1'}
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment)
    assert result.stderr == ''
    said, value = result.stdout.splitlines()
    assert 'NUMBA_DISABLE_JIT is set' in said
    assert 'falls back to plain PyTorch' in said
    assert float(value) == 0


def test_kernels_compile_where_no_cache_can_be_written(tmp_path) -> None:
    code = (
        'import numba.core.caching as caching\n'
        'def refuse(*args): raise RuntimeError("cannot cache function: no locator available")\n'
        'caching.FunctionCache.__init__ = refuse\n'
        'from metaf2n_arch.functional.self_similarity.cpu_kernel import boxes\n'
        'print(boxes(1, 2, 12, 4, False))\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == '(9, 9, -4, -5, -4, -6)'


BUFFERS = """
import hashlib
import torch
from skimage import data
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights
from metaf2n_arch.functional.self_similarity.dispatch import fastest_path
from metaf2n_arch.functional.self_similarity.geometry import Geometry

graph, loss = fastest_path('cpu')
digest = hashlib.sha256()
photo = torch.from_numpy(data.astronaut()[:40, 200:245].copy()).permute(2, 0, 1)[None].float() / 255
for search, patch, border in ((5, 3, 'image'), (9, 3, 'window'), (25, 9, 'window')):
    for height, width in ((40, 45), (23, 24)):
        image = photo[..., :height, :width].clone().requires_grad_()
        mask = torch.rand(1, height, width, generator=torch.Generator().manual_seed(0)) < 0.3
        geometry = Geometry(search, patch, border)
        found = graph(image, mask, geometry, 0.1)
        value = loss(image, image.detach().flip(-1), mask, geometry, 0.1, criterion_weights('kl+l1', 0.7))
        for tensor in (found, *torch.autograd.grad(found.sum() + value, image), value):
            digest.update(tensor.detach().contiguous().numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='glibc alone fills what it hands out')
def test_nothing_is_read_from_buffers_before_it_is_written() -> None:
    """The C library fills all memory that it hands out with bytes that make huge numbers, or tiny ones."""
    digests = set()
    for filler in ('128', '254'):
        environment = {**os.environ, 'MALLOC_PERTURB_': filler}
        command = [sys.executable, '-c', BUFFERS]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    assert len(digests) == 1
