"""The fine-tuning step: what it hands to the loop."""

from __future__ import annotations

import pytest

from algorithms.diagnostics.action_auroc import ActionAUROC
from algorithms.diagnostics.offline_share import OfflineShare
from algorithms.training.online import OnlineSchedule
from tests.algorithms.by_name import METHODS
from workflow.steps.fine_tune import probes_of


@pytest.mark.parametrize("name", METHODS)
def test_auroc_is_measured_of_ensembles_alone_and_where_the_schedule_says_so(name: str) -> None:
    asked, not_asked = OnlineSchedule(diagnostics_interval=10_000), OnlineSchedule()
    assert [type(probe) for probe in probes_of(METHODS[name], not_asked, [0])] == [OfflineShare]
    expected = [OfflineShare, ActionAUROC] if name == "off2on" else [OfflineShare]
    assert [type(probe) for probe in probes_of(METHODS[name], asked, [0])] == expected
