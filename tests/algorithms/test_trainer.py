"""Python alone trains what a configuration trains: agents that act, and their curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from algorithms import trainer
from algorithms.training.evaluation import evaluate
from envs import reference_scores
from offline_data.minari_io import write_dataset
from storage import UserError
from storage.curves import COLUMNS, write_curves
from tests.made_up import made_up_transitions, make_episodes

TASK = "InvertedDoublePendulum-v4"
SMALL: dict[str, Any] = {"hidden_widths": [8, 8], "batch_size": 16}
OFFLINE = {"updates": 20, "evaluation_interval": 10, "evaluation_episodes": 1, "checkpoint_interval": 10}
ONLINE = {"steps": 40, "block_size": 20, "evaluation_interval": 20, "evaluation_episodes": 1}
DATA = made_up_transitions([40, 30])


def trained(**others: Any) -> trainer.Trained:
    return trainer.offline("cql", TASK, DATA, seeds=[1, 2], schedule=OFFLINE, **SMALL, **others)


def test_a_dataset_a_method_trained_agents_and_their_curve(tmp_path: Path) -> None:
    agents = trained()
    assert len(agents.agents) == 2 and set(agents.curve.columns) == set(COLUMNS)
    density = {"density_hidden_widths": [8, 8], "density_batch_size": 16}
    both = trainer.online("off2on", TASK, DATA, agents, schedule=ONLINE, ensemble_size=2, **SMALL, **density)
    assert len(both.agents) == 2 and both.curve["step"].max() == 40
    write_curves(tmp_path / "curve.parquet", pd.concat([agents.curve, both.curve]), {})
    scratch = trainer.online("sac", TASK, schedule=ONLINE, **SMALL)
    for runs in (agents, both, scratch):
        one, many = np.zeros(11), np.zeros((3, 4, 11))
        assert runs.act(one).shape == (1,) and runs.act(many).shape == (3, 4, 1)
        np.testing.assert_allclose(runs.act(many)[0, 0], runs.act(one), rtol=1e-6)
    first, second = (agents.act(np.ones(11), seed=seed) for seed in (0, 1))
    assert first != second


def test_agents_act_as_they_are_evaluated() -> None:
    agents = trained()
    observations = torch.randn(5, 11)
    policy = agents.method.agents
    expected = policy.exploit(observations.expand(2, 5, 11))[1]
    np.testing.assert_array_equal(agents.act(observations, seed=1), expected.detach().numpy())


def returned(runs: trainer.Trained, step: int) -> tuple[Any, Any]:
    """The returns of the agents when they act now, and those of the curve's evaluation at a step."""
    last = runs.curve[(runs.curve["metric"] == "return") & (runs.curve["step"] == step)].sort_values("seed")
    seeds = list(last["seed"])
    return evaluate(runs.method.exploit, TASK, seeds, step, 1).returns.mean(axis=1), last["value"]


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        ("bcq", {"generator_hidden_widths": [8, 8]}),  # which draws candidates once a seed
        (
            "multi_source",
            {"policy_hidden_widths": [8, 8], "policies": 2},
        ),  # which acts by trajectories' returns
    ],
)
def test_whatever_agents_act_by_they_have_as_in_their_evaluation(
    method: str, numbers: dict[str, Any]
) -> None:
    agents = trainer.offline(method, TASK, DATA, seeds=[1, 2], schedule=OFFLINE, **SMALL, **numbers)
    np.testing.assert_array_equal(*returned(agents, OFFLINE["updates"]))
    longer = {**OFFLINE, "updates": 30}
    further = trainer.offline(method, TASK, DATA, agents, seeds=[1, 2], schedule=longer, **SMALL, **numbers)
    np.testing.assert_array_equal(*returned(further, longer["updates"]))


def test_a_policy_that_is_new_online_acts_too() -> None:
    agents = trainer.offline("iql", TASK, DATA, seeds=[1, 2], schedule=OFFLINE, **SMALL)
    runs = trainer.online("pex", TASK, DATA, agents, seeds=[1, 2], schedule=ONLINE, warm_up_steps=0, **SMALL)
    np.testing.assert_array_equal(*returned(runs, ONLINE["steps"]))


def test_an_interrupted_call_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = trained()

    def stop(curve: pd.DataFrame) -> None:
        if curve["step"].max() == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(folder=tmp_path, watch=stop)
    seen: list[int] = []
    again = trained(folder=tmp_path, watch=lambda curve: seen.append(int(curve["step"].max())))
    assert seen == [20]  # from the checkpoint of step 10
    pd.testing.assert_frame_equal(again.curve, whole.curve)
    for ours, theirs in zip(again.agents, whole.agents, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "cqll"}, "unknown method 'cqll', expected one of "),
        ({"hidden_width": [8]}, "cql: unknown key 'hidden_width'"),
        ({"schedule": {"steps": 3}}, "schedule: unknown key 'steps'"),
        ({"environment": "Ant-v5"}, r"environment 'Ant-v5' is unknown.*any other of Gymnasium's"),
        ({"environment": "Hopper-v4"}, "observations and actions of sizes"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: dict[str, Any], said: str) -> None:
    usual: dict[str, Any] = {"method": "cql", "environment": TASK, "data": DATA}
    with pytest.raises(UserError, match=said):
        trainer.offline(**{**usual, **arguments})


def test_an_environment_whose_actions_are_of_another_range_than_agents_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for family in ("Humanoid", "InvertedPendulum"):  # to 0.4, and to 3, either way
        monkeypatch.setitem(reference_scores.KNOWN, family, (0.0, 1.0))
        with pytest.raises(UserError, match=rf"{family}-v5 takes actions from .* expected -1 to 1"):
            trainer.online("sac", f"{family}-v5", schedule=ONLINE, **SMALL)


def stored(root: Path, monkeypatch: pytest.MonkeyPatch, lengths: list[int]) -> str:
    """Write the dataset of HalfCheetah-v5 that a user of Minari may have; its id."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    episodes = make_episodes(lengths, action_size=6, observation_size=17)
    write_dataset(root, "mine/cheetah-local-v0", episodes, "HalfCheetah-v5", {})
    return "mine/cheetah-local-v0"


def test_data_of_another_version_of_the_environment_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = trainer.dataset(stored(tmp_path, monkeypatch, [30, 20]))
    with pytest.raises(UserError, match=r"was recorded on HalfCheetah-v5, and .* is HalfCheetah-v4"):
        trainer.offline("cql", "HalfCheetah-v4", data, schedule=OFFLINE, **SMALL)
    with pytest.raises(UserError, match=r"was recorded on HalfCheetah-v5, and .* is HalfCheetah-v4"):
        trainer.online("rlpd", "HalfCheetah-v4", data, schedule=ONLINE, **SMALL)


def test_a_dataset_is_refused_where_one_of_its_episodes_goes_on_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = stored(tmp_path, monkeypatch, [30, 1001])
    with pytest.raises(UserError, match="episode 1 has 1001 steps, more than the 1000 that HalfCheetah-v5"):
        trainer.dataset(name, "HalfCheetah-v5")
    with h5py.File(tmp_path / name / "data" / "main_data.hdf5", "a") as file:
        file["episode_0/truncations"][10] = True
    metadata = tmp_path / name / "data" / "metadata.json"
    said = json.loads(metadata.read_text())
    del said["data_sha256"]
    metadata.write_text(json.dumps(said))
    with pytest.raises(UserError, match="episode 0 goes on after a time-out at step 10 of its 30"):
        trainer.dataset(name)


def test_rewards_collected_online_are_scaled_as_those_of_the_data() -> None:
    curve = trainer.online(
        "sac_ft", TASK, DATA.scaled(1e-6), trained(), schedule=ONLINE, seeds=[0, 1], **SMALL
    ).curve
    losses = curve.loc[(curve["metric"] == "critic_loss") & (curve["step"] == 40), "value"]
    assert (losses < 1).all()  # a step earns nine


def test_data_whose_rewards_are_shifted_are_refused_online() -> None:
    with pytest.raises(UserError, match="shifted by -1, which those collected online are not"):
        trainer.online("sac_ft", TASK, DATA.shifted(-1.0), trained(), schedule=ONLINE, seeds=[1, 2], **SMALL)


def test_agents_trained_further_make_the_updates_that_are_left_on_other_batches() -> None:
    longer, agents = {**OFFLINE, "updates": 40}, trained()
    further = trainer.offline("cql", TASK, DATA, agents, seeds=[1, 2], schedule=longer, **SMALL)
    assert further.curve["step"].unique().tolist() == [20, 30, 40]
    fresh = agents._replace(updates=0)  # as if of another method: 20 updates on the first ones' batches
    repeated = trainer.offline("cql", TASK, DATA, fresh, seeds=[1, 2], schedule=OFFLINE, **SMALL)
    for name, numbers in repeated.agents[0].items():
        if name.startswith("policy"):
            assert not torch.equal(numbers, further.agents[0][name])
    with pytest.raises(UserError, match="updates is 20: expected more than 20"):
        trainer.offline("cql", TASK, DATA, trained(), seeds=[1, 2], schedule=OFFLINE, **SMALL)


def test_a_folder_of_other_data_or_other_agents_is_refused(tmp_path: Path) -> None:
    agents = trained(folder=tmp_path / "offline")
    others = made_up_transitions([30, 40])
    with pytest.raises(UserError, match="belongs to configuration"):
        trainer.offline(
            "cql", TASK, others, seeds=[1, 2], schedule=OFFLINE, folder=tmp_path / "offline", **SMALL
        )
    again = trainer.Trained(agents.agents[::-1], *agents[1:])
    online = {"schedule": ONLINE, "folder": tmp_path / "online", **SMALL}
    one = trainer.Trained(agents.agents[:1], *agents[1:])
    trainer.online("sac_ft", TASK, DATA, one, **online)
    with pytest.raises(UserError, match="belongs to configuration"):
        trainer.online("sac_ft", TASK, DATA, trainer.Trained(again.agents[:1], *agents[1:]), **online)
