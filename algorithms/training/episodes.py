"""Whole episodes in environments that are seen in images: for collection and for evaluation.

Every episode starts from a reset with a seed of its own and lasts the task's horizon. So an episode depends
on its seed and on who acts alone, and nothing of an environment has to be kept between two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.population.encoders import ImageShape
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.batch import Batch
from storage import UserError

Act = Callable[[Tensor], Tensor]  # images uint8 [G, 1, H, W, C] -> actions [G, 1, action_size]


class PixelEnvironment(Protocol):
    """A task with a fixed horizon and rewards in {0, 1}, which never ends early."""

    @property
    def horizon(self) -> int: ...
    @property
    def action_size(self) -> int: ...
    @property
    def image_shape(self) -> ImageShape: ...
    @property
    def state_size(self) -> int: ...  # numbers of the robot's state that the last row of an image carries

    def reset(self, seed: int) -> Mapping[str, Any]:
        """The first observation of the episode that `seed` alone determines; "image" is uint8 [H, W, C]."""

    def step(self, action: NDArray[np.float32]) -> tuple[Mapping[str, Any], float, bool, Mapping[str, Any]]:
        """Act; observation, reward, whether the horizon is reached, and what else there is to know."""


MakeEnvironment = Callable[[str], PixelEnvironment]


class Stage:
    """Environments of one task side by side, one for each of G agents or ensembles."""

    def __init__(
        self, make: MakeEnvironment, name: str, copies: int, device: torch.device | str = "cpu"
    ) -> None:
        """`copies` environments `make(name)`, for agents that act on `device`."""
        self.device = torch.device(device)
        self._environments = [make(name) for _ in range(copies)]
        first = self._environments[0]
        self.horizon, self.action_size = first.horizon, first.action_size
        self.image_shape, self.state_size = first.image_shape, first.state_size

    @torch.no_grad()
    def play(self, act: Act, seeds: Sequence[int]) -> Batch:
        """One episode each, from the starts `seeds`. Tensors [G, horizon, ...], images uint8.

        UserError where an episode ends before or after the horizon.
        """
        copies = range(len(self._environments))
        images = [
            [np.array(environment.reset(seed)["image"])]  # a copy: an environment may draw into one array
            for environment, seed in zip(self._environments, seeds, strict=True)
        ]
        actions: list[Tensor] = []
        rewards = torch.zeros(len(copies), self.horizon)
        for moment in range(self.horizon):
            shown = torch.from_numpy(np.stack([images[copy][-1] for copy in copies]))
            actions.append(act(shown.unsqueeze(1).to(self.device)).squeeze(1).cpu())
            for copy, action in zip(copies, actions[-1].numpy(), strict=True):
                observation, reward, truncated, _ = self._environments[copy].step(action)
                images[copy].append(np.array(observation["image"]))
                rewards[copy, moment] = float(reward)
                if truncated != (moment + 1 == self.horizon):
                    raise UserError(
                        f"an episode was {'cut' if truncated else 'not cut'} after {moment + 1} steps,"
                        f" expected a horizon of {self.horizon}"
                    )
        frames = torch.from_numpy(np.stack([np.stack(row) for row in images]))
        masks = torch.ones_like(rewards)
        return Batch(frames[:, :-1], torch.stack(actions, dim=1), rewards, masks, frames[:, 1:])


def evaluate_success(
    stage: Stage,
    exploit: Act,
    sample: Callable[[Tensor, Streams], Tensor],
    seeds: Sequence[int],
    step: int,
    episodes: int,
) -> dict[str, NDArray[np.float64]]:
    """How often the last step of an episode is rewarded, by deterministic and by drawn actions. [G] each

    Both play the same `episodes` starts, which depend on (seed, step, episode) alone; so does the noise of
    the drawn actions. `return` is of the deterministic episodes.
    """
    noise = [derived_seed(seed, "evaluation noise", step) for seed in seeds]
    streams = Streams(noise, stage.device)
    returns, deterministic, stochastic = [], [], []
    for episode in range(episodes):
        starts = [derived_seed(seed, "evaluation", step, episode) % 2**32 for seed in seeds]
        rewards = stage.play(exploit, starts).rewards
        returns.append(rewards.sum(dim=1))
        deterministic.append(rewards[:, -1] > 0)
        stochastic.append(stage.play(lambda images: sample(images, streams), starts).rewards[:, -1] > 0)
    means = {
        "return": returns,
        "success_deterministic": deterministic,
        "success_stochastic": stochastic,
    }
    return {name: torch.stack(rows).double().mean(dim=0).numpy() for name, rows in means.items()}
