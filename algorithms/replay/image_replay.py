"""Offline and online image data for the replays of `algorithms.replay.stores`: frames once, as bytes.

An episode of T transitions is T + 1 frames; a transition is named by the frame it starts in, and the next
frame is the one after. No image is kept twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.population.checkpoints import fit
from algorithms.population.encoders import ImageShape
from algorithms.replay.batch import Batch
from algorithms.replay.stores import BalancedReplay, Recorded, Replay, UniformReplay
from storage import UserError

PRIOR, TASK, RANDOM = 0, 1, 2
"""Where an offline transition comes from: `ImageEpisodes.source`. The first two are scripted."""
ONLINE = 3
"""The source of what a run has collected itself."""


class ImageEpisodes(Protocol):
    """A dataset of N transitions with images, F frames in all. [N, ...] each but for the frames."""

    @property
    def frames(self) -> NDArray[np.uint8]: ...  # [F, H, W, C], the T + 1 frames of each episode in a row
    @property
    def frame_index(self) -> NDArray[np.int64]: ...  # the frame a transition starts in; the next one ends it
    @property
    def actions(self) -> NDArray[np.float32]: ...  # [N, action_size], in [-1, 1]
    @property
    def rewards(self) -> NDArray[np.float32]: ...
    @property
    def masks(self) -> NDArray[np.float32]: ...  # 0 where the next state is terminal
    @property
    def source(self) -> NDArray[np.int8]: ...  # PRIOR, TASK or RANDOM


_FIELDS: dict[str, tuple[type[np.generic], int]] = {
    "frames": (np.uint8, 4),
    "frame_index": (np.int64, 1),
    "actions": (np.float32, 2),
    "rewards": (np.float32, 1),
    "masks": (np.float32, 1),
    "source": (np.int8, 1),
}
"""Type and number of axes of every field."""


class ImageData:
    """N recorded transitions, held once, read by every run and never written."""

    def __init__(self, episodes: ImageEpisodes, device: torch.device | str = "cpu") -> None:
        """Take over the arrays, on the CPU not copied.

        UserError for other types or shapes, or a frame without next.
        """
        arrays: dict[str, NDArray[Any]] = {name: getattr(episodes, name) for name in _FIELDS}
        count = len(arrays["rewards"])
        for name, (kind, axes) in _FIELDS.items():
            array = arrays[name]
            if array.dtype != kind or array.ndim != axes:
                raise UserError(
                    f"the offline {name} are {array.dtype} {list(array.shape)}, expected"
                    f" {np.dtype(kind).name} with {axes} axes"
                )
            if name != "frames" and (len(array) != count or count == 0):
                raise UserError(
                    f"the offline {name} have {len(array)} rows, expected {count} and at least one"
                )
        first, last = arrays["frame_index"].min(), arrays["frame_index"].max()
        if first < 0 or last + 1 >= len(arrays["frames"]):
            raise UserError(
                f"the offline frame_index runs from {first} to {last}, expected frames and their next ones"
                f" among {len(arrays['frames'])}"
            )
        self._frames, self._frame_index, self._actions, self._rewards, self._masks, self.source = (
            torch.from_numpy(array).to(device) for array in arrays.values()
        )

    def __len__(self) -> int:
        return len(self._rewards)

    @property
    def image_shape(self) -> ImageShape:
        """Height, width and channels of the frames."""
        height, width, channels = self._frames.shape[1:]
        return height, width, channels

    @property
    def action_size(self) -> int:
        """Components of an action."""
        return self._actions.shape[1]

    def gather(self, indices: Tensor) -> Batch:
        """The transitions `indices`, int64 [S, B]. Tensors [S, B, ...], images uint8 [S, B, H, W, C]"""
        flat = indices.reshape(-1)
        starts = self._frame_index[flat]
        fields = (
            self._frames[starts],
            self._actions[flat],
            self._rewards[flat],
            self._masks[flat],
            self._frames[starts + 1],
        )
        return Batch(*fields).map(lambda rows: rows.view(*indices.shape, *rows.shape[1:]))


class ImageBuffer:
    """What each of S runs has collected so far, episode by episode of `horizon` transitions each."""

    def __init__(
        self,
        runs: int,
        episodes: int,
        horizon: int,
        image_shape: ImageShape,
        action_size: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Empty, with room for `episodes` whole episodes of each of `runs` runs."""
        self.runs = runs
        self.capacity = episodes * horizon
        self.horizon = horizon
        self.device = torch.device(device)
        self.size = 0
        self.count = torch.zeros((), dtype=torch.float64, device=device)
        shape = (runs, episodes, horizon + 1, *image_shape)
        self._frames = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._rows = {
            "actions": torch.zeros(runs, self.capacity, action_size, device=device),
            "rewards": torch.zeros(runs, self.capacity, device=device),
            "masks": torch.zeros(runs, self.capacity, device=device),
        }

    def add(self, block: Batch) -> None:
        """Append n transitions, whole episodes, to every run; tensors [S, n, ...].

        Raises UserError when they do not fit, have other shapes, or are not whole episodes.
        """
        added = block.rewards.shape[1]
        stop = self.size + added
        if stop > self.capacity or added % self.horizon:
            raise UserError(
                f"the online buffer holds {self.capacity} transitions a run, in episodes of {self.horizon}:"
                f" {added} were added to {self.size}"
            )
        expected = {name: (self.runs, added, *rows.shape[2:]) for name, rows in self._rows.items()}
        image = (self.runs, added, *self._frames.shape[3:])
        for name, shape in {**expected, "observations": image, "next_observations": image}.items():
            found = tuple(getattr(block, name).shape)
            if found != shape:
                raise UserError(f"the online {name} have shape {list(found)}, expected {list(shape)}")
        before, after = (
            images.reshape(self.runs, -1, self.horizon, *images.shape[2:])
            for images in (block.observations, block.next_observations)
        )
        if not torch.equal(before[:, :, 1:], after[:, :, :-1]):
            raise UserError(
                "the online observations are not whole episodes: one does not begin where the last ended"
            )
        episodes = slice(self.size // self.horizon, stop // self.horizon)
        self._frames[:, episodes, :-1] = before
        self._frames[:, episodes, -1] = after[:, :, -1]
        for name, rows in self._rows.items():
            rows[:, self.size : stop] = getattr(block, name)
        self.size = stop
        self.count.fill_(stop)

    def gather(self, indices: Tensor) -> Batch:
        """Each run's own transitions `indices`, int64 [S, B]. Tensors [S, B, ...]"""
        run = torch.arange(self.runs, device=self.device).unsqueeze(1)
        episode, moment = indices // self.horizon, indices % self.horizon
        actions, rewards, masks = (rows[run, indices] for rows in self._rows.values())
        before, after = (self._frames[run, episode, moment + later] for later in (0, 1))
        return Batch(before, actions, rewards, masks, after)

    def state(self) -> dict[str, Tensor]:
        """A copy of the filled rows and frames."""
        frames = self._frames[:, : self.size // self.horizon].clone(memory_format=torch.contiguous_format)
        rows = {
            name: rows[:, : self.size].clone(memory_format=torch.contiguous_format)
            for name, rows in self._rows.items()
        }
        return {"frames": frames, **rows}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`. Raises UserError when a field is missing or of another shape."""
        missing = [name for name in ("frames", *self._rows) if name not in state]
        if missing:
            raise UserError(f"the saved online buffer lacks {', '.join(missing)}")
        frames = state["frames"]
        if frames.shape[2:] != self._frames.shape[2:]:
            raise UserError(
                f"the saved online frames have shape {list(frames.shape)}, expected"
                f" {list(self._frames.shape[2:])} an episode"
            )
        size = frames.shape[1] * self.horizon
        fit(state, {name: rows[:, :size] for name, rows in self._rows.items()})
        self.size = 0
        before, after = frames[:, :, :-1].flatten(1, 2), frames[:, :, 1:].flatten(1, 2)
        self.add(Batch(before, state["actions"], state["rewards"], state["masks"], after))


def drawn_sources(replay: Replay, indices: Tensor) -> Tensor:
    """Where each of the transitions `indices` [S, B] of an image replay comes from. int8 [S, B]"""
    if not isinstance(replay, UniformReplay | BalancedReplay):
        return torch.full_like(indices, ONLINE, dtype=torch.int8)
    offline = image_data(replay.offline)
    sources = offline.source[indices.clamp(max=len(offline) - 1)]
    return sources.masked_fill(indices >= len(offline), ONLINE)


def image_data(data: Recorded) -> ImageData:
    """The same data, known to be images. UserError where they are not."""
    if not isinstance(data, ImageData):
        raise UserError(f"learning from pixels needs offline data with images, got {type(data).__name__}")
    return data
