"""Train CQL agents under one setting and follow their fingerprint: which setting makes the authors' agents?

    python -m workflow.calibrate --data results/calibration/datasets/halfcheetah/medium-local-v0 \\
        --environment HalfCheetah-v4 --setting weight_20 --config '{"conservative_weight": 20}' \\
        --updates 40000 --state STATE --output weight_20.parquet

Resumes from --state; a larger --updates goes on. The file holds the metrics of
`algorithms.diagnostics.fingerprint` and CQL's own after every interval.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa

from algorithms.diagnostics.fingerprint import fingerprints, rows
from algorithms.methods.cql import CQL, CQLConfig
from algorithms.population import checkpoints
from algorithms.training.acceleration import arithmetic
from algorithms.training.jobs import Job
from algorithms.training.offline import OfflineSchedule, PretrainedAgents, StartingAgents, pretrain
from offline_data.transitions import Transitions
from storage import UserError
from storage.checksums import sha256
from storage.provenance import collect
from storage.settings import build
from storage.tables import FINGERPRINTS, read_table, write_table
from workflow import cli, paths, training_process

TRAINING_METRICS = ("normalised_score", "td_error", "conservative_penalty", "q_mean", "entropy_coefficient")
"""Of the training curve, kept beside the fingerprint as training_<name>."""

RECORDED = ("dataset_id", "recipe", "seeds", "steps", "behaviour_policies", "deviation_scale")
"""Of a dataset's metadata, what says which data they are."""


def main(options: argparse.Namespace) -> None:
    """Train interval by interval and write the table anew after each."""
    training_process.prepare({})
    config = build(CQLConfig, options.config, "--config")
    transitions = paths.read(options.data, 1.0).shifted(options.shift)
    recorded = {key: transitions.metadata[key] for key in RECORDED if key in transitions.metadata}
    settings = {
        "environment": options.environment,
        "data": recorded,
        "config": asdict(config),
        "shift": options.shift,
        "start": [sha256(path) for path in options.start],
        "agents": options.agents,
    }
    provenance = collect(settings, options.agents, arithmetic())
    identity = provenance["configuration_hash"]
    names = ("calibration", "cql", options.setting, options.environment)
    job = Job(*names, options.agents, identity, options.state)
    found = _measured_before(options.output, identity)
    first = int(found.step.max()) + options.interval if len(found) else options.interval
    for updates in range(first, options.updates + 1, options.interval):
        trained = _trained(options, config, transitions, job, updates)
        found = pd.concat([found, _measured(options, trained, transitions, updates)], ignore_index=True)
        table = pa.Table.from_pandas(found, schema=FINGERPRINTS.schema, preserve_index=False)
        write_table(options.output, table, FINGERPRINTS, provenance)
        agents = options.state / "agents"
        checkpoints.save_numbered(agents, "agent", options.agents, trained.agents, provenance)


def _measured_before(output: Path, identity: str) -> pd.DataFrame:
    """Return the rows that an interrupted run of these settings has written; none where it wrote none."""
    table = FINGERPRINTS.schema.empty_table()
    if output.exists():
        table, provenance = read_table(output, FINGERPRINTS)
        if provenance.get("configuration_hash") != identity:
            raise UserError(f"{output} holds another setting's fingerprints: expected a new file, or its own")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _trained(
    options: argparse.Namespace, config: CQLConfig, transitions: Transitions, job: Job, updates: int
) -> PretrainedAgents:
    """Return the agents after `updates`, from where the last interval left them."""
    schedule = OfflineSchedule(
        updates=updates, evaluation_interval=options.interval, checkpoint_interval=options.interval
    )
    start = [checkpoints.load(path)[0] for path in options.start]
    starting = StartingAgents(start, 0) if start else None
    return pretrain(CQL, config, schedule, transitions, job, starting)


def _measured(
    options: argparse.Namespace, trained: PretrainedAgents, transitions: Transitions, updates: int
) -> pd.DataFrame:
    """Return the rows of `storage.tables.FINGERPRINTS` after `updates`."""
    names = [str(agent) for agent in options.agents]
    own = rows(
        options.setting, names, updates, fingerprints(trained.agents, options.environment, transitions)
    )
    curve = trained.curve
    last = curve[(curve.step == updates) & curve.metric.isin(TRAINING_METRICS)]
    beside = last.assign(
        setting=options.setting, agent=last.seed.astype(str), metric="training_" + last.metric.astype(str)
    )
    both: pd.DataFrame = pd.concat([own, beside[FINGERPRINTS.schema.names]])
    return both


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--environment", required=True, help="such as HalfCheetah-v4")
    arguments.add_argument("--setting", required=True, help="what the setting is called in the table")
    arguments.add_argument(
        "--config", type=cli.json_object, default={}, metavar="JSON", help="fields of CQLConfig"
    )
    arguments.add_argument("--shift", type=float, default=0.0, help="added to every reward")
    arguments.add_argument("--agents", type=int, nargs="+", default=[0], help="the agents, by seed")
    arguments.add_argument("--start", type=Path, nargs="*", default=[], help="agents to start from")
    arguments.add_argument("--updates", type=int, required=True)
    arguments.add_argument("--interval", type=int, default=5_000, help="updates between measurements")
    arguments.add_argument("--state", type=Path, required=True, help="folder of resumable state and agents")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet file for the table")
    cli.run(main, arguments)
