"""Every loss at once, from one YAML list, through the list's own interface, on a photograph."""

from __future__ import annotations

import made_up_weights
import torch
import yaml
from basicsr.archs import build_network
from torch import nn

from metaf2n_arch.archs.lpips_network import TRUNKS
from metaf2n_arch.losses.terms import LossTerms
from metaf2n_arch.weights.search import table

OPTIONS = """
losses:
  - {type: L1Loss, loss_weight: 1.0e-2}
  - {type: LPIPSLoss, net: alex, loss_weight: 1.0}
  - {type: DISTSLoss, loss_weight: 0.1}
  - {type: FFTLoss, loss_weight: 0.3}
  - {type: DCTLoss, loss_weight: 0.3}
  - {type: SpectralLoss, loss_weight: 0.3}
  - {type: FocalFrequencyLoss, loss_weight: 1.0, patch_factor: 2}
  - {type: FrequencySeparation, name: low_l1, band: low, loss: {type: L1Loss, loss_weight: 0.1}}
  - {type: RelativisticGANLoss, kind: RaGP, loss_weight: 0.005}
  - {type: GANLoss, gan_type: hinge, loss_weight: 0.005, name: hinge}
  - {type: FrequencySeparation, name: high_gan, band: high, loss: {type: GANLoss, gan_type: vanilla}}
  - {type: HighFrequencyConfusion, name: confused, loss: {type: RelativisticGANLoss, kind: RcLS, loss_weight: 0.005}}
network_d: {type: SSDDiscriminator, bins: 17, discriminator: {type: UNetDiscriminatorSN, num_in_ch: 3, num_feat: 8}}
"""


def test_all_losses_train_a_generator_and_a_discriminator(checkpoints, astronaut_tensor) -> None:
    torch.save(made_up_weights.trunk('alex'), checkpoints / TRUNKS['alex'].filename)
    torch.save(made_up_weights.trunk('vgg'), checkpoints / TRUNKS['vgg'].filename)
    torch.save(made_up_weights.dists(), checkpoints / table()['dists'].file)
    torch.manual_seed(0)
    options = yaml.safe_load(OPTIONS)
    terms = LossTerms(options['losses'])
    net_d = build_network(options['network_d'])
    net_g = nn.Conv2d(3, 3, 3, padding=1)
    nn.init.dirac_(net_g.weight)
    gt = torch.cat([astronaut_tensor[..., 40:80, 200:248], astronaut_tensor[..., 80:120, 200:248]])
    lq = nn.functional.avg_pool2d(gt, 3, 1, 1)
    optimizer_g = torch.optim.Adam(net_g.parameters(), lr=1e-3)
    optimizer_d = torch.optim.Adam(net_d.parameters(), lr=1e-4)
    history = []
    for _ in range(8):
        net_d.requires_grad_(False)
        optimizer_g.zero_grad()
        pred = net_g(lq)
        total, values = terms.generator(pred, {'gt': gt}, net_d)
        total.backward()
        optimizer_g.step()
        net_d.requires_grad_(True)
        optimizer_d.zero_grad()
        loss_d, statistics = terms.discriminator(pred, {'gt': gt}, net_d)
        loss_d.backward()
        optimizer_d.step()
        history.append(values)
        assert all(torch.isfinite(p.grad).all() for net in (net_g, net_d) for p in net.parameters())

    assert len(values) == len(options['losses'])
    assert all(value != 0 for value in values.values())
    assert {'out_d_gp_relativisticgan', 'out_d_real_confused', 'l_d_high_gan'} <= set(statistics)
    for name in ('l_g_l1', 'l_g_fft', 'l_g_dct', 'l_g_focalfrequency', 'l_g_low_l1'):
        assert history[-1][name] < history[0][name], name
