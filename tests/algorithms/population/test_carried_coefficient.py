"""The entropy coefficient that pre-training ended with goes on where a configuration says so, only there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from algorithms.methods.edac import EDACAgents, EDACConfig
from algorithms.methods.off2on import Off2OnAgents, Off2OnConfig
from algorithms.methods.rlpd import RLPDAgents, RLPDConfig
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics, one_agent
from storage import UserError

WIDTHS = (5, 4)
CONFIG = SACConfig(hidden_widths=WIDTHS)
COEFFICIENTS = torch.tensor([0.1, 0.4, 0.2, 0.8])


@pytest.fixture
def members() -> list[dict[str, torch.Tensor]]:
    agents = ActorCritics(range(4), 3, 2, CONFIG)
    agents.initialise()
    with torch.no_grad():
        agents.log_entropy_coefficient.copy_(COEFFICIENTS.log())
    return [one_agent(agents, index) for index in range(4)]


def test_each_run_goes_on_with_its_agents_coefficient(members: list[dict[str, torch.Tensor]]) -> None:
    agents = ActorCritics(range(4), 3, 2, replace(CONFIG, initial_entropy_coefficient="carried"))
    agents.start_from(members)
    torch.testing.assert_close(agents.entropy_coefficient, COEFFICIENTS)


def test_an_ensemble_goes_on_with_the_geometric_mean_of_its_members(
    members: list[dict[str, torch.Tensor]],
) -> None:
    sizes = {"hidden_widths": WIDTHS, "density_hidden_widths": WIDTHS, "ensemble_size": 2}
    agents = Off2OnAgents([0, 1], 3, 2, Off2OnConfig(**sizes, initial_entropy_coefficient="carried"), 2)
    agents.start_from(members)
    torch.testing.assert_close(agents.entropy_coefficient, torch.tensor([0.2, 0.4]))
    handed_on = one_agent(agents, 3)
    torch.testing.assert_close(handed_on["log_entropy_coefficient"].exp(), torch.tensor([0.4]))


def test_otherwise_it_begins_at_the_configurations_number(members: list[dict[str, torch.Tensor]]) -> None:
    agents = ActorCritics(range(4), 3, 2, CONFIG)
    agents.start_from(members)
    assert (agents.entropy_coefficient == 1).all()


def test_agents_without_one_and_fresh_agents_are_refused(members: list[dict[str, torch.Tensor]]) -> None:
    agents = ActorCritics(range(4), 3, 2, replace(CONFIG, initial_entropy_coefficient="carried"))
    del members[2]["log_entropy_coefficient"]
    with pytest.raises(UserError, match="an agent before lacks log_entropy_coefficient: expected a number"):
        agents.start_from(members)
    with pytest.raises(UserError, match="expected a number for agents that start from nothing"):
        agents.initialise()


@pytest.mark.parametrize(("kind", "config"), [(RLPDAgents, RLPDConfig), (EDACAgents, EDACConfig)])
def test_fresh_agents_of_methods_with_weights_of_their_own_are_refused_too(
    kind: type[ActorCritics], config: type[SACConfig]
) -> None:
    agents = kind([1], 3, 2, config(hidden_widths=WIDTHS, initial_entropy_coefficient="carried"))
    with pytest.raises(UserError, match="expected a number for agents that start from nothing"):
        agents.initialise()
