"""Edge masks against Pillow and OpenCV, the programs whose arithmetic they repeat."""

import numpy as np
import pytest
import torch

from metaf2n_arch.functional.edges import edge_mask, luminance_8bit, thin_mask


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def test_luminance_equals_pillow_for_every_colour_of_a_grid() -> None:
    from PIL import Image

    levels = np.arange(0, 256, 5, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    ours = luminance_8bit(to_tensor(colours))[0, 0].numpy()
    np.testing.assert_array_equal(ours, np.asarray(Image.fromarray(colours).convert('L')))


@pytest.mark.parametrize('name', ['astronaut', 'chelsea', 'coffee', 'rocket'])
def test_edge_mask_equals_pillow_and_opencv(name: str) -> None:
    import cv2
    from PIL import Image
    from skimage import data

    photo = np.ascontiguousarray(getattr(data, name)()[40:243, 11:188])
    luminance = np.asarray(Image.fromarray(photo).convert('L'))
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=np.float32)
    for threshold in (0, 20, 60):
        theirs = cv2.filter2D(luminance, -1, kernel) > threshold
        ours = edge_mask(to_tensor(photo), threshold)
        assert 0 < theirs.sum() < theirs.size
        np.testing.assert_array_equal(ours[0, 0].numpy(), theirs)


@pytest.mark.parametrize('shape', [(2, 2), (1, 7), (7, 1), (1, 1), (3, 5)])
def test_edge_mask_equals_opencv_on_tiny_images(shape: tuple[int, int]) -> None:
    import cv2

    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    theirs = cv2.Laplacian(grey, cv2.CV_8U, ksize=1) > 20
    ours = edge_mask(torch.from_numpy(grey)[None, None].float() / 255)
    np.testing.assert_array_equal(ours[0, 0].numpy(), theirs)


def test_batch_is_treated_image_by_image(astronaut_tensor: torch.Tensor) -> None:
    images = torch.cat([astronaut_tensor[..., :60, 200:260], astronaut_tensor[..., 100:160, 200:260]])
    together = edge_mask(images)
    assert torch.equal(together, torch.cat([edge_mask(images[:1]), edge_mask(images[1:])]))


def test_values_outside_the_range_count_as_clipped(astronaut_tensor: torch.Tensor) -> None:
    wide = astronaut_tensor[..., :80, :80] * 1.5 - 0.2
    assert torch.equal(edge_mask(wide), edge_mask(wide.clamp(0, 1)))


def test_double_precision_gives_the_same_mask(astronaut_tensor: torch.Tensor) -> None:
    assert torch.equal(edge_mask(astronaut_tensor.double()), edge_mask(astronaut_tensor))


@pytest.mark.parametrize('stride', [1, 2, 3, 5])
def test_thinning_keeps_the_diagonal_of_each_block(stride: int) -> None:
    kept = thin_mask(torch.ones(1, 1, 11, 13, dtype=torch.bool), stride)[0, 0]
    tiles = np.tile(np.eye(stride, dtype=bool), (11 // stride + 1, 13 // stride + 1))[:11, :13]
    np.testing.assert_array_equal(kept.numpy(), tiles)


def test_edge_mask_thins_what_it_finds(astronaut_tensor: torch.Tensor) -> None:
    assert torch.equal(edge_mask(astronaut_tensor, 20, 3), thin_mask(edge_mask(astronaut_tensor), 3))


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 'dtype'),
        (torch.zeros(3, 4, 4), 'shape'),
        (torch.zeros(1, 2, 4, 4), 'channels'),
    ],
)
def test_wrong_input_is_one_clear_error(image: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edge_mask(image)


def test_stride_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match='mask_stride is 0'):
        thin_mask(torch.ones(3, 3, dtype=torch.bool), 0)
