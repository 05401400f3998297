"""The interface of restorers: shapes, frozenness, resizing, options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from metaf2n_arch.faces.restorer import IdentityRestorer, NetworkRestorer, RestorerOptions
from metaf2n_arch.faces.restorers import build_restorer
from metaf2n_arch.utils.checks import OptionError


class Halve(nn.Module):
    """Maps v in [0, 1] to v / 2 in its own range [-1, 1], remembers the batches it saw, and returns a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.dropout = nn.Dropout(0.5)
        self.seen: list[torch.Size] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.seen.append(x.shape)
        return self.dropout(torch.ones_like(x)) * ((x + 1) * self.factor - 1), None


def test_identity_returns_the_faces(astronaut_tensor):
    assert torch.equal(build_restorer('identity').restore(astronaut_tensor), astronaut_tensor)


def test_none_builds_no_restorer():
    assert build_restorer(None) is None


def test_a_network_sees_minus_one_to_one_and_gives_it_back(astronaut_tensor):
    restorer = NetworkRestorer(Halve(), size=512)
    torch.testing.assert_close(restorer.restore(astronaut_tensor), astronaut_tensor / 2, rtol=0, atol=1e-6)


def test_faces_of_another_size_are_resized_there_and_back(astronaut_tensor):
    face = astronaut_tensor[:, :, 0:256, 96:352]
    network = Halve()
    restored = NetworkRestorer(network, size=512).restore(face)
    assert network.seen == [(1, 3, 512, 512)]
    assert restored.shape == face.shape
    assert (restored - face / 2).abs().mean() < 4e-3


@pytest.mark.parametrize(('height', 'width'), [(200, 256), (256, 199), (1, 7)])
def test_faces_that_are_not_square_are_not_squeezed(astronaut_tensor, height, width):
    face = astronaut_tensor[:, :, 40 : 40 + height, 96 : 96 + width]
    restored = NetworkRestorer(Halve(), size=256).restore(face)
    assert restored.shape == face.shape
    assert (restored - face / 2).abs().mean() < 2e-2


def test_a_batch_limit_splits_the_batch_without_changing_the_result(astronaut_tensor):
    faces = torch.cat([astronaut_tensor[:, :, :64, i * 64 : i * 64 + 64] for i in range(5)])
    network = Halve()
    split = NetworkRestorer(network, size=64, batch=2).restore(faces)
    assert [shape[0] for shape in network.seen] == [2, 2, 1]
    assert torch.equal(split, NetworkRestorer(Halve(), size=64).restore(faces))


def test_no_gradient_no_training_mode_no_trainable_parameter(astronaut_tensor):
    restorer = NetworkRestorer(Halve(), size=512)
    parent = nn.Sequential(restorer).train()
    face = astronaut_tensor.clone().requires_grad_()
    assert not parent[0](face).requires_grad
    assert not restorer.network.dropout.training
    assert not any(p.requires_grad for p in restorer.parameters())


def test_the_dtype_of_the_faces_is_kept_and_values_are_clamped():
    restored = IdentityRestorer().restore(torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1).half())
    assert restored.dtype == torch.float16
    assert restored.flatten().tolist() == [0.0, 0.5, 1.0]


def test_no_face_at_all_gives_no_face():
    assert NetworkRestorer(Halve(), size=512).restore(torch.empty(0, 3, 40, 40)).shape == (0, 3, 40, 40)


def test_bytes_instead_of_floats_are_refused():
    with pytest.raises(ValueError, match='floating-point'):
        IdentityRestorer().restore(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'type': 'gpenn'}, 'restorer.type'),
        ({'type': 'gpen', 'sise': 256}, "Did you mean 'size'"),
        ({'type': 'gpen', 'size': 300}, 'restorer.size'),
        ({'type': 'gfpgan', 'narrow': 0.5}, 'narrow has no effect'),
        ({'type': 'gfpgan', 'size': 256}, 'size has no effect'),
        ({'type': 'gpen', 'fidelity': 0.5}, 'fidelity has no effect'),
        ('gpenx', "Did you mean 'gpen'"),
    ],
)
def test_wrong_options_name_the_key(block, message):
    with pytest.raises(OptionError, match=message):
        build_restorer(block)


def test_the_schema_of_the_option_block_accepts_what_the_papers_use():
    assert RestorerOptions(type='gpen', size=256, weights='gpen_bfr_256').size == 256
