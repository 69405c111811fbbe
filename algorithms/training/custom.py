"""Other people's methods: tried on a little data before hours are spent on them."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from algorithms.methods.interface import Method, Metrics, OfflineStart
from algorithms.population.agents import one_agent
from algorithms.population.streams import Streams
from algorithms.replay.stores import OfflineData, Recordings
from algorithms.training.trial import Sizes, begin, sizes_of
from algorithms.training.trial import observations as seen
from storage import UserError
from storage.curves import METRIC_FORM, METRIC_NAME

_UPDATES = 3


def try_method(
    name: str,
    method: type[Method],
    config: Any,
    transitions: Recordings | None,
    members: Sequence[dict[str, Tensor]],
    environment: str,
) -> None:
    """Let two runs of `method` act and learn for a moment, beside one neighbour and beside another.

    `members` are one run's. UserError, naming the method, where it raises, where actions or metrics have
    other shapes or names than they should, or where what a run does depends on its neighbour.
    """
    needed = method.needed(config)
    offline = None if transitions is None else OfflineData.from_transitions(transitions, needed=needed)
    sizes = sizes_of(environment) if offline is None else Sizes(*offline.sizes)

    def learners(neighbour: int) -> tuple[Method, Callable[[int], Metrics]]:
        learner = begin(method, config, sizes, [*members, *members], (10 + neighbour, 20), offline)
        return learner, lambda _: learner.learn()

    _try(name, learners, sizes, ("explore", "exploit"))


def try_offline_method(
    name: str,
    method: type[Method],
    config: Any,
    transitions: Recordings,
    start: Sequence[Mapping[str, Tensor]],
) -> None:
    """Try the offline phase of `method` alike: two agents, from the first of `start` or fresh ones.

    UserError as in `try_method`.
    """
    data = OfflineData.from_transitions(transitions, needed=method.needed(config))
    returns = transitions.returns()

    def learners(neighbour: int) -> tuple[Method, Callable[[int], Metrics]]:
        seeds = [10 + neighbour, 20]
        draws = Streams([seed + 1 for seed in seeds])
        start_of_two = OfflineStart(seeds, *data.sizes, [*start[:1]] * 2, returns=returns)
        learner = method.begin_offline(start_of_two, config)

        def update(step: int) -> Metrics:
            batch = data.gather(draws.integers(len(data), config.batch_size))
            return learner.update(learner.agents.encode(batch), step)

        return learner, update

    _try(name, learners, Sizes(*data.sizes), ("exploit",))


def _try(
    name: str,
    learners: Callable[[int], tuple[Method, Callable[[int], Metrics]]],
    sizes: Sizes,
    acts: Sequence[str],
) -> None:
    """Let two agents or runs, beside one neighbour and beside another, act, learn and be handed on."""
    shown = _for_two(seen(5, sizes.observation_size, 8)[0])
    actions = []
    for neighbour in (0, 1):
        with named(name):
            learner, update = learners(neighbour)
            with torch.no_grad():
                for act in acts:
                    taken = getattr(learner, act)(shown)
                    _check_actions(name, taken, (2, 8, sizes.action_size))
            for step in range(_UPDATES):
                _check_metrics(name, update(step))
            with torch.no_grad():
                actions.append(learner.exploit(shown)[1])
            one_agent(learner.agents, 0)
    if not torch.equal(*actions):
        raise UserError(
            f"the method {name} mixes runs: what run 1 does depends on run 0's data; nothing in a loss may"
            " leave its place on the first axis"
        )


def _for_two(rows: Any) -> Any:
    """Repeat rows, named or not, for two runs. [2, n, ...]"""
    if isinstance(rows, Mapping):
        return {name: _for_two(each) for name, each in rows.items()}
    return rows.unsqueeze(0).expand(2, *rows.shape)


def _check_actions(name: str, actions: Tensor, shape: tuple[int, ...]) -> None:
    if actions.shape != shape or actions.dtype != torch.float32:
        raise UserError(
            f"the method {name} acts with {actions.dtype} of shape {list(actions.shape)}, expected float32 of"
            f" shape {list(shape)}"
        )


def _check_metrics(name: str, metrics: Metrics) -> None:
    for metric, value in metrics.items():
        if not METRIC_NAME.fullmatch(metric):
            raise UserError(f"the method {name} measures {metric!r}, expected {METRIC_FORM}")
        if value.shape != (2,):
            raise UserError(
                f"the method {name} measures {metric!r} as a tensor of shape {list(value.shape)}, expected"
                " one number for each of 2 runs"
            )


@contextmanager
def named(name: str) -> Iterator[None]:
    """Turn whatever a custom method raises into one sentence with its name and the place."""
    try:
        yield
    except UserError as error:
        raise UserError(f"the method {name}: {error}" if name not in str(error) else str(error)) from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"the method {name} raised {type(error).__name__}: {error} ({Path(place.filename).name}, line"
            f" {place.lineno})"
        ) from error
