"""Random crops of images, the only augmentation there is: what learns sees a picture shifted a little.

Each image is padded with zeros and cut back to its size at a place of its own ([COG] image_augmentation).
Networks that act are shown whole images.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from algorithms.population.rows import each_times
from algorithms.population.streams import Streams

PADDING = 4  # [COG] pixels on every side


def draw_offsets(streams: Streams, copies: int, images: int, padding: int = PADDING) -> Tensor:
    """Draw where to cut each of `images`, `copies` times a stream. int64 [G copies, B, 2]"""
    return streams.integers(2 * padding + 1, copies, images, 2).flatten(0, 1)


def crop(images: Tensor, offsets: Tensor, padding: int = PADDING) -> Tensor:
    """Shift every image: out[y, x] = image[y + dy - padding, x + dx - padding], zero outside of it.

    `images` uint8 [G, B, H, W, C], `offsets` (dy, dx) int64 [G copies, B, 2] in [0, 2 padding]; copy
    g copies + i is of the images of g. Returns uint8 [G copies, B, H, W, C].
    """
    groups, rows, height, width, channels = images.shape
    if not padding:  # nothing to cut: no pass over the images where there is one of each
        return each_times(images, len(offsets) // groups)
    padded = functional.pad(images.flatten(0, 1), (0, 0, *4 * [padding])).flatten(2)
    # Every window of every image, as a view: [G B, 2 padding + 1, 2 padding + 1, H, W C].
    windows = padded.unfold(1, height, 1).unfold(2, width * channels, channels)
    crops = len(offsets)
    of_image = torch.arange(groups * rows, device=images.device).view(groups, 1, rows)
    of_image = of_image.expand(-1, crops // groups, -1).reshape(-1)
    down, right = offsets.flatten(0, 1).unbind(dim=1)
    return windows[of_image, down, right].view(crops, rows, height, width, channels)
