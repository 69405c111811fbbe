"""The fine-tuning step: what it hands to the loop."""

from __future__ import annotations

import pytest

from algorithms.training.online import OnlineSchedule
from tests.algorithms.by_name import METHODS
from workflow.steps.fine_tune import probe_of


@pytest.mark.parametrize("name", METHODS)
def test_auroc_is_measured_of_ensembles_alone_and_where_the_schedule_says_so(name: str) -> None:
    asked, not_asked = OnlineSchedule(auroc_interval=10_000), OnlineSchedule()
    assert probe_of(METHODS[name], not_asked, [0]) is None
    assert (probe_of(METHODS[name], asked, [0]) is not None) == (name == "off2on")
