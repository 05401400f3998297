"""Networks of spandrel, ready to be trained: any size, differentiable in evaluation, known by their own files."""

from __future__ import annotations

import pytest
import torch

from metaf2n_arch.archs.spandrel_networks import build_spandrel, check_network
from metaf2n_arch.utils.checks import DataError, OptionError
from metaf2n_arch.weights.layouts import in_names_of

SMALL = {
    'SPAN': {'num_in_ch': 3, 'num_out_ch': 3, 'feature_channels': 8},
    'RealPLKSR': {'dim': 16, 'n_blocks': 1, 'kernel_size': 7},
    'SeemoRe': {'num_layers': 1, 'embedding_dim': 16, 'num_experts': 2},
    'RCAN': {'n_resgroups': 1, 'n_resblocks': 1, 'n_feats': 16},
}


@pytest.fixture
def image(astronaut_tensor) -> torch.Tensor:
    return torch.cat([astronaut_tensor[:, :, 90:107, 200:221], astronaut_tensor[:, :, 40:57, 60:81]]).clone()


@pytest.mark.parametrize('arch', SMALL)
def test_several_images_of_any_size_as_each_alone(arch, image):
    net, kept = build_spandrel(arch, **SMALL[arch]).eval(), image.clone()
    together = net(image)
    assert together.shape == (2, 3, 68, 84)
    torch.testing.assert_close(together, torch.cat([net(one) for one in image.split(1)]), rtol=1e-4, atol=1e-4)
    assert torch.equal(image, kept)


@pytest.mark.parametrize('arch', ['SPAN', 'RealPLKSR'])
def test_evaluation_has_the_gradient_of_training(arch, image):
    """spandrel's own SPAN gives none to the weights it merges, and RealPLKSR writes over what the gradient needs."""
    net = build_spandrel(arch, **SMALL[arch])
    before = {name: x.clone() for name, x in net.state_dict().items()}
    weights = [p for p in net.parameters() if p.requires_grad]
    found = [torch.autograd.grad(net.train(mode)(image).sum(), weights, allow_unused=True) for mode in (True, False)]
    assert any(g is not None and g.abs().max() > 0 for g in found[1])
    for training, evaluation in zip(*found):
        assert (training is None) == (evaluation is None)
        assert training is None or torch.equal(training, evaluation)
    assert all(torch.equal(x, before[name]) for name, x in net.state_dict().items())


def test_the_second_derivative_of_an_attention_of_positions_is_that_of_differences(image):
    """d/dε ∇L(θ + ε v) in double precision, off the first weights, where biases of 0 stand on the kinks of ReLUs."""
    sizes = {'embed_dim': 16, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'upscale': 4}
    torch.manual_seed(0)
    net = build_spandrel('Swin2SR', upsampler='pixelshuffle', **sizes).double().eval()
    weights = [p for p in net.parameters() if p.requires_grad]
    along = [torch.randn_like(p) for p in weights]

    def gradient(step: float) -> list[torch.Tensor]:
        with torch.no_grad():
            for p, v in zip(weights, along):
                p.add_(v, alpha=step)
        loss = net(image[:1, :, :8, :8].double()).square().mean()
        found = torch.autograd.grad(loss, weights, create_graph=step == 0, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(weights, found)]

    with torch.no_grad():
        for p in weights:
            p.add_(torch.randn_like(p), alpha=0.02)
    product = sum((g * v).sum() for g, v in zip(gradient(0), along))
    exact = torch.autograd.grad(product, weights, allow_unused=True)
    above, below = gradient(1e-8), gradient(-2e-8)
    numeric = [(a - b) / 2e-8 for a, b in zip(above, below)]
    pairs = [(e, n) for e, n in zip(exact, numeric) if e is not None]
    error = sum((e - n).square().sum() for e, n in pairs) / sum(n.square().sum() for _, n in pairs)
    assert error.sqrt() < 1e-5


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        ({'arch': 'SPAM'}, "network_g.arch is 'SPAM', expected a network of spandrel. Did you mean 'SPAN'?"),
        ({'arch': 'SPAN', 'num_in_ch': 3, 'num_out_ch': 3, 'upscal': 4}, 'upscal: unknown key of SPAN. Did you mean'),
        ({'arch': 'IPT'}, "network_g.arch is 'IPT', which takes patches of one size"),
        ({'arch': 'SPAN', 'num_in_ch': 3}, 'network_g.num_out_ch: missing; SPAN needs it.'),
    ],
)
def test_a_typo_is_one_line(options, line):
    with pytest.raises(OptionError) as error:
        check_network({'type': 'Spandrel', **options}, 'network_g')
    assert line in str(error.value)


def test_values_that_do_not_fit_are_one_line():
    with pytest.raises(OptionError, match='RealPLKSR cannot be built') as error:
        build_spandrel('RealPLKSR', dim='many')
    assert '\n' not in str(error.value)


def test_a_file_of_another_architecture_is_named():
    state = build_spandrel('RealPLKSR', **SMALL['RealPLKSR']).state_dict()
    with pytest.raises(DataError, match='holds a PLKSR, but the option file names a network of SPAN'):
        in_names_of(build_spandrel('SPAN', **SMALL['SPAN']), state, 'x.pth')
