"""The benchmark that waits for a GPU: its programs compute one thing, and it says what it lacks."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.cuda._utils import _get_device_index
from torch.nn import functional as F

FOLDER = Path(__file__).resolve().parents[1] / 'benchmarks'


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import self_similarity_gpu
    import self_similarity_problem

    return SimpleNamespace(gpu=self_similarity_gpu, problem=self_similarity_problem)


def distances_in_window(padded: torch.Tensor, y: int, x: int, search: int, patch: int) -> torch.Tensor:
    """What the authors' kernel adds up for the pixel (y, x) of a padded image: (search, search)."""
    r = search // 2
    window = F.pad(padded[:, y - r : y + r + 1, x - r : x + r + 1], [patch // 2] * 4)
    patches = window.unfold(1, patch, 1).unfold(2, patch, 1)
    return (patches - patches[:, r : r + 1, r : r + 1]).square().sum((0, 3, 4))


class StandIn:
    """The authors' operator as its sources describe it, on a CPU: fills what it is given, returns nothing."""

    @staticmethod
    def compute_similarity(image, positions, out, count, search, patch, height, width, channels):
        assert (channels, height, width) == image.shape
        assert (count, 2) == positions.shape
        for m, (y, x) in enumerate(positions.tolist()):
            out[m] += distances_in_window(image, y, x, search, patch)

    @staticmethod
    def compute_similarity_backward(image, upstream, positions, gradient, count, search, patch, *size):
        with torch.enable_grad():
            x = image.detach().requires_grad_()
            out = torch.stack([distances_in_window(x, *p, search, patch) for p in positions.tolist()])
            gradient += torch.autograd.grad(out, x, upstream.reshape(count, search, search))[0]


@pytest.mark.slow
def test_report_compares_every_program_and_counts_its_share_of_the_floor(benchmark, monkeypatch, capsys) -> None:
    monkeypatch.setattr(benchmark.gpu, 'build_authors_operator', lambda folder: StandIn)
    cases = {'tiny': (1, 24, 5, 'kl+l1'), 'two': (2, 20, 7, 'l1')}
    benchmark.gpu.report(torch.device('cpu'), Path('folder'), cases)
    printed = capsys.readouterr().out
    rows = [line.split(' | ') for line in printed.splitlines() if line.startswith(('| tiny', '| two'))]
    assert [row[1] for row in rows] == 2 * ['ours', 'box filters', 'unfold', 'ours, image', "authors' operator"]
    assert all(float(row[6].split()[0]) >= 0 for row in rows)  # a time: 0.0 where the kernels are just being compiled
    assert {row[7].split()[0] for row in rows if row[1].startswith('ours')} == {'yes'}
    assert 'agrees with the CPU kernels to 1e-4 (loss) and 1e-3 (gradient): yes' in printed


def test_report_fails_if_a_program_computes_something_else(benchmark, monkeypatch, capsys) -> None:
    class Wrong(StandIn):
        @staticmethod
        def compute_similarity(image, positions, *rest):
            StandIn.compute_similarity(image, positions.flip(1), *rest)

    monkeypatch.setattr(benchmark.gpu, 'build_authors_operator', lambda folder: Wrong)
    with pytest.raises(SystemExit, match="authors' operator: loss"):
        benchmark.gpu.report(torch.device('cpu'), Path('folder'), {'tiny': (1, 24, 5, 'kl+l1')})
    assert ': no.' in capsys.readouterr().out


@pytest.mark.parametrize(('asked', 'number'), [('cuda', 0), ('cuda:1', 1)])
def test_a_gpu_is_taken_by_its_number(benchmark, monkeypatch, asked, number) -> None:
    pytest.importorskip('triton', reason='triton, which the GPU path needs, is not installed')
    import self_similarity

    reported, current = [], []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    # As the real one does, this refuses a device without a number.
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: current.append(_get_device_index(device)))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda device: 'a GPU')
    monkeypatch.setattr(benchmark.gpu, 'report', lambda *arguments: reported.append(arguments))
    monkeypatch.setattr(sys, 'argv', ['self_similarity.py', '--device', asked, '--authors', 'folder'])
    self_similarity.main()
    assert current == [number]
    assert reported == [(torch.device('cuda', number), Path('folder'))]


def command(*arguments: str) -> subprocess.CompletedProcess:
    script = str(FOLDER / 'self_similarity.py')
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300)


def test_what_is_missing_is_said_in_one_line(benchmark, tmp_path, monkeypatch) -> None:
    wrong = command('--authors', str(tmp_path))
    assert wrong.returncode == 2
    assert wrong.stderr.endswith("--authors needs --device cuda: the authors' operator runs on GPUs only\n")
    if not torch.cuda.is_available():
        absent = command('--device', 'cuda')
        assert absent.returncode == 1
        assert absent.stderr == '--device cuda: this machine has no CUDA device that torch can use.\n'
    with pytest.raises(SystemExit, match=r'similaritywrapper.cpp does not exist; --authors takes the folder'):
        benchmark.problem.build_authors_operator(tmp_path)
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0')
    for name in ('similaritywrapper.cpp', 'similarity.cu'):
        (tmp_path / name).write_text('#error nothing\n')
    with pytest.raises(SystemExit, match='could not be built'):
        benchmark.problem.build_authors_operator(tmp_path)


def test_unfolding_in_parts_is_the_same_program(benchmark, astronaut_tensor) -> None:
    problem = benchmark.problem
    image = astronaut_tensor[0, :, 40:60, 200:221].double().requires_grad_()
    mask = torch.rand(20, 21, generator=torch.Generator().manual_seed(0)) < 0.05
    whole, parts = problem.unfolded(image, mask), problem.unfolded_in_parts(image, mask, 7)
    assert len(whole) == mask.sum() > 14
    torch.testing.assert_close(parts, whole)
    weight = torch.rand(whole.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [torch.autograd.grad((distances * weight).sum(), image)[0] for distances in (parts, whole)]
    torch.testing.assert_close(*gradients)
