"""The graph and the loss: every path against the equation as a loop, values and gradients."""

import pytest
import torch

from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.functional.self_similarity import self_similarity_graph, self_similarity_loss
from metaf2n_arch.functional.self_similarity.box import box_graph
from metaf2n_arch.functional.self_similarity.criterion import criterion_weights, graph_difference
from metaf2n_arch.functional.self_similarity.geometry import Geometry
from metaf2n_arch.functional.self_similarity.naive import naive_graph
from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.padding import reflect_pad, reflect_pad_adjoint

BORDERS = ('image', 'window')
# (K, P, C, H, W, share of masked pixels; 0 stands for a single one)
CASES = [
    (5, 3, 3, 11, 13, 0.2),
    (7, 7, 1, 9, 8, 0.3),
    (3, 1, 3, 5, 7, 1.0),
    (5, 5, 3, 6, 19, 0.0),
    (9, 3, 1, 12, 10, 0.1),
    (1, 1, 3, 2, 3, 0.5),
    (9, 9, 3, 17, 9, 0.1),
]


def photo_crop(photo: torch.Tensor, channels: int, height: int, width: int, seed: int) -> torch.Tensor:
    y, x = 40 + 16 * seed, 200 + 7 * seed
    return photo[:, :channels, y : y + height, x : x + width].double()


def random_mask(batch: int, height: int, width: int, share: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(batch, height, width, generator=generator) < share
    if share == 0:
        mask[-1, height // 2, width - 1] = True
    return mask


def value_and_gradient(function, image: torch.Tensor, weight: torch.Tensor | None = None):
    image = image.clone().requires_grad_()
    graph = function(image)
    if weight is None:
        weight = torch.randn(graph.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((graph * weight.to(graph.dtype)).sum(), image)
    return graph.detach(), gradient


@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('case', CASES)
def test_box_filter_equals_the_loop(astronaut_tensor, tolerance, case, border, normalize) -> None:
    search, patch, channels, height, width, share = case
    if border == 'image' and min(height, width) <= search // 2 + patch // 2:
        height, width = height + patch, width + patch
    geometry = Geometry(search, patch, border)
    image = torch.cat([photo_crop(astronaut_tensor, channels, height, width, seed) for seed in (0, 3)])
    mask = random_mask(2, height, width, share)
    slow = value_and_gradient(lambda x: naive_graph(x, mask, geometry, 0.02, normalize), image)
    fast = value_and_gradient(lambda x: box_graph(x, mask, geometry, 0.02, normalize), image)
    assert slow[0].shape == (int(mask.sum()), search**2)
    for ours, oracle in zip(fast, slow):
        torch.testing.assert_close(ours, oracle, **tolerance[torch.float64])


def test_box_filter_in_small_blocks_of_shifts_gives_the_same(astronaut_tensor, tolerance, monkeypatch) -> None:
    image = photo_crop(astronaut_tensor, 3, 14, 15, 0)
    mask = random_mask(1, 14, 15, 0.2)
    geometry = Geometry(9, 3, 'window')
    whole = value_and_gradient(lambda x: box_graph(x, mask, geometry, 0.02), image)
    monkeypatch.setattr('metaf2n_arch.functional.self_similarity.box.BLOCK_NUMEL', 2500)
    parts = value_and_gradient(lambda x: box_graph(x, mask, geometry, 0.02), image)
    for ours, oracle in zip(parts, whole):
        torch.testing.assert_close(ours, oracle, **tolerance[torch.float64])


@pytest.mark.parametrize('pad', [0, 1, 4])
def test_reflect_pad_equals_torch_and_its_adjoint_is_its_transpose(pad: int) -> None:
    x = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    padded = reflect_pad(x, pad)
    torch.testing.assert_close(padded, torch.nn.functional.pad(x, [pad] * 4, mode='reflect'))
    y = torch.rand(padded.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((padded * y).sum(), (x * reflect_pad_adjoint(y, pad)).sum())


def test_graph_rows_sum_to_one_and_peak_at_the_centre(astronaut_tensor) -> None:
    image = astronaut_tensor[..., 40:70, 200:240]
    graph = self_similarity_graph(image, edge_mask(image), search_size=9, patch_size=5)
    torch.testing.assert_close(graph.sum(1), torch.ones(len(graph)))
    assert (graph.argmax(1) == 40).all()


def test_graph_does_not_see_a_constant_added_to_the_image(astronaut_tensor) -> None:
    image = astronaut_tensor[..., 40:70, 200:240].double()
    mask = edge_mask(image)
    torch.testing.assert_close(
        self_similarity_graph(image + 0.25, mask), self_similarity_graph(image, mask), rtol=1e-9, atol=1e-12
    )


def test_graph_of_a_flat_image_is_uniform() -> None:
    graph = self_similarity_graph(torch.full((1, 3, 20, 20), 0.5), torch.ones(1, 1, 20, 20))
    torch.testing.assert_close(graph, torch.full((400, 625), 1 / 625))


@pytest.mark.parametrize('border', BORDERS)
@pytest.mark.parametrize('criterion', ['l1', 'kl', 'kl+l1'])
def test_loss_is_the_mean_over_the_masked_pixels_of_the_whole_batch(astronaut_tensor, border, criterion) -> None:
    target = torch.cat([photo_crop(astronaut_tensor, 3, 14, 15, seed) for seed in (0, 1, 2)])
    pred = (target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    mask = random_mask(3, 14, 15, 0.1)
    mask[1] = False
    assert mask[0].sum() != mask[2].sum()
    geometry = Geometry(7, 3, border)
    x, y = naive_graph(pred, mask, geometry, 0.02), naive_graph(target, mask, geometry, 0.02)
    expected = torch.zeros((), dtype=torch.float64)
    if 'kl' in criterion:
        expected = expected + (y * (y.clamp_min(1e-10).log() - x.clamp_min(1e-10).log())).mean()
    if 'l1' in criterion:
        expected = expected + (0.5 if criterion == 'kl+l1' else 1.0) * (x - y).abs().mean()
    options = {'search_size': 7, 'patch_size': 3, 'h': 0.02, 'border': border}
    loss = self_similarity_loss(pred, target, mask, criterion=criterion, l1_weight=0.5, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    ours, oracle = (torch.autograd.grad(value, pred)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, oracle, rtol=1e-5, atol=1e-9)
    assert ours[1].abs().max() == 0


def test_difference_of_graphs_clamps_what_it_takes_the_logarithm_of() -> None:
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    total = graph_difference(x, y, criterion_weights('kl', 1.0))
    expected = 0.5 * torch.tensor([0.5, 0.5 / 1e-10], dtype=torch.float64).log().sum()
    torch.testing.assert_close(total, expected)
    assert torch.autograd.grad(total, x)[0].tolist() == [[-0.5, 0.0]]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'search_size': 4}, 'search_size is 4, expected an odd'),
        ({'patch_size': 0}, 'patch_size is 0, expected an odd'),
        ({'h': 0.0}, 'h is 0.0, expected a positive'),
        ({'border': 'windw'}, "Did you mean 'window'"),
        ({'search_size': 3, 'patch_size': 5, 'border': 'window'}, 'must fit'),
    ],
)
def test_wrong_options_are_one_clear_error(options, message) -> None:
    with pytest.raises(OptionError, match=message):
        self_similarity_graph(torch.rand(1, 3, 32, 32), torch.ones(1, 32, 32), **options)


@pytest.mark.parametrize(('border', 'least'), [('image', 17), ('window', 13)])
def test_image_smaller_than_its_padding_is_told_the_minimum(border: str, least: int) -> None:
    small = torch.rand(1, 3, least - 1, 40)
    with pytest.raises(ValueError, match=f'need at least {least}×{least} pixels'):
        self_similarity_graph(small, torch.ones(1, least - 1, 40), border=border)
    enough = torch.rand(1, 3, least, least)
    assert self_similarity_graph(enough, torch.ones(1, least, least), border=border).isfinite().all()


@pytest.mark.parametrize(
    ('image', 'mask', 'message'),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.ones(1, 32, 32), 'dtype torch.uint8'),
        (torch.zeros(1, 3, 32, 32, dtype=torch.complex64), torch.ones(1, 32, 32), 'dtype torch.complex64'),
        (torch.zeros(3, 32, 32), torch.ones(1, 32, 32), 'shape'),
        (torch.zeros(2, 3, 32, 32), torch.ones(1, 32, 32), 'mask has shape'),
        (torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32), 'mask has shape'),
        (torch.zeros(1, 3, 32, 32), torch.ones(1, 32, 32, dtype=torch.complex64), 'mask has dtype'),
    ],
)
def test_wrong_tensors_are_one_clear_error(image, mask, message) -> None:
    with pytest.raises(ValueError, match=message):
        self_similarity_graph(image, mask)
