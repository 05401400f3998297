"""The loss inside PyTorch's transforms: `torch.func`, `torch.compile` as one graph, and derivatives of derivatives."""

from __future__ import annotations

import pytest
import torch

from metaf2n_arch.functional.edges import edge_mask
from metaf2n_arch.functional.self_similarity import dispatch, self_similarity_loss
from metaf2n_arch.functional.self_similarity.box import box_graph, box_loss
from metaf2n_arch.losses.self_similarity import SSLLoss

OPTIONS = {'criterion': 'kl+l1', 'search_size': 7, 'patch_size': 3, 'h': 0.02}


@pytest.fixture(params=['fused', 'box'])
def problem(request, astronaut_tensor, monkeypatch):
    """The loss of a crop as a function of the restored one, and three of these; by the kernels and by the filters."""
    if request.param == 'box':
        monkeypatch.setattr(dispatch, 'fastest_path', lambda device: dispatch.Implementation(box_graph, box_loss))
    target = astronaut_tensor[..., 40:56, 200:218].double()
    noise = torch.randn(3, *target.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = edge_mask(target)

    def loss(pred: torch.Tensor, truth: torch.Tensor = target) -> torch.Tensor:
        return self_similarity_loss(pred, truth, mask, **OPTIONS)

    return loss, target, (target + 0.05 * noise).clamp(0, 1)


def gradient(loss, x: torch.Tensor) -> torch.Tensor:
    """By ordinary autograd, which is the oracle here."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(x), x)[0]


def test_func_grad_is_autograds_gradient(problem) -> None:
    loss, _, preds = problem
    torch.testing.assert_close(torch.func.grad(loss)(preds[0]), gradient(loss, preds[0]), rtol=1e-12, atol=0)
    value, pullback = torch.func.vjp(loss, preds[0])
    torch.testing.assert_close(value, loss(preds[0]))
    torch.testing.assert_close(pullback(2 * torch.ones_like(value))[0], 2 * gradient(loss, preds[0]))


def test_func_grad_reaches_the_target_too(problem) -> None:
    loss, target, preds = problem
    y = target.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(preds[0], y), y)
    torch.testing.assert_close(torch.func.grad(loss, argnums=1)(preds[0], target), expected)


def test_vmap_is_a_loop_also_of_gradients(problem) -> None:
    loss, _, preds = problem
    torch.testing.assert_close(torch.func.vmap(loss)(preds), torch.stack([loss(x) for x in preds]))
    each = torch.stack([gradient(loss, x) for x in preds])
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(preds), each)
    torch.testing.assert_close(torch.func.grad(lambda x: torch.func.vmap(loss)(x).sum())(preds), each)
    if dispatch.fastest_path('cpu').loss is not box_loss:  # which recomputes in its backward, when `vmap` has ended
        torch.testing.assert_close(gradient(lambda x: torch.func.vmap(loss)(x).sum(), preds), each)


def test_derivative_of_the_derivative_is_that_of_the_box_filters(problem) -> None:
    loss, target, preds = problem
    v = torch.randn(target.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = edge_mask(target)[:, 0]
    geometry, weights = dispatch.Geometry(7, 3), dispatch.CriterionWeights(1.0, 1.0)

    def product(function) -> torch.Tensor:
        x = preds[0].clone().requires_grad_()
        (first,) = torch.autograd.grad(function(x), x, create_graph=True)
        return torch.autograd.grad((first * v).sum(), x)[0]

    expected = product(lambda x: box_loss(x, target, mask, geometry, 0.02, weights))
    torch.testing.assert_close(product(loss), expected, rtol=1e-8, atol=1e-14)
    nested = torch.func.grad(lambda x: (torch.func.grad(loss)(x) * v).sum())(preds[0])
    torch.testing.assert_close(nested, expected, rtol=1e-8, atol=1e-14)


def test_upstream_gradient_is_differentiated_too(problem) -> None:
    loss, _, preds = problem
    x = preds[0].clone().requires_grad_()
    u = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(u * loss(x), x, create_graph=True)
    (by_u,) = torch.autograd.grad(first.square().sum(), u)
    torch.testing.assert_close(by_u, 2 * 3.0 * gradient(loss, preds[0]).square().sum())


def test_module_works_inside_vmap_and_grad(astronaut_tensor) -> None:
    target = torch.stack([astronaut_tensor[..., y : y + 20, 200:220] for y in (40, 90)])
    preds = (0.9 * target).clone()
    loss = SSLLoss(reduction='window')
    grads = torch.func.vmap(torch.func.grad(loss))(preds, target)
    for x, y, g in zip(preds, target, grads):
        torch.testing.assert_close(g, gradient(lambda a, y=y: loss(a, y), x))


@pytest.mark.parametrize('backend', ['eager', 'aot_eager'])
@pytest.mark.parametrize('reduction', ['mean', 'window'])
def test_compiled_step_is_one_graph_and_gives_the_same(astronaut_tensor, backend, reduction, monkeypatch) -> None:
    torch.compiler.reset()
    target = astronaut_tensor[..., 40:64, 200:230]
    pred = (target + 0.05 * torch.randn(target.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    loss = SSLLoss(criterion='kl+l1', search_size=7, patch_size=3, h=0.02, mask_stride=2, reduction=reduction)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(x.sqrt(), y)

    results = []
    for function in (torch.compile(step, backend=backend, fullgraph=True), step):
        x, y = pred.clone().requires_grad_(), target.clone().requires_grad_()
        value = function(x, y)
        results.append((value.detach(), *torch.autograd.grad(value, (x, y))))
    for ours, plain in zip(*results):
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(step, backend=backend, fullgraph=True)(pred, target), results[1][0])


@pytest.mark.parametrize('wanted', [(True, True), (True, False), (False, False)])
def test_operator_keeps_what_torch_asks_of_one(astronaut_tensor, wanted) -> None:
    """Schema, fake tensors, autograd and tracing, by torch's own check."""
    y = astronaut_tensor[..., 40:52, 200:213].double()
    x = (0.9 * y).requires_grad_(wanted[0])
    y = y.clone().requires_grad_(wanted[1])
    arguments = (x, y, edge_mask(y)[:, 0], 5, 3, 'image', 0.02, 1.0, 0.5, *wanted)
    torch.library.opcheck(torch.ops.metaf2n.self_similarity_loss.default, arguments)


def test_wrong_shapes_are_still_one_clear_error_when_compiled() -> None:
    compiled = torch.compile(SSLLoss(), backend='eager')
    with pytest.raises(ValueError, match='at least 17×17'):
        compiled(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
