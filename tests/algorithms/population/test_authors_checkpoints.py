"""The authors' released agents in our layout: the same functions of state and action, nothing executed."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from algorithms.methods.off2on import Off2OnAgents, Off2OnConfig
from algorithms.methods.sac import SACConfig
from algorithms.population import checkpoints
from algorithms.population.agents import ActorCritics, load_members
from algorithms.population.authors_checkpoints import import_agents, read_agent
from algorithms.population.behaviour_policy import load_behaviour_policy
from envs.reference_scores import REFERENCE_SCORES
from envs.task import TIME_LIMIT
from storage import UserError
from tests.algorithms.short_starts import TOLERANCE, speeds

ROOT = Path(__file__).parents[3]
RELEASE = ROOT.parent / "shared" / "reference" / "off2on_cql"
SCORES = {
    0: 38.0,
    4: 37.5,
    8: 37.8,
    12: 37.4,
    16: 38.2,
}  # each agent by itself, normalised, of whole episodes
ENSEMBLE_SCORE = 37.9  # of the five
OBSERVATIONS, ACTIONS, WIDTHS = 5, 2, (8, 6)

State = dict[str, Tensor]

needs_release = pytest.mark.skipif(
    not RELEASE.is_dir(), reason=f"the authors' checkpoints are not at {RELEASE}"
)


def network(seed: int, inputs: int, heads: Mapping[str, int], widths: tuple[int, ...] = WIDTHS) -> State:
    """A network as rlkit saves it, its numbers drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    sizes = [inputs, *widths]
    layers = [(f"fc{i}", sizes[i], size) for i, size in enumerate(widths)]
    for name, fan_in, fan_out in [*layers, *((head, widths[-1], size) for head, size in heads.items())]:
        state[f"{name}.weight"] = torch.randn(fan_out, fan_in, generator=generator)
        state[f"{name}.bias"] = torch.randn(fan_out, generator=generator)
    return state


def actor(seed: int) -> State:
    return network(seed, OBSERVATIONS, {"last_fc": ACTIONS, "last_fc_log_std": ACTIONS})


def critic(seed: int) -> State:
    return network(seed, OBSERVATIONS + ACTIONS, {"last_fc": 1})


def write_agent(folder: Path, seed: int) -> dict[str, State]:
    folder.mkdir(parents=True)
    networks = {"actor": actor(seed), "critic1": critic(seed + 1), "critic2": critic(seed + 2)}
    for name, state in networks.items():
        torch.save(state, folder / f"{name}_1000000.pt")
    return networks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One agent that can be read."""
    write_agent(tmp_path / "made-up_seed3", 30)
    return tmp_path / "made-up_seed3"


def slow_forward(state: Mapping[str, Tensor], inputs: NDArray[np.float64], head: str) -> NDArray[np.float64]:
    """rlkit's network in float64, one row at a time."""
    numbers = {name: tensor.double().numpy() for name, tensor in state.items()}
    rows = []
    for row in inputs:
        hidden, layer = row, 0
        while f"fc{layer}.weight" in numbers:
            hidden = np.maximum(0.0, numbers[f"fc{layer}.weight"] @ hidden + numbers[f"fc{layer}.bias"])
            layer += 1
        rows.append(numbers[f"{head}.weight"] @ hidden + numbers[f"{head}.bias"])
    return np.array(rows)


def agrees(ours: Tensor, theirs: NDArray[np.float64]) -> bool:
    scale = np.abs(theirs).max()
    return bool(np.abs(ours.double().numpy() - theirs).max() < 1e-5 * scale)


def check_same_functions(networks: Mapping[str, State], agents: ActorCritics, index: int) -> None:
    """Agent `index` computes what the authors' three networks compute."""
    generator = np.random.default_rng(5)
    observations = generator.normal(size=(16, networks["actor"]["fc0.weight"].shape[1])).astype(np.float32)
    actions = generator.uniform(-1, 1, size=(16, agents.action_size)).astype(np.float32)
    count = agents.count
    with torch.no_grad():
        states = torch.from_numpy(observations).expand(count, -1, -1)
        policy = agents.policy(states)
        q = agents.q(states, torch.from_numpy(actions).expand(count, -1, -1))
    inputs = observations.astype(np.float64)
    both = np.concatenate([observations, actions], axis=1).astype(np.float64)
    assert agrees(policy.mean[index], slow_forward(networks["actor"], inputs, "last_fc"))
    log_std = np.clip(slow_forward(networks["actor"], inputs, "last_fc_log_std"), -20, 2)
    assert agrees(policy.log_std[index], log_std)
    for twin in (0, 1):
        theirs = slow_forward(networks[f"critic{twin + 1}"], both, "last_fc")[:, 0]
        assert agrees(q[index, twin], theirs)


def test_imported_agents_compute_what_the_saved_networks_compute(tmp_path: Path) -> None:
    networks = [write_agent(tmp_path / f"made-up_seed{seed}", 10 * seed) for seed in (4, 11)]
    written = import_agents(tmp_path, tmp_path / "ours")
    assert [path.name for path in written] == ["agent_4.safetensors", "agent_11.safetensors"]
    agents = ActorCritics([0, 1], OBSERVATIONS, ACTIONS, SACConfig(hidden_widths=WIDTHS))
    load_members(agents, [checkpoints.load(path)[0] for path in written])
    for index, states in enumerate(networks):
        check_same_functions(states, agents, index)


def test_the_first_agents_actor_is_a_policy_to_record_with(tmp_path: Path) -> None:
    for seed in (4, 11):
        write_agent(tmp_path / f"made-up_seed{seed}", 10 * seed)
    first, _ = import_agents(tmp_path, tmp_path / "ours")
    agents = ActorCritics([0], OBSERVATIONS, ACTIONS, SACConfig(hidden_widths=WIDTHS))
    load_members(agents, [checkpoints.load(first)[0]])
    act = load_behaviour_policy(tmp_path / "ours" / "medium.safetensors", OBSERVATIONS, ACTIONS, 0, 1e-6)
    states = np.random.default_rng(0).normal(size=(20, OBSERVATIONS))
    mode = agents.policy(torch.from_numpy(states.astype(np.float32))[None]).mode()[0]
    np.testing.assert_allclose(act(states), mode.detach().numpy(), atol=1e-5)


def test_the_manifest_names_the_source(folder: Path, tmp_path: Path) -> None:
    [path] = import_agents(tmp_path, tmp_path / "ours")
    _, manifest = checkpoints.load(path)
    assert "shlee94/Off2OnRL" in manifest["source"]
    assert manifest["dataset"] == "made-up" and manifest["seeds"] == [3] and manifest["step"] == 1_000_000
    assert sorted(manifest["sha256"]) == [
        "actor_1000000.pt",
        "critic1_1000000.pt",
        "critic2_1000000.pt",
    ]


def test_the_command_writes_the_agents_and_refuses_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    def command(output: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "algorithms.population.authors_checkpoints", str(tmp_path), output]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)

    done = command(str(tmp_path / "ours"))
    assert done.returncode == 0 and (tmp_path / "ours" / "agent_3.safetensors").is_file(), done.stderr
    (folder / "actor_1000000.pt").write_bytes(b"foreign")
    refused = command(str(tmp_path / "others"))
    assert refused.returncode == 2
    assert "actor_1000000.pt: not a whole PyTorch file" in refused.stderr
    assert "Traceback" not in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "others").exists()


class Bomb:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_malicious_file_is_refused_and_not_executed(folder: Path, tmp_path: Path, form: str) -> None:
    state = {**actor(0), "fc0.weight": Bomb(tmp_path / "executed")}
    file = folder / "actor_1000000.pt"
    if form == "pickle":
        file.write_bytes(pickle.dumps(state, protocol=2))
    else:
        torch.save(state, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError, match=r"actor_1000000\.pt: not a whole PyTorch file of plain tensors"):
        read_agent(folder)
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed"))).close()
    assert (tmp_path / "executed").exists()  # so the bomb was a live one


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(folder: Path, zipped: bool) -> None:
    file = folder / "critic2_1000000.pt"
    torch.save(critic(0), file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    read_agent(folder)
    for length in (0, 1, 10, len(whole) // 3, len(whole) // 2, len(whole) - 50, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"critic2_1000000\.pt: not a whole PyTorch file"):
            read_agent(folder)


def replaced(name: str, value: Any) -> State:
    return {**actor(0), name: value}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([torch.ones(2)], "holds a list, expected a dictionary"),
        ({0: torch.ones(2)}, "expected a dictionary of named tensors"),
        ({}, "holds nothing, expected weight and bias of fc0"),
        (critic(0), "expected weight and bias of fc0, fc1, ... and last_fc and last_fc_log_std"),
        (replaced("fc3.weight", torch.ones(2, 2)), "expected weight and bias of fc0"),
        (replaced("fc0.weight", 3.0), "fc0.weight is float, expected a dense tensor of float32"),
        (replaced("fc1.bias", torch.ones(6, dtype=torch.float64)), "fc1.bias is torch.float64, expected"),
        (replaced("fc1.bias", torch.ones(6).to_sparse()), "fc1.bias is torch.float32, expected a dense"),
        (replaced("last_fc.bias", torch.tensor([1.0, torch.nan])), "last_fc.bias holds a value that is not"),
        (replaced("last_fc.weight", torch.full((2, 6), torch.inf)), "last_fc.weight holds a value that is"),
        (replaced("fc1.weight", torch.ones(6, 7)), "fc1 has weight (6, 7) and bias (6,), expected (6, 8)"),
        (replaced("fc0.weight", torch.ones(8)), "fc0 has weight (8,)"),
        (replaced("fc0.weight", torch.tensor(1.0)), "fc0 has weight ()"),
        (replaced("fc1.bias", torch.ones(5)), "fc1 has weight (6, 8) and bias (5,)"),
        (replaced("last_fc_log_std.bias", torch.ones(3)), "expected (3, 6) and (3,)"),
        (network(0, 0, {"last_fc": 2, "last_fc_log_std": 2}), "fc0 has weight (8, 0)"),
        (
            network(0, OBSERVATIONS, {"last_fc": 2, "last_fc_log_std": 2}, widths=(8, 7)),
            "expected 7 inputs and hidden widths [8, 7] as its actor asks, and 1 output",
        ),
    ],
)
def test_a_foreign_network_is_refused(folder: Path, content: Any, sentence: str) -> None:
    torch.save(content, folder / "actor_1000000.pt")
    with pytest.raises(UserError) as refusal:
        read_agent(folder)
    assert sentence in str(refusal.value) and str(folder) in str(refusal.value)


def test_missing_files_and_ambiguous_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no agents found, expected folders named <dataset>_seed<number>"):
        import_agents(tmp_path / "nowhere", tmp_path / "ours")
    shutil.copytree(folder, tmp_path / "another_seed3")
    with pytest.raises(UserError, match="expected agents of one dataset in a folder"):
        import_agents(tmp_path, tmp_path / "ours")
    (folder / "critic1_1000000.pt").unlink()
    with pytest.raises(UserError, match=r"critic1_1000000\.pt: no such file"):
        read_agent(folder)
    assert not (tmp_path / "ours").exists()


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Off2OnAgents:
    """The five released agents as one ensemble."""
    written = import_agents(RELEASE, tmp_path_factory.mktemp("ours"))
    assert [path.name for path in written] == [f"agent_{seed}.safetensors" for seed in SCORES]
    agents = Off2OnAgents([0], 17, 6, Off2OnConfig(ensemble_size=5), 5)
    agents.start_from([checkpoints.load(path)[0] for path in written])
    return agents


@needs_release
def test_the_released_agents_compute_what_the_authors_networks_compute(ensemble: Off2OnAgents) -> None:
    for index, seed in enumerate(SCORES):
        folder = RELEASE / f"halfcheetah-medium-v0_seed{seed}"
        networks = {
            role: torch.load(folder / f"{role}_1000000.pt", weights_only=True, map_location="cpu")
            for role in ("actor", "critic1", "critic2")
        }
        check_same_functions(networks, ensemble, index)


@needs_release
def test_the_released_agents_alone_and_as_an_ensemble_run_as_fast_as_they_score(
    ensemble: Off2OnAgents,
) -> None:
    alone = speeds(lambda states: ensemble.policy(states).mode(), len(SCORES))
    together = speeds(lambda states: ensemble.distribution(states).mode(), 1)
    low, high = REFERENCE_SCORES["HalfCheetah"]
    scores = np.array([*SCORES.values(), ENSEMBLE_SCORE])
    a_step = (low + scores / 100 * (high - low)) / TIME_LIMIT
    assert np.append(alone, together) == pytest.approx(a_step, rel=TOLERANCE)
