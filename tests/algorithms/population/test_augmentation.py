"""Crops beside a slow loop over pixels, and what they depend on."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from algorithms.population.augmentation import PADDING, crop, draw_offsets
from algorithms.population.streams import Streams


def slow_crop(image: Tensor, down: int, right: int, padding: int) -> Tensor:
    """Pixel by pixel: zero outside of the image."""
    height, width, channels = image.shape
    out = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + down - padding, x + right - padding
            if 0 <= from_y < height and 0 <= from_x < width:
                for c in range(channels):
                    out[y, x, c] = image[from_y, from_x, c]
    return out


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 6),
    st.integers(0, 4),
)
def test_a_crop_is_the_slow_loops_for_every_viewer(
    groups: int, copies: int, rows: int, height: int, width: int, padding: int
) -> None:
    images = torch.randint(0, 256, (groups, rows, height, width, 3), dtype=torch.uint8)
    offsets = torch.randint(0, 2 * padding + 1, (groups * copies, rows, 2))
    found = crop(images, offsets, padding)
    assert found.dtype == torch.uint8
    for viewer in range(groups * copies):
        for row in range(rows):
            down, right = offsets[viewer, row].tolist()
            expected = slow_crop(images[viewer // copies, row], down, right, padding)
            assert torch.equal(found[viewer, row], expected)


def test_in_the_middle_the_image_is_whole() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 6, 3), dtype=torch.uint8)
    assert torch.equal(crop(images, torch.full((2, 3, 2), PADDING)), images)


def test_every_image_of_every_viewer_is_shifted_by_itself_and_every_shift_occurs() -> None:
    offsets = draw_offsets(Streams([0, 1]), 2, 3000)
    assert offsets.shape == (4, 3000, 2)
    for viewer in offsets:
        cells = torch.bincount(viewer[:, 0] * (2 * PADDING + 1) + viewer[:, 1], minlength=81)
        assert cells.shape == (81,) and cells.min() > 10  # 37 expected in each
    assert (offsets[0] != offsets[1]).any() and (offsets[0] != offsets[2]).any()


def test_shifts_come_from_an_agents_own_stream() -> None:
    together, alone = draw_offsets(Streams([5, 6]), 2, 4), draw_offsets(Streams([6]), 2, 4)
    assert torch.equal(together[2:], alone)
