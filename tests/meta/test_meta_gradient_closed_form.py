"""The three modes against matrices: a quadratic inner loss whose Hessian and mixed derivative are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaf2n_arch.meta import Params, meta_gradient

N, M = 5, 3


class Quadratic:
    """L_in = x'Ax/2 + x'Bp + b'x and L_out = x'Cx/2 + c'x + |p|^2/2, where x is adapted."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        square, other = draw(N, N), draw(N, N)
        self.A, self.B, self.b = square @ square.T, draw(N, M), draw(N)
        self.C, self.c = other @ other.T, draw(N)
        self.x, self.p = draw(N), draw(M)

    def inner(self, theta: Params, phi: Params) -> Tensor:
        x, p = theta['x'], phi['p']
        return x @ self.A @ x / 2 + x @ self.B @ p + self.b @ x

    def outer(self, theta: Params, phi: Params, step: int) -> Tensor:
        x, p = theta['x'], phi['p']
        return x @ self.C @ x / 2 + self.c @ x + p @ p / 2

    def expected(self, rate: float, steps: int, mode: str, weights: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients by x, p and the rate, written out with the matrices alone."""
        path, slopes = [self.x], []
        for _ in range(steps):
            slopes.append(self.A @ path[-1] + self.B @ self.p + self.b)
            path.append(path[-1] - rate * slopes[-1])
        v, by_p, by_rate = torch.zeros_like(self.x), torch.zeros_like(self.p), torch.zeros((), dtype=torch.float64)
        for k in range(steps, 0, -1):
            v = v + weights[k - 1] * (self.C @ path[k] + self.c)
            by_p = by_p + weights[k - 1] * self.p
            by_rate = by_rate - v @ slopes[k - 1]
            if mode != 'first':
                by_p = by_p - rate * self.B.T @ v
            if mode == 'second':
                v = v - rate * self.A @ v
        return v, by_p, by_rate


@pytest.mark.parametrize('mode', ['first', 'first_mask', 'second'])
@pytest.mark.parametrize('weights', [(1.0,), (0.0, 1.0), (0.5, 0.0, 0.0, 0.2, 0.3)])
def test_each_mode_gives_the_gradient_the_matrices_say(mode: str, weights: tuple[float, ...]) -> None:
    case, rate = Quadratic(), 0.07
    by_x, by_p, by_rate = case.expected(rate, len(weights), mode, weights)
    found = meta_gradient(
        {'x': case.x},
        {'p': case.p},
        case.inner,
        case.outer,
        inner_lr={'x': torch.tensor(rate, dtype=torch.float64, requires_grad=True)},
        inner_steps=len(weights),
        mode=mode,
        step_weights=weights,
    )
    torch.testing.assert_close(found.theta['x'], by_x, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.phi['p'], by_p, rtol=1e-10, atol=1e-12)
    assert found.inner_lr is not None
    torch.testing.assert_close(found.inner_lr['x'], by_rate, rtol=1e-10, atol=1e-12)


def test_first_order_is_the_outer_gradient_at_the_adapted_point() -> None:
    case = Quadratic()
    found = meta_gradient(
        {'x': case.x}, {'p': case.p}, case.inner, case.outer, inner_lr=0.07, inner_steps=2, mode='first'
    )
    after = found.fast_params['x'].requires_grad_()
    (wanted,) = torch.autograd.grad(case.outer({'x': after}, {'p': case.p}, 2), after)
    torch.testing.assert_close(found.theta['x'], wanted, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.phi['p'], case.p, rtol=1e-12, atol=0)


def test_an_inner_loss_that_is_linear_in_theta_has_no_curvature() -> None:
    theta, weight = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    found = meta_gradient(
        {'x': theta}, {}, lambda t, p: t['x'] @ weight, lambda t, p, k: (t['x'] ** 2).sum() / 2, inner_lr=0.3
    )
    torch.testing.assert_close(found.theta['x'], theta - 0.3 * weight)
