"""The online methods by name: what each starts from, what it writes, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from algorithms.diagnostics.action_auroc import ActionAUROC
from algorithms.methods.awac import AWACAgents
from algorithms.methods.bcq import BCQAgents, BCQConfig
from algorithms.methods.density_ratio import DensityRatio
from algorithms.methods.interface import Method
from algorithms.methods.off2on import Off2On
from algorithms.methods.sac import SACConfig
from algorithms.population.agents import ActorCritics, Population, one_agent
from algorithms.population.streams import Streams
from algorithms.replay.balanced import BalancedReplay
from algorithms.replay.replays import OnlineReplay, UniformReplay
from algorithms.training.fine_tuning import Members, fine_tune, make_learner
from algorithms.training.jobs import Job
from algorithms.training.lookup import find_method
from algorithms.training.online import OnlineSchedule
from algorithms.training.probes import Probe
from algorithms.training.worlds import world_of
from offline_data.transitions import Transitions
from storage import UserError
from tests.algorithms.by_name import METHODS
from tests.made_up import made_up_transitions

ENVIRONMENT, SEEDS = "InvertedDoublePendulum-v4", [0, 1]
ONLINE = OnlineSchedule(
    steps=60,
    block_size=30,
    first_block_multiplier=2,
    evaluation_interval=30,
    evaluation_episodes=2,
    checkpoint_interval=60,
)
MEMBERS = {"off2on": 4, "sac_ft": 2, "cql_ft": 2, "awac": 4, "bcq_ft": 4, "sac": 0}
LENGTHS = (40, 20)
BCQ_SIZES: dict[str, Any] = {
    "ensemble_size": 2,
    "hidden_widths": (8, 8),
    "generator_hidden_widths": (8, 8),
    "batch_size": 16,
    "acting_candidates": 4,
}


def config_of(method: str, **others: Any) -> Any:
    sizes: dict[str, Any] = {"hidden_widths": (8, 8), "batch_size": 16}
    if method == "off2on":
        sizes |= {"ensemble_size": 2, "density_hidden_widths": (8, 8), "density_batch_size": 16}
    if method == "awac":
        sizes |= {"ensemble_size": 2, "policy_hidden_widths": (8, 8)}
    if method == "bcq_ft":
        return BCQConfig(**BCQ_SIZES, **others)
    if method == "cql_ft":
        sizes |= {"sampled_actions": 2}
    return METHODS[method].Config(**sizes, **others)


def members_of(method: str, count: int | None = None) -> Members:
    agents: Population = ActorCritics(range(8), 11, 1, SACConfig(hidden_widths=(8, 8)))
    if method == "awac":
        agents = AWACAgents(range(8), 11, 1, config_of(method))
    if method == "bcq_ft":
        agents = BCQAgents(range(8), 11, 1, config_of(method))
    agents.initialise()
    return [one_agent(agents, index) for index in range(MEMBERS[method] if count is None else count)]


def tune(
    folder: Path, method: str, seeds: Sequence[int] = SEEDS, online: OnlineSchedule = ONLINE, **others: Any
) -> pd.DataFrame:
    data = None if method == "sac" else made_up_transitions(LENGTHS)
    members = members_of(method, MEMBERS[method] * len(seeds) // 2)
    job = job_of(method, folder, seeds)
    return fine_tune(METHODS[method], config_of(method, **others), online, data, members, job)


def job_of(method: str, folder: Path = Path(), seeds: Sequence[int] = SEEDS) -> Job:
    return Job("test", method, "made-up", ENVIRONMENT, seeds, "hash", folder)


def test_a_dead_density_network_is_named_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initialise = DensityRatio.initialise

    def second_dead(density: DensityRatio, streams: Streams) -> None:
        initialise(density, streams)
        with torch.no_grad():
            density.net.affine_maps()[-1].bias[1] = -1e3

    monkeypatch.setattr(DensityRatio, "initialise", second_dead)
    with pytest.warns(UserWarning, match="density network of seed 1 is dead at step 30") as warned:
        curve = tune(tmp_path, "off2on")
    assert len([each for each in warned if "density network" in str(each.message)]) == 1
    zero = curve[curve.metric == "online_weight_zero_fraction"].set_index(["seed", "step"]).value
    assert zero[1, 30] == zero[1, 60] == 1.0 and zero[0].max() < 1.0
    assert np.isfinite(curve.value).all()


def begin(
    method: str, data: Transitions | None = None, members: Members | None = None, **others: Any
) -> Method:
    """`method` before its first update, on made-up data and agents unless they are given."""
    job = job_of(method)
    return make_learner(
        METHODS[method],
        config_of(method, **others),
        ONLINE,
        data or made_up_transitions(LENGTHS),
        members_of(method) if members is None else members,
        job,
        world_of(job),
    )


def test_each_method_draws_from_its_own_replay() -> None:
    learners = {method: begin(method) for method in MEMBERS}
    assert isinstance(learners["off2on"].replay, BalancedReplay)
    assert isinstance(learners["off2on"], Off2On)
    assert isinstance(learners["sac_ft"].replay, UniformReplay)
    assert isinstance(learners["cql_ft"].replay, UniformReplay)
    assert type(learners["sac"].replay) is OnlineReplay
    states = [learner.draws.state() for learner in learners.values()]
    assert not torch.equal(states[0], states[1])  # methods with one seed share no random numbers


def test_a_replay_of_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS["sac"], "replays", "newest")
    with pytest.raises(UserError, match="the replay is newest, expected one of uniform, online_only, mixed"):
        begin("sac", members=[])


def test_a_run_is_the_same_bit_for_bit_whoever_its_neighbour_is(tmp_path: Path) -> None:
    curves = [tune(tmp_path / str(other), "off2on", [other, 1]) for other in (0, 5)]
    rows = [curve[curve.seed == 1].reset_index(drop=True) for curve in curves]
    assert rows[0].equals(rows[1])


def test_what_does_not_fit_is_refused() -> None:
    def refusal(method: str, config: Any, data: Transitions | None, members: Members) -> str:
        with pytest.raises(UserError) as raised:
            job = job_of(method)
            make_learner(METHODS[method], config, ONLINE, data, members, job, world_of(job))
        return str(raised.value)

    sac, off2on, data = config_of("sac_ft"), config_of("off2on"), made_up_transitions(LENGTHS)
    assert "fine-tunes on offline data, and none were given" in refusal("sac_ft", sac, None, [])
    assert "sac starts from scratch, and 2 pre-trained agents" in refusal(
        "sac", config_of("sac"), None, members_of("sac_ft")
    )
    assert refusal("off2on", sac, data, members_of("off2on")).endswith(
        "was given SACFineTuningConfig, expected Off2OnConfig"
    )
    assert "made-up has observations and actions of sizes (11, 3), expected (11, 1)" in (
        refusal("sac_ft", sac, made_up_transitions(LENGTHS, action_size=3), members_of("sac_ft"))
    )
    too_sure = replace(off2on, initial_online_fraction=1.0)
    assert "initial_online_fraction is 1.0" in refusal("off2on", too_sure, data, members_of("off2on"))


def test_the_replay_of_a_method_is_chosen_by_its_configuration() -> None:
    assert type(begin("sac_ft", replay="online_only").replay) is OnlineReplay
    assert type(begin("off2on", replay="online_only").replay) is OnlineReplay
    assert type(begin("off2on", replay="uniform").replay) is UniformReplay


@pytest.mark.parametrize("replay", ["uniform", "online_only"])
def test_without_balanced_replay_an_ensemble_still_learns_and_no_density_is_fitted(
    replay: str, tmp_path: Path
) -> None:
    curve = tune(tmp_path, "off2on", replay=replay)
    assert "density_ratio_loss" not in set(curve.metric)
    shares = curve[(curve.metric == "offline_fraction") & (curve.step == 60)].value
    assert shares.to_numpy() == pytest.approx(0.5 if replay == "uniform" else 0.0, abs=0.07)


def test_the_reference_of_the_density_ratio_is_drawn_where_the_configuration_says(tmp_path: Path) -> None:
    curves = [tune(tmp_path / name, "off2on", density_reference=name) for name in ("offline", "union")]
    losses = [curve[curve.metric == "density_ratio_loss"].value.to_numpy() for curve in curves]
    assert not np.allclose(losses[0], losses[1])


def test_methods_are_found_by_name_or_by_module_and_class() -> None:
    assert find_method("algorithms.methods.sac:SAC", "online") is find_method("sac", "online")
    with pytest.raises(UserError, match="unknown method 'td3', expected one of off2on"):
        find_method("td3", "online")
    with pytest.raises(UserError, match="unknown method 'sac', expected one of awac, cql, bcq"):
        find_method("sac", "offline")


def test_what_a_probe_measures_is_in_the_curve_and_changes_nothing_else(tmp_path: Path) -> None:
    def tuned(*probes: Probe) -> pd.DataFrame:
        job = job_of("off2on", tmp_path / str(len(probes)))
        data, config, members = made_up_transitions(LENGTHS), config_of("off2on"), members_of("off2on")
        return fine_tune(METHODS["off2on"], config, ONLINE, data, members, job, probes=probes)

    without, measured = tuned(), tuned(ActionAUROC(60, SEEDS))
    is_auroc = measured.metric.str.startswith("auroc")
    assert measured[~is_auroc].reset_index(drop=True).equals(without)
    assert set(zip(measured[is_auroc].metric, measured[is_auroc].step, strict=True)) == {
        ("auroc_ensemble", 60),
        ("auroc_individual", 60),
    }


def test_a_diagnostics_interval_between_evaluations_is_refused() -> None:
    with pytest.raises(
        UserError, match="diagnostics_interval is 45, expected a multiple of evaluation_interval, 30"
    ):
        replace(ONLINE, diagnostics_interval=45)
