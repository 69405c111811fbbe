"""Other people's methods: what they get wrong is said by name before a run begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from torch import Tensor

from algorithms.methods import sac
from algorithms.methods.interface import Metrics
from algorithms.population.agents import ActorCritics, one_agent
from algorithms.replay.batch import Batch
from algorithms.training.custom import try_method, try_offline_method
from algorithms.training.lookup import import_method
from storage import UserError
from tests.made_up import made_up_transitions

CONFIG = sac.SACFineTuningConfig(hidden_widths=(8, 8), batch_size=16)


class Right(sac.SACFineTuning):
    """Nothing is wrong with this one."""


class Raises(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        raise KeyError(len(batch.rewards))


class WrongActions(sac.SACFineTuning):
    def exploit(self, observations: Tensor) -> Tensor:
        return super().exploit(observations)[:, 0]


class WrongMetrics(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return {"q_mean": super().update(batch, step)["q_mean"].mean()}


class UnknownMetrics(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return {"Happiness!": super().update(batch, step)["q_mean"]}


class MixesRuns(sac.SACFineTuning):
    def update(self, batch: Batch, step: int) -> Metrics:
        return super().update(batch._replace(rewards=batch.rewards - batch.rewards.mean()), step)


def members(count: int = 1) -> Sequence[dict[str, Tensor]]:
    agents = ActorCritics(range(count), 11, 1, CONFIG)
    agents.initialise()
    return [one_agent(agents, index) for index in range(count)]


def attempt(method: Any, **others: Any) -> None:
    arguments: dict[str, Any] = {"members": members(), "transitions": made_up_transitions([40, 20])}
    arguments |= others
    try_method(
        f"theirs:{method.__name__}", method, CONFIG, environment="InvertedDoublePendulum-v4", **arguments
    )


def test_a_method_that_is_right_passes() -> None:
    attempt(Right)


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (Raises, r"theirs:Raises raised KeyError: 2 \(test_custom.py, line \d+\)"),
        (WrongActions, r"theirs:WrongActions acts with torch.float32 of shape \[2, 1\], expected float32 of"),
        (
            WrongMetrics,
            r"theirs:WrongMetrics measures 'q_mean' as a tensor of shape \[\], expected one number",
        ),
        (UnknownMetrics, "theirs:UnknownMetrics measures 'Happiness!', expected a lower-case letter"),
        (MixesRuns, "theirs:MixesRuns mixes runs: what run 1 does depends on run 0"),
    ],
)
def test_what_a_method_gets_wrong_is_said_in_one_sentence_with_its_name(method: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as refusal:
        attempt(method)
    assert "\n" not in str(refusal.value)


def test_an_offline_phase_is_tried_from_fresh_agents_and_from_those_of_another() -> None:
    data = made_up_transitions([40, 20])
    for start in ([], members(3)):
        try_offline_method("theirs:Right", Right, CONFIG, data, start)
    for method, sentence in ((MixesRuns, "MixesRuns mixes runs"), (Raises, "Raises raised KeyError: 2")):
        with pytest.raises(UserError, match=sentence):
            name = f"theirs:{method.__name__}"
            try_offline_method(name, method, CONFIG, data, [])


def test_what_a_start_lacks_is_said_with_the_method_s_name() -> None:
    with pytest.raises(UserError, match="theirs:Right: the method fine-tunes on offline data, and none"):
        attempt(Right, transitions=None)
    with pytest.raises(UserError, match="theirs:Right: 4 pre-trained agents were given, expected 2"):
        attempt(Right, members=members(2))


def test_a_method_is_imported_by_module_and_class() -> None:
    assert import_method("tests.algorithms.training.test_custom:Right").__name__ == "Right"
