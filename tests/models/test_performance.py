"""Each option of `performance` against the plain float32 step: gradients within stated tolerances."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model
from small_model import options

from metaf2n_arch.utils.checks import OptionError
from metaf2n_arch.utils.spectral_norm import advance_power_iteration


def gradients(folder, data, **changes) -> dict[str, torch.Tensor]:
    """What one step teaches each network, all tensors in one vector."""
    torch.manual_seed(0)
    model = build_model(options(folder, **changes))
    model.feed_data(data)
    advance_power_iteration(model.net_d)  # as a step does: without, spectral norms are off and gradients of 1e8
    with model.performance.saving():
        model.compute_gradients(1)
    return {
        label: torch.cat([p.grad.flatten() for p in net.parameters()]) / model.step_g.scale
        for label, net in (('g', model.net_g), ('m', model.net_m))
    }


def error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


# Largest relative error of the gradient (2-norm) that an option may cause in one step of the small model.
ALLOWED = [
    ({'channels_last': True}, {'g': 1e-4, 'm': 1e-4}),
    ({'tf32': True}, {'g': 1e-6, 'm': 1e-6}),
    ({'concatenations': 'whole'}, {'g': 1e-6, 'm': 1e-6}),
    pytest.param({'autocast': 'bf16'}, {'g': 0.05, 'm': 0.1}, marks=pytest.mark.slow),  # convolutions of NCHW are slow
    ({'autocast': 'bf16', 'channels_last': True}, {'g': 0.05, 'm': 0.1}),
    ({'autocast': 'fp16'}, {'g': 0.01, 'm': 0.02}),
]


@pytest.fixture
def tf32_as_before():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(('performance', 'allowed'), ALLOWED, ids=str)
@pytest.mark.parametrize('mode', ['first', 'second'])
def test_an_option_keeps_the_gradient_within_its_tolerance(
    tmp_path,
    batch,
    performance,
    allowed,
    mode,
    tf32_as_before,
):
    meta = {'inner_lr': 0.05, 'mode': mode}
    plain = gradients(tmp_path, batch, meta=meta)
    fast = gradients(tmp_path, batch, meta=meta, performance=performance)
    for label, limit in allowed.items():
        assert fast[label].dtype == torch.float32
        assert error(fast[label], plain[label]) < limit, label


def test_the_options_take_effect(tmp_path, tf32_as_before, astronaut_tensor):
    opt = options(tmp_path, performance={'autocast': 'bf16', 'channels_last': True, 'tf32': True})
    model = build_model(opt)
    weight = next(p for p in model.net_g.parameters() if p.ndim == 4 and p.shape[1] > 1)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.backends.cuda.matmul.allow_tf32
    inside = []
    model.net_g.register_forward_hook(lambda net, inputs, output: inside.append(output.dtype))
    image = astronaut_tensor[:, :, :16, :16]
    made = model.performance.pure(model.net_g)(dict(model.net_g.named_parameters()), image)
    assert made.dtype == torch.float32
    plain = model.net_g(image)
    assert 0 < error(made, plain) < 0.02, 'bfloat16 was used, and it is near'


def test_a_compiled_generator_trains_like_a_plain_one(tmp_path, astronaut_tensor):
    """With the backend that differentiates ahead of time but leaves the arithmetic to torch."""
    weights = []
    gt = astronaut_tensor[:, :, 60:124, 170:234]
    for performance in ({}, {'compile': 'aot_eager'}):
        torch.manual_seed(0)
        opt = options(tmp_path, model_type='GANSRModel', performance=performance)
        opt['train']['losses'] = opt['train']['losses'][:2]
        model = build_model({k: v for k, v in opt.items() if k not in ('meta', 'network_m')})
        for iteration in (1, 2):
            model.feed_data({'gt': gt, 'lq': gt[:, :, ::4, ::4]})
            model.optimize_parameters(iteration)
        weights.append(model.net_g.state_dict())
    assert weights[0].keys() == weights[1].keys(), 'checkpoints keep their names'
    for name, expected in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected, rtol=1e-4, atol=1e-6)


def test_compiling_what_is_differentiated_twice_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r'performance\.compile: MetaF2NModel differentiates its generator twice'):
        build_model(options(tmp_path, performance={'compile': 'inductor'}))
