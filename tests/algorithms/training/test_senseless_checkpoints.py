"""A checkpoint that is well-formed and of no moment of its run ends in one sentence, never in a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.population import checkpoints
from storage import UserError
from storage.curves import read_curves
from tests.algorithms.training.test_resume import FIRST_CHECKPOINT, Moment, start, train
from tests.input.test_fuzz import fuzzed, json_values, places, refused_or_read

HUGE = 10**30
SENSELESS: list[tuple[str, Any]] = [
    *(("step", value) for value in (HUGE, -HUGE, -1, 0, 1000, 51, True, "50", 50.5, float("inf"), None, [])),
    *(("log", value) for value in (None, [], {}, "rows", {"rows": []})),
    *(("log.rows", value) for value in ([], None, [[]], [[0, 0, "return", 1.0]], [[0, 0, [], 1.0]] * 2)),
    ("log.rows.0.0", -1),
    ("log.rows.0.0", HUGE),
    ("log.rows.0.1", HUGE),
    ("log.rows.0.2", 3),
    ("log.rows.0.3", "much"),
    ("log.rows.0.3", HUGE),
    ("log.every", []),
    ("log.every.names", []),
    ("log.every.names.0", []),
    ("log.every.sums", []),
    ("log.every.sums", [[HUGE]]),
    ("log.every.count", 0),
    ("log.every.count", -1),
    ("log.every.count", HUGE),
    ("log.thinned", 5),
    ("log.thinned.sums", [[1.0]]),
    *(
        ("awaited", value)
        for value in (5, [], [HUGE, []], [0, [["return", [1.0]]]], [0, [["x", [HUGE**99]]]])
    ),
]


def replaced(content: Any, place: Sequence[str], value: Any) -> Any:
    """`content` with `value` at a place."""
    if not place:
        return value
    key: Any = int(place[0]) if isinstance(content, list) else place[0]
    result = content.copy()
    result[key] = replaced(content[key], place[1:], value)
    return result


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints between two evaluations, by kind, of jobs that were killed after them."""
    folder = tmp_path_factory.mktemp("begun")
    for kind, moment in (("pretrain", Moment(4, 0)), ("off2on", FIRST_CHECKPOINT)):
        start(kind, folder / kind, moment)
    return {kind: folder / kind / "state" / "checkpoint.safetensors" for kind in ("pretrain", "off2on")}


@pytest.mark.parametrize("kind", ["pretrain", "off2on"])
@pytest.mark.parametrize(
    ("place", "value"), [*SENSELESS, ("updates", HUGE), ("updates", -1), ("updates", 0), ("updates", None)]
)
def test_a_checkpoint_of_no_moment_of_its_run_gives_no_results(
    begun: dict[str, Path], kind: str, place: str, value: Any, tmp_path: Path
) -> None:
    tensors, manifest = checkpoints.load(begun[kind])
    path = tmp_path / "state" / "checkpoint.safetensors"
    checkpoints.save(path, tensors, replaced(manifest, place.split("."), value))
    with pytest.raises(UserError) as refusal:
        train(kind, tmp_path)
    assert str(refusal.value).startswith(f"{path} does not fit this run: ")
    assert {entry.name for entry in tmp_path.iterdir()} == {"state"}


@settings(parent=fuzzed, max_examples=40)
@given(data=st.data(), value=json_values)
def test_whatever_a_manifest_says_no_curve_lacks_a_step(
    begun: dict[str, Path], data: st.DataObject, value: Any
) -> None:
    tensors, manifest = checkpoints.load(begun["pretrain"])
    place = data.draw(st.sampled_from(places(manifest)[1:]))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state" / "checkpoint.safetensors"
        checkpoints.save(path, tensors, replaced(manifest, [str(part) for part in place], value))
        refused_or_read(lambda: train("pretrain", Path(folder)))
        curve = Path(folder) / "curve.parquet"
        if curve.exists():
            assert sorted(set(read_curves(curve)["step"])) == [0, 20, 30, 40, 60, 90, 100]


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("pretrain", "agents.networks.q.net.layers.0.weight", lambda tensor: tensor / 0),
        ("pretrain", "agents.adam.exp_avg_sq.policy.net.layers.0.bias", lambda tensor: tensor * torch.nan),
        ("pretrain", "agents.streams", torch.zeros_like),
        ("off2on", "replay.rewards", lambda tensor: tensor * torch.inf),
        ("off2on", "replay.priority_units", torch.neg),
        ("off2on", "replay.priority_units", lambda tensor: tensor * 2**40),
        ("off2on", "replay.default_priority", lambda tensor: tensor[:1]),
        ("off2on", "replay.default_priority", lambda tensor: tensor * torch.nan),
        ("off2on", "episode_ends", lambda tensor: tensor[:, :-1]),
    ],
)
def test_a_checkpoint_of_numbers_that_no_run_has_gives_no_results(
    begun: dict[str, Path],
    kind: str,
    name: str,
    change: Callable[[torch.Tensor], torch.Tensor],
    tmp_path: Path,
) -> None:
    tensors, manifest = checkpoints.load(begun[kind])
    path = tmp_path / "state" / "checkpoint.safetensors"
    checkpoints.save(path, {**tensors, name: change(tensors[name])}, manifest)
    with pytest.raises(UserError) as refusal:
        train(kind, tmp_path)
    assert str(refusal.value).startswith(f"{path} does not fit this run: ")


def test_a_checkpoint_whose_replay_is_shorter_than_its_run_gives_no_results(
    begun: dict[str, Path], tmp_path: Path
) -> None:
    tensors, manifest = checkpoints.load(begun["off2on"])
    fields = [name for name in tensors if name.startswith("replay.") and name != "replay.default_priority"]
    path = tmp_path / "state" / "checkpoint.safetensors"
    checkpoints.save(path, tensors | {name: tensors[name][:, :-1] for name in fields}, manifest)
    with pytest.raises(UserError, match="its replay holds 49 transitions a run, expected 50"):
        train("off2on", tmp_path)
