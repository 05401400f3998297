"""The Triton kernels, through Triton's interpreter where there is no GPU, and the choice of a path by device."""

import functools
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.functional.self_similarity import dispatch, self_similarity_graph, self_similarity_loss
from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.functional.self_similarity.fused import fused_graph, fused_loss

pytest.importorskip('triton', reason='triton, which the GPU path needs, is not installed')

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from metaf2n_arch.functional.self_similarity import gpu, triton_adjoint, triton_kernel

INTERPRETER_CANNOT = {
    'only 0-dimensional arrays can be converted to Python scalars': 'is older than this NumPy, and loops fail',
    "arange's arguments must be of type tl.constexpr": 'has no tl.arange of a constant argument yet',
}
# Called by kernels, never launched.
HELPERS = {'pixel', 'squared_difference', 'derivative', 'value_at', 'box_above'}


def errors_in_the_interpreter(border: str, *sizes: str) -> dict[str, float]:
    """Runs triton_check.py: the largest error of each comparison."""
    script = Path(__file__).with_name('triton_check.py')
    command = [sys.executable, str(script), border, *sizes, 'float64']
    result = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    for said, limit in INTERPRETER_CANNOT.items():
        if said in result.stderr:
            pytest.skip(f"Triton {triton.__version__}'s interpreter {limit}")
    assert result.returncode == 0, result.stderr[-2000:]
    return {line.split()[0]: float(line.split()[2]) for line in result.stdout.splitlines()}


@pytest.mark.parametrize('border', ['image', pytest.param('window', marks=pytest.mark.slow)])
def test_triton_kernels_equal_the_box_filters_in_the_interpreter(border: str) -> None:
    errors = errors_in_the_interpreter(border, '3', '3', '2', '5', '6')
    of_loss = {'loss', 'loss-gradient-pred', 'loss-gradient-target', 'window', 'window-gradient'}
    assert set(errors) == {'graph', 'graph-gradient', *of_loss}
    assert max(errors.values()) < 1e-13, errors


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [('5', '3', '1', '9', '8'), ('3', '1', '3', '5', '7'), ('5', '5', '2', '7', '6')])
@pytest.mark.parametrize('border', ['image', 'window'])
def test_triton_kernels_equal_the_box_filters_for_other_sizes(border: str, sizes: tuple[str, ...]) -> None:
    errors = errors_in_the_interpreter(border, *sizes)
    assert len(errors) == 7
    assert max(errors.values()) < 1e-13, errors


@pytest.mark.parametrize(
    ('architecture', 'border', 'channels', 'dtype'),
    [('80', 'image', '3', 'float32'), ('90', 'window', '1', 'float64')],
)
def test_every_launch_compiles_to_machine_code_without_a_gpu(architecture, border, channels, dtype) -> None:
    """The interpreter accepts what the compiler refuses: types and shapes that change in a loop, for example."""
    script = Path(__file__).with_name('triton_compile.py')
    command = [sys.executable, str(script), architecture, border, channels, dtype]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert result.returncode == 0, result.stderr[-2000:]
    compiled = {line.split()[0]: int(line.split()[1]) for line in result.stdout.splitlines()}
    modules = [triton_kernel, triton_adjoint] if border == 'window' else [triton_kernel]
    kernels = {name for module in modules for name, value in vars(module).items() if isinstance(value, JITFunction)}
    assert kernels - HELPERS <= set(compiled)
    assert min(compiled.values()) > 1000


@pytest.fixture
def launches(monkeypatch):
    """Launches of the GPU path on CPU tensors are noted, not run: the kernel, and the device made current for it."""
    current, noted = [], []

    @contextmanager
    def device_of(tensor):
        current.append(tensor.device)
        yield
        current.pop()

    def note(kernel, grid):
        return lambda *args, **kwargs: noted.append((kernel.__name__, current[-1] if current else None))

    monkeypatch.setattr(torch.cuda, 'device_of', device_of)
    monkeypatch.setattr(JITFunction, '__getitem__', note)
    return noted


def loss_and_graph_of_noise(border: str) -> None:
    images = torch.rand(2, 2, 3, 20, 21, generator=torch.Generator().manual_seed(0))
    pred, target, mask = images[0].requires_grad_(), images[1], images[0, :, 0] < 0.3
    options = {'criterion': 'kl+l1', 'border': border}
    fast = functools.partial(fused_graph, gpu), functools.partial(fused_loss, gpu)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, 'fastest_path', lambda device: dispatch.Implementation(*fast))
        self_similarity_loss(pred, target, mask, **options).backward()
        self_similarity_graph(pred, mask, border=border).sum().backward()


@pytest.mark.parametrize('border', ['image', 'window'])
def test_every_launch_is_on_the_device_of_the_images_whichever_is_current(launches, border) -> None:
    loss_and_graph_of_noise(border)
    assert len(launches) > 10
    assert {device for _, device in launches} == {torch.device('cpu')}


@pytest.mark.parametrize('border', ['image', 'window'])
def test_host_waits_for_the_device_only_to_learn_where_the_masked_pixels_are(launches, border) -> None:
    """On a GPU each of the operations named here makes the host wait until all work before it is done."""

    class Waits(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.overloadpacket.__name__
            indexed = name in ('index', 'index_put_') and any(i.dtype == torch.bool for i in args[1] if i is not None)
            if indexed or name in ('nonzero', 'lift_fresh', '_local_scalar_dense', 'item', 'masked_select'):
                self.found.append(name)
            return function(*args, **(kwargs or {}))

    loss_and_graph_of_noise(border)
    with Waits() as waits:
        loss_and_graph_of_noise(border)
    # Once each in the loss, the graph and the graph's gradient.
    assert waits.found == ['nonzero'] * 3


@pytest.mark.parametrize(('device', 'needed'), [('cuda', 'triton'), ('cpu', 'numba')])
def test_missing_kernels_fall_back_to_plain_torch_with_one_warning(monkeypatch, device, needed) -> None:
    monkeypatch.setitem(sys.modules, needed, None)
    dispatch.fastest_path.cache_clear()
    try:
        with pytest.warns(UserWarning, match=f'{needed} cannot be used') as seen:
            paths = [dispatch.fastest_path(device) for _ in range(2)]
        assert len(seen) == 1
        assert paths == [(box_graph, box_loss)] * 2
    finally:
        dispatch.fastest_path.cache_clear()


@pytest.mark.parametrize(
    ('answer', 'reason'),
    [
        (RuntimeError('Failed to find C compiler. Please specify via CC.\nMore.'), r'Failed to find C compiler'),
        (GPUTarget('cuda', 61, 32), r'the GPU has compute capability 6\.1, triton needs 7\.0'),
        (GPUTarget('cuda', 90, 32), None),
        (GPUTarget('hip', 'gfx90a', 64), None),
    ],
)
def test_a_gpu_that_triton_cannot_serve_takes_the_box_filters(monkeypatch, answer, reason) -> None:
    def get_current_target():
        if isinstance(answer, Exception):
            raise answer
        return answer

    active = SimpleNamespace(get_current_target=get_current_target)
    monkeypatch.setattr(gpu, 'driver', SimpleNamespace(active=active))
    dispatch.fastest_path.cache_clear()
    try:
        if reason is None:
            assert dispatch.fastest_path('cuda').loss.func is fused_loss
            return
        with pytest.warns(UserWarning, match=rf'triton cannot be used \({reason}') as seen:
            assert dispatch.fastest_path('cuda') == (box_graph, box_loss)
        assert '\n' not in str(seen[0].message)
    finally:
        dispatch.fastest_path.cache_clear()


def test_other_devices_use_the_box_filters() -> None:
    assert dispatch.fastest_path('mps') == (box_graph, box_loss)


@pytest.mark.gpu
@pytest.mark.parametrize('border', ['image', 'window'])
def test_gpu_equals_cpu_and_gives_the_same_bits_twice(astronaut_tensor, border) -> None:
    target = astronaut_tensor[..., 30:126, 180:276]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    results = []
    runs = ('cpu', torch.contiguous_format), ('cuda', torch.contiguous_format), ('cuda', torch.channels_last)
    for device, layout in runs:
        pred = (target + 0.05 * noise).to(device, memory_format=layout).requires_grad_()
        options = {'criterion': 'kl+l1', 'border': border}
        loss = self_similarity_loss(pred, target.to(device), edge_mask(target).to(device), **options)
        (gradient,) = torch.autograd.grad(loss, pred)
        results.append((loss.detach().cpu(), gradient.cpu()))
    (loss, gradient), one, two = results
    torch.testing.assert_close(one[0], loss, rtol=1e-4, atol=0)
    torch.testing.assert_close(one[1], gradient, rtol=1e-3, atol=1e-3 * gradient.abs().max().item())
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
