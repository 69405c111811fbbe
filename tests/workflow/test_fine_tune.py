"""The fine-tuning step: what it hands to the loop."""

from __future__ import annotations

import pytest

from algorithms.diagnostics.action_auroc import ActionAUROC
from algorithms.diagnostics.offline_share import OfflineShare
from algorithms.training.online import OnlineSchedule
from storage import UserError
from tests.algorithms.by_name import METHODS
from tests.made_up import made_up_transitions
from workflow.paths import reward_scale_of
from workflow.steps.fine_tune import probes_of


@pytest.mark.parametrize("name", METHODS)
def test_auroc_is_measured_of_ensembles_alone_and_where_the_schedule_says_so(name: str) -> None:
    asked, not_asked = OnlineSchedule(diagnostics_interval=10_000), OnlineSchedule()
    assert [type(probe) for probe in probes_of(METHODS[name], not_asked, [0])] == [OfflineShare]
    expected = [OfflineShare, ActionAUROC] if name == "off2on" else [OfflineShare]
    assert [type(probe) for probe in probes_of(METHODS[name], asked, [0])] == expected


def test_online_rewards_are_scaled_as_the_data_s_were() -> None:
    data = made_up_transitions((40, 20)).scaled("return_range")
    returns = [data.rewards[rows].sum() for rows in data.episodes()]
    assert max(returns) - min(returns) == pytest.approx(1000, rel=1e-5)
    assert reward_scale_of("return_range", data) == data.metadata["reward_scale"]
    assert reward_scale_of(0.1, None) == 0.1
    with pytest.raises(
        UserError, match="reward_scale is return_range: expected a number for a method without"
    ):
        reward_scale_of("return_range", None)
