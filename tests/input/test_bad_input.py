"""One table of bad input: each case ends in one sentence that names the thing; nothing half-written stays.

A case is a function of an empty folder; what it raises must be a UserError. Cases that belong to one reader's
own rules stand in that reader's tests; here stands what crosses packages, and what files of other people
bring.
"""

from __future__ import annotations

import datetime
import json
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file

from algorithms.population import checkpoints
from algorithms.population.behaviour_policy import load_behaviour_policy
from algorithms.training.lookup import find_method
from analysis import statistics as statistics_files
from analysis.claims import read_claims
from analysis.statistics import read_statistics
from analysis.verdicts import main as judge_claims
from offline_data import d4rl_hdf5, minari_io, recipes
from storage import UserError
from storage.checksums import sha256
from storage.curves import COLUMNS, read_curves, read_provenance, write_curves
from storage.files import read_json
from storage.tables import write_table
from tests.curves import curve_row, frame
from tests.made_up import make_episodes
from tests.workflow.spoilt import spoilt
from workflow.code_hash import ROOT, job_hash
from workflow.configuration import check, read

ENVIRONMENT, OBSERVATIONS, ACTIONS = "InvertedDoublePendulum-v4", 11, 1
DATASET_ID = "inverted-double-pendulum/test-local-v0"
Call = Callable[[Path], object]


class Case(NamedTuple):
    """What is called in an empty folder, and a part of the sentence that it ends with."""

    name: str
    call: Call
    sentence: str


# --- configuration ----------------------------------------------------------------------------------------

RANDOM = "datasets.halfcheetah-random"
OFF2ON = "fine_tuning.methods.off2on.config"


def configured(name: str, path: str, value: Any, sentence: str) -> Case:
    def call(_: Path) -> object:
        smoke = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
        return check(spoilt(smoke, path, value))

    return Case(f"configuration: {name}", call, sentence)


def written_configuration(name: str, content: bytes, sentence: str) -> Case:
    def call(folder: Path) -> object:
        (folder / "mine.yaml").write_bytes(content)
        return read(folder / "mine.yaml")

    return Case(f"configuration file: {name}", call, sentence)


CONFIGURATIONS = [
    configured("no datasets", "datasets", {}, "datasets is empty"),
    configured("a dataset without keys", RANDOM, None, "is None: expected keys with values"),
    configured("a key that is a number", "datasets", {1: {}}, "datasets"),
    configured("a key that is nothing", "pretraining", {None: 1}, "pretraining: unknown key 'None'"),
    configured("a dataset in the name of another", "datasets", {"hopper-x\n": {}}, "has the name"),
    configured("no methods", "fine_tuning.methods", {}, "fine_tuning.methods is empty"),
    configured("one figure, no list", "figures", "figure_03", "figures is 'figure_03': expected a list"),
    configured("a figure twice", "figures", ["figure_03", "figure_03"], "expected no repetition"),
    configured("no repetitions", "statistics.repetitions", 0, "repetitions is 0: expected at least 1"),
    configured("a negative seed", "statistics.seed", -1, "statistics.seed is -1: expected at least 0"),
    configured("a seed too large", "fine_tuning.seeds", [2**32], "expected at most 4294967295"),
    configured(
        "claims that are not there", "claims", "absent.yaml", "claims is 'absent.yaml': expected a YAML"
    ),
    configured("to fail on success", "statistics.fail_on", ["reproduced"], "expected one of contradicted"),
    configured("no copies", f"{RANDOM}.copies", 0, "copies is 0: expected at least 1"),
    configured("no transitions", f"{RANDOM}.transitions", 0, "transitions is 0: expected at least 1"),
    configured("a reward scale of nothing", f"{RANDOM}.reward_scale", 0, "expected more than 0"),
    configured("an infinite reward scale", f"{RANDOM}.reward_scale", float("inf"), "expected a number"),
    configured("an ensemble too large", "fine_tuning.ensemble_size", 101, "expected at most 100"),
    configured("half a range", f"{OFF2ON}.priority_range", [1.0], "priority_range"),
    configured("no layers", f"{OFF2ON}.hidden_widths", [], "hidden_widths is empty"),
    configured("a layer of nothing", f"{OFF2ON}.hidden_widths", [0], "hidden_widths.0 is 0"),
    configured("all online at first", f"{OFF2ON}.initial_online_fraction", 1, "expected less than 1"),
    configured(
        "an unknown device", "compute", {"device": "tpu"}, "device is 'tpu': expected one of cpu, cuda"
    ),
    configured(
        "a CPU's graphs",
        "compute",
        {"updates_per_graph": 9},
        "updates_per_graph is 9, expected device cuda with it",
    ),
    configured("a name with a line's end", "name", "smoke\n", "name is 'smoke\\n': expected lower-case"),
    configured("a name that climbs", "name", "..", "name is '..': expected lower-case letters"),
    configured("an absolute name", "name", "/tmp/x", "name is '/tmp/x': expected lower-case letters"),
    configured("a hidden name", "name", ".snakemake", "name is '.snakemake': expected lower-case"),
    configured("a date for a name", "name", datetime.date(2021, 7, 1), "expected text"),
    *(
        configured(f"a file that is {name}", f"{RANDOM}.file", file, "expected the path of a file")
        for name, file in (
            ("in the home folder", "~/data.hdf5"),
            ("an address", "https://example.org/data.hdf5"),
            ("a wildcard", "/data/{dataset}.hdf5"),
            ("too long", "x" * 256),
            ("two lines", "a\nb"),
        )
    ),
    configured(
        "claims that are an address", "claims", "s3://here/claims.yaml", "expected the path of a file"
    ),
    Case("a file that cannot be read", lambda _: sha256(Path("/proc/self/mem")), "mem could not be read"),
    configured(
        "a Minari id that climbs",
        RANDOM,
        {
            "environment": "HalfCheetah-v4",
            "recipe": "minari",
            "minari_id": "a/../../b-v0",
            "pretrained": "train",
        },
        "minari_id is 'a/../../b-v0': expected the id",
    ),
    configured(
        "an absolute Minari id",
        RANDOM,
        {
            "environment": "HalfCheetah-v4",
            "recipe": "minari",
            "minari_id": "/etc/x-v0",
            "pretrained": "train",
        },
        "minari_id is '/etc/x-v0': expected the id",
    ),
    configured(
        "a behaviour policy that climbs", "behaviour_policies", {"../../x": {}}, "has the name '../../x'"
    ),
    written_configuration("bytes that are no text", b"name: \xff\xfe", "is not YAML"),
    written_configuration("a zero byte", b"name: a\0b", "is not YAML"),
    written_configuration("a hundred thousand brackets", b"[" * 100_000, "is not YAML"),
    written_configuration("an object to build", b"!!python/object/apply:os.abort []", "is not YAML"),
    written_configuration("a list that holds itself", b"name: &a [*a]", "name is [[...]]: expected text"),
    *(
        written_configuration(f"the tag {tag}", f"name: !!{tag} maybe".encode(), "is not YAML")
        for tag in ("timestamp", "bool", "int", "float", "binary", "omap", "set")
    ),
    written_configuration("a key that is a list", b"? [a]\n: b", "is not YAML"),
    written_configuration(
        "a billion aliases",
        b"a0: &a0 [x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)),
        "stands for more than 1,000,000 values by its aliases",
    ),
    Case("configuration file: a device", lambda _: read(Path("/dev/zero")), "is a pipe or a device"),
    written_configuration("nothing", b"", "is not a configuration"),
    Case("configuration file: a folder", read, "could not be read: Is a directory"),
    *(
        Case(f"custom method: {name!r}", lambda _, name=name: find_method(name, "online"), sentence)
        for name, sentence in (
            ("os:system", "is no subclass of algorithms.methods.interface.Method"),
            ("os:no_such", "could not be imported"),
            (":Class", "could not be imported"),
            (".relative:Class", "could not be imported"),
            ("tests.input.no_such:Class", "could not be imported"),
            ("no method", "unknown method 'no method'"),
        )
    ),
    *(
        Case(
            f"custom method's file: {name!r}",
            lambda _, name=name: job_hash("fine_tune", name),
            "could not be found",
        )
        for name in ("sys:x", ":Class", ".relative:Class", "no.such:Class", "no_such:Class")
    ),
]


# --- datasets ---------------------------------------------------------------------------------------------


def minari(name: str, spoil: Callable[[Path, dict[str, Any]], object], sentence: str) -> Case:
    """A whole Minari dataset without its checksum, spoilt: `spoil` is given its data folder and metadata."""

    def call(folder: Path) -> object:
        minari_io.write_dataset(folder, DATASET_ID, make_episodes((5, 4)), ENVIRONMENT, {})
        data = folder / DATASET_ID / "data"
        metadata = json.loads((data / "metadata.json").read_text())
        del metadata["data_sha256"]
        replaced = spoil(data, metadata)
        (data / "metadata.json").write_text(json.dumps(metadata if replaced is None else replaced))
        return minari_io.read_transitions(folder, DATASET_ID, ENVIRONMENT)

    return Case(f"minari: {name}", call, sentence)


def metadata(key: str, value: Any) -> Callable[[Path, dict[str, Any]], None]:
    return lambda _, content: content.update({key: value})


def hdf5(change: Callable[[h5py.File, Path], object]) -> Callable[[Path, dict[str, Any]], None]:
    def spoil(data: Path, _: dict[str, Any]) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            change(file, data)

    return spoil


def replaced(key: str, value: Any) -> Callable[[Path, dict[str, Any]], None]:
    def change(file: h5py.File, _: Path) -> None:
        del file[key]
        if value is not None:
            file[key] = value

    return hdf5(change)


def outside(file: h5py.File, data: Path) -> None:
    """Rewards that are the bytes of another file."""
    (data / "secret").write_bytes(bytes(100))
    del file["episode_0/rewards"]
    file.create_dataset("episode_0/rewards", (5,), "f4", external=[(str(data / "secret"), 0, 20)])


def virtual(file: h5py.File, data: Path) -> None:
    del file["episode_0/rewards"]
    layout = h5py.VirtualLayout((5,), "f4")
    layout[:] = h5py.VirtualSource(data / "other.hdf5", "x", (5,))
    file.create_virtual_dataset("episode_0/rewards", layout)


MINARI = [
    minari("metadata that are a list", lambda *_: [1], "holds no JSON object"),
    minari("metadata that are a number", lambda *_: 5, "holds no JSON object"),
    minari("a word for a number", metadata("total_steps", "many"), "damaged or of another layout"),
    minari("infinitely many steps", metadata("total_steps", float("inf")), "damaged or of another layout"),
    minari("more steps than memory", metadata("total_steps", 10**17), "damaged or of another layout"),
    minari("more steps than numbers", metadata("total_steps", 10**30), "damaged or of another layout"),
    minari("fewer than no episodes", metadata("total_episodes", -1), "the metadata say -1 episodes"),
    minari("no count", metadata("total_steps", None), "damaged or of another layout"),
    minari("an environment of nonsense", metadata("env_spec", "{"), "names no environment"),
    minari("an environment of another kind", metadata("env_spec", "[]"), "names no environment"),
    minari("an episode gone", replaced("episode_1", None), "it has 1 episodes where its metadata say 2"),
    minari("an episode that is a number", replaced("episode_1", 5.0), "damaged or of another layout"),
    minari("rewards that are a number", replaced("episode_0/rewards", 5.0), "damaged or of another layout"),
    minari("rewards of nothing", replaced("episode_0/rewards", h5py.Empty("f4")), "of another layout"),
    minari("rewards that are words", replaced("episode_0/rewards", ["a"] * 5), "of another layout"),
    minari(
        "rewards left out",
        hdf5(lambda file, _: in_place("episode_0/rewards", {"shape": (5,), "dtype": "f4"})(file)),
        "rewards declares 20 bytes, of which the file holds a part",
    ),
    minari(
        "pictures",
        replaced("episode_0/observations", np.zeros((6, 8, 8, 3), np.uint8)),
        "main_data.hdf5 has observations of the shape (8, 8, 3): expected vectors of numbers",
    ),
    minari("another format", metadata("data_format", "arrow"), "is stored as 'arrow': expected Minari's"),
    Case(
        "minari: metadata that are a device",
        lambda folder: (
            (folder / "x-v0" / "data").mkdir(parents=True),
            (folder / "x-v0" / "data" / "metadata.json").symlink_to("/dev/zero"),
            minari_io.read_transitions(folder, "x-v0"),
        ),
        "metadata.json is a pipe or a device: expected a regular file",
    ),
    minari("a soft link", replaced("episode_0/rewards", h5py.SoftLink("/episode_1/rewards")), "is a link"),
    minari("a link to a file", replaced("episode_1", h5py.ExternalLink("x.hdf5", "/")), "is a link"),
    minari("bytes of another file", hdf5(outside), "lies outside the file"),
    minari("data of another file", hdf5(virtual), "lies outside the file"),
    minari("text for HDF5", lambda data, _: (data / "main_data.hdf5").write_text("HDF") and None, "damaged"),
]


def d4rl(name: str, change: Callable[[h5py.File], object], sentence: str) -> Case:
    """A whole D4RL file, spoilt."""

    def call(folder: Path) -> object:
        with h5py.File(folder / "data.hdf5", "w") as file:
            file["observations"] = np.zeros((6, OBSERVATIONS), np.float32)
            file["actions"] = np.zeros((6, ACTIONS), np.float32)
            file["rewards"] = np.zeros(6, np.float32)
            file["terminals"] = np.zeros(6, np.bool_)
            change(file)
        return d4rl_hdf5.recording(folder / "data.hdf5", ENVIRONMENT).episodes

    return Case(f"d4rl: {name}", call, sentence)


def in_place(key: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[key]
        if isinstance(value, dict):
            file.create_dataset(key, **value)
        else:
            file[key] = value

    return change


D4RL = [
    d4rl("rewards of nothing", in_place("rewards", h5py.Empty("f4")), "data.hdf5"),
    d4rl("a type for data", in_place("rewards", np.dtype("f4")), "rewards is not an array"),
    d4rl("words for rewards", in_place("rewards", ["a"] * 6), "rewards is object, expected float32"),
    d4rl("complex rewards", in_place("rewards", np.zeros(6, np.complex64)), "rewards is complex64"),
    d4rl(
        "more rows than memory",
        lambda file: [
            in_place(key, {"shape": (2**50, *tail), "dtype": kind, "chunks": True})(file)
            for key, tail, kind in (
                ("observations", (OBSERVATIONS,), "f4"),
                ("actions", (ACTIONS,), "f4"),
                ("rewards", (), "f4"),
                ("terminals", (), "?"),
            )
        ],
        "data.hdf5 is truncated, damaged or not an HDF5 file",
    ),
    d4rl(
        "chunks left out",
        in_place("rewards", {"shape": (6,), "dtype": "f4", "chunks": (2,)}),
        "rewards declares 24 bytes, of which the file holds a part",
    ),
    d4rl(
        "numbers left out",
        in_place("rewards", {"shape": (6,), "dtype": "f4"}),
        "rewards declares 24 bytes, of which the file holds a part",
    ),
    Case(
        "d4rl: a folder", lambda folder: d4rl_hdf5.recording(folder, ENVIRONMENT).episodes, "does not exist"
    ),
]


# --- checkpoints and logs of runs -------------------------------------------------------------------------


def content(name: str, write: Callable[[Path], object], load: Call, sentence: str) -> Case:
    """A file that `write` makes, given to `load`."""

    def call(folder: Path) -> object:
        write(folder / "file.safetensors")
        return load(folder / "file.safetensors")

    return Case(name, call, sentence)


def bytes_of(value: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(value)


def log(**changes: Any) -> Callable[[Path], object]:
    """A replay log of three transitions, with changes."""
    arrays = {
        "observations": torch.zeros(3, OBSERVATIONS),
        "actions": torch.zeros(3, ACTIONS),
        "rewards": torch.zeros(3),
        "masks": torch.ones(3),
        "next_observations": torch.zeros(3, OBSERVATIONS),
        "episode_ends": torch.tensor([False, False, True]),
    }
    return lambda path: save_file(arrays | changes, path)


def action_log(header: dict[str, str], **changes: Any) -> Callable[[Path], object]:
    arrays = {
        "actions": torch.zeros(3, ACTIONS),
        "lengths": torch.tensor([3]),
        "resets": torch.tensor([1]),
    }
    full = {
        "environment": ENVIRONMENT,
        "reset_seed": "0",
        "simulation_sha256": "0",
        "simulated_with": "mujoco",
    }
    return lambda path: save_file(arrays | changes, path, full | header)


def actor(path: Path) -> object:
    return load_behaviour_policy(path, OBSERVATIONS, ACTIONS, 0)


PICKLE = b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."
CHECKPOINTS = [
    content("checkpoint: nothing", bytes_of(b""), checkpoints.load, "not a readable checkpoint"),
    content("checkpoint: a pickle", bytes_of(PICKLE), checkpoints.load, "not a readable checkpoint"),
    content("checkpoint: an archive", bytes_of(b"PK\3\4" + bytes(99)), checkpoints.load, "not a readable"),
    content("checkpoint: a long header", bytes_of(b"\xff" * 99), checkpoints.load, "not a readable"),
    content("actor: not a checkpoint", bytes_of(b"{}"), actor, "not a readable checkpoint"),
    content(
        "actor: another network",
        lambda path: checkpoints.save(path, {"x": torch.zeros(1)}, {}),
        actor,
        "file.safetensors",
    ),
    content(
        "replay log: a number for rewards",
        log(rewards=torch.tensor(1.0)),
        recipes.from_replay_log,
        "'rewards'",
    ),
    content(
        "replay log: brain floats", log(rewards=torch.zeros(3).bfloat16()), recipes.from_replay_log, "file"
    ),
    content("replay log: doubles", log(rewards=torch.zeros(3).double()), recipes.from_replay_log, "file"),
    content(
        "replay log: too few rewards",
        log(rewards=torch.zeros(2)),
        recipes.from_replay_log,
        "differ in length",
    ),
    content(
        "replay log: not finite", log(rewards=torch.full((3,), torch.nan)), recipes.from_replay_log, "file"
    ),
    content("action log: no seed", action_log({"reset_seed": "x"}), recipes.resimulate, "lacks or garbles"),
    content(
        "action log: a negative seed",
        action_log({"reset_seed": "-1"}),
        recipes.resimulate,
        "not an action log",
    ),
    content("action log: no such world", action_log({"environment": "Ant-v9"}), recipes.resimulate, "Ant-v9"),
    content(
        "action log: broken lengths",
        action_log({}, lengths=torch.tensor([3.0])),
        recipes.resimulate,
        "not an action log",
    ),
    content(
        "action log: too long",
        action_log({}, lengths=torch.tensor([2**62])),
        recipes.resimulate,
        "not an action log",
    ),
]


# --- results ----------------------------------------------------------------------------------------------


def curve_frame() -> pd.DataFrame:
    return frame(curve_row("sac", "halfcheetah-random", 0, step, 1.0) for step in (0, 10))


def curves_with_a_hole(column: str) -> Case:
    def call(folder: Path) -> object:
        write_curves(folder / "whole.parquet", curve_frame(), {})
        table = pq.ParquetFile(folder / "whole.parquet").read()
        hole = pa.array([None, *table[column].to_pylist()[1:]], table.schema.field(column).type)
        position = table.schema.get_field_index(column)
        pq.write_table(
            table.set_column(position, table.schema.field(column), hole).replace_schema_metadata(
                {"provenance": "{}"}
            ),
            folder / "hole.parquet",
        )
        return read_curves(folder / "hole.parquet")

    return Case(f"curves: a {column} is missing", call, f"a {column} is missing")


def statistics_with(header: dict[str, Any]) -> Call:
    def call(folder: Path) -> object:
        table = statistics_files._SCHEMA.empty_table()
        write_table(folder / "statistics.parquet", table, statistics_files._KIND, header)
        return read_statistics(folder / "statistics.parquet")

    return call


def curves_as_statistics(folder: Path) -> object:
    write_curves(folder / "curve.parquet", curve_frame(), {})
    return read_statistics(folder / "curve.parquet")


def provenance_that_is_a_list(folder: Path) -> object:
    write_curves(folder / "curve.parquet", curve_frame(), {})
    table = pq.ParquetFile(folder / "curve.parquet").read()
    pq.write_table(table.replace_schema_metadata({"provenance": "[]"}), folder / "curve.parquet")
    return read_provenance(folder / "curve.parquet")


def claims(name: str, content: bytes, sentence: str) -> Case:
    def call(folder: Path) -> object:
        (folder / "claims.yaml").write_bytes(content)
        return read_claims(folder / "claims.yaml")

    return Case(f"claims: {name}", call, sentence)


RESULTS = [
    *(curves_with_a_hole(column) for column in COLUMNS),
    Case("curves: a folder", read_curves, "is not a whole Parquet file"),
    Case("curves: statistics expected", curves_as_statistics, "is not a file of statistics"),
    Case("curves: provenance that is a list", provenance_that_is_a_list, "no JSON object"),
    Case("statistics: an empty header", statistics_with({}), "its header lacks 'methods'"),
    Case("statistics: numbers for names", statistics_with({"methods": 1}), "is not a file of statistics"),
    claims("bytes that are no text", b"- \xff", "is not YAML"),
    claims("a word", b"- word", "expected keys with values"),
    claims("a key twice", b"- id: a\n  id: b\n", "line 2: the key 'id' is given twice"),
    Case(
        "JSON: a hundred thousand brackets", lambda f: bracket_json(f / "x.json"), "is not a whole JSON file"
    ),
]


def bracket_json(path: Path) -> object:
    path.write_text("[" * 100_000)
    return read_json(path)


CASES = [*CONFIGURATIONS, *MINARI, *D4RL, *CHECKPOINTS, *RESULTS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_ends_in_one_sentence(tmp_path: Path, case: Case) -> None:
    with pytest.raises(UserError) as refusal:
        case.call(tmp_path)
    message = str(refusal.value)
    assert case.sentence in message
    assert message.strip() and "Traceback" not in message
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]


# --- jobs' files ------------------------------------------------------------------------------------------

SETTINGS = {"environment": ENVIRONMENT, "fingerprint": "0", "reward_scale": 1.0, "method": "cql"}
SETTINGS |= {"config": {}, "schedule": {}}
SAC = {**SETTINGS, "method": "sac"}
OUTPUTS = dict.fromkeys(("agents", "curves", "data", "summary", "json", "table", "pdf", "folder"), "made")
ABOUT = {"run": "r", "dataset": "d", "label": "l", "seeds": [0], "figure": "figure_03"}


def job_file(settings: Any, **inputs: list[str]) -> dict[str, Any]:
    """What a job's file holds, with these settings and inputs."""
    names = {"rule": "r", "names": [], "step": "workflow.steps.record", "results": "made", "threads": 1}
    return {**names, "settings": settings, "inputs": inputs, "outputs": OUTPUTS, "about": ABOUT}


RANDOM = {"environment": ENVIRONMENT, "recipe": "medium", "seed": 0, "transitions": 1, "copies": 1}
DRAWN = {"statistics": {}, "schedules": {}, "caption": {"ensemble_size": 1, "pretraining_updates": {}}}
SUMMARISED = {"about": {**ABOUT, "figure": "datasets"}}
FILES: list[tuple[str, Any, str]] = [
    ("pretrain", None, "the following arguments are required: file"),
    ("pretrain", "{", "is not a whole JSON file"),
    ("pretrain", "[]", "is no job's file: expected an object with about, inputs"),
    ("pretrain", "[" * 50_000, "is not a whole JSON file"),
    ("pretrain", job_file({}) | {"colour": "blue"}, "is no job's file"),
    ("pretrain", job_file([]), "settings is []: expected keys with values"),
    ("pretrain", job_file(SETTINGS, data=["no/such"]), "holds no Minari dataset"),
    ("pretrain", job_file(SETTINGS), "has no input 'data'"),
    ("pretrain", job_file({}, data=["no"]), "lack the key 'reward_scale'"),
    ("fine_tune", job_file({}), "lack the key 'method'"),
    ("fine_tune", job_file({**SETTINGS, "method": "iql"}), "unknown method 'iql'"),
    ("fine_tune", job_file({**SAC, "config": 5}), "config is 5: expected keys with values"),
    ("fine_tune", job_file({**SAC, "config": {"alpha": 1}}), "config: unknown key 'alpha'"),
    ("fine_tune", job_file({**SAC, "config": {"batch_size": "x"}}), "batch_size is 'x': expected a whole"),
    ("fine_tune", job_file({**SAC, "schedule": {"steps": 0}}), "steps is 0: expected at least 1"),
    ("fine_tune", job_file({**SAC, "environment": "Ant-v9"}), "Ant-v9"),
    (
        "fine_tune",
        job_file({**SAC, "schedule": {"block_size": 3, "steps": 6}}),
        "evaluation_interval is 1000, expected a multiple of block_size",
    ),
    ("behaviour", job_file({"fingerprint": "0"}), "lack the key 'seed'"),
    (
        "behaviour",
        job_file({"fingerprint": "0", "sac": {"discount": 2}}),
        "sac.discount is 2: expected at most 1",
    ),
    ("record", job_file({}), "lack the key 'recipe'"),
    (
        "record",
        job_file({"environment": ENVIRONMENT, "recipe": "d4rl", "file": "no.hdf5"}),
        "no.hdf5 does not exist",
    ),
    ("record", job_file(RANDOM), "records a behaviour policy: expected its folder"),
    ("record", job_file({**RANDOM, "recipe": "replay"}, behaviour=["no"]), "replay.safetensors is missing"),
    ("likelihood", job_file({}, data=["no/such"], agents=["a"]), "lack the key 'config'"),
    ("statistics", job_file({}, curves=["no.parquet"]), "no.parquet does not exist"),
    ("statistics", job_file({"repetitions": "x"}, curves=["no"]), "expected a whole number"),
    ("figure", job_file({}, statistics=["no"], curves=["c"]), "no does not exist"),
    ("figure", job_file(DRAWN, files=["no.json"]) | SUMMARISED, "no.json could not be read"),
    ("figure", job_file(DRAWN, files=["list.json"]) | SUMMARISED, "is no dataset's summary"),
    ("reproduction", job_file({"repetitions": 20}, statistics=["no"], curves=["c"]), "no does not exist"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, but for one foreign file; the process as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OFF2ON_PARENT", raising=False)
    (tmp_path / "list.json").write_text("[]")
    handler = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.parametrize(("step", "content", "sentence"), FILES, ids=[f"{n} {s}"[:60] for n, _, s in FILES])
def test_a_bad_job_ends_in_one_sentence_and_status_2(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: str,
    content: Any,
    sentence: str,
) -> None:
    if isinstance(content, dict):
        content = {**content, "step": f"workflow.steps.{step}"}
    if content is not None:
        (folder / "job.json").write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setattr(sys, "argv", [step, *(["job.json"] if content is not None else [])])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("workflow.train", run_name="__main__")
    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert sentence in errors
    assert "Traceback" not in errors
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left <= {"list.json", "job.json", ".lock"}


@pytest.mark.parametrize(
    "document", [[], {}, {"claims": 5}, {"claims": []}, {"claims": [{}]}, {"claims": ["x"]}]
)
def test_verdicts_are_not_looked_for_in_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], document: Any
) -> None:
    (tmp_path / "other.json").write_text(json.dumps(document))
    status = judge_claims(["--reproduction", os.fspath(tmp_path / "other.json"), "--fail-on", "undecided"])
    assert status == 1
    assert "holds no claims with verdicts" in capsys.readouterr().err
