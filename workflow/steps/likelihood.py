"""Estimate how likely an agent's online samples are under its offline data, beside held-out offline ones."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa

from algorithms.diagnostics.likelihood import LikelihoodConfig, compare, gather
from algorithms.population import checkpoints
from algorithms.replay.stores import OfflineData
from algorithms.training import acceleration
from algorithms.training.worlds import Locomotion, check_sizes
from storage.provenance import collect
from storage.settings import build
from storage.tables import LIKELIHOODS, write_table
from workflow import paths
from workflow.jobs import Job


def main(job: Job) -> None:
    """Gather, train, and write a row a sample: dataset, source ("offline" or "online"), value in nats."""
    acceleration.prepare_process()
    settings = job.settings
    config = build(LikelihoodConfig, settings["config"], "config")
    environment, seed = settings["environment"], settings["seed"]
    offline = paths.read(job.required("data"), reward_scale=1.0)
    check_sizes(OfflineData.from_transitions(offline), Locomotion(environment), job.about["dataset"])
    online = gather(checkpoints.load(job.required("agents"))[0], environment, config.evaluated_pairs, seed)
    found = compare(offline, online, seed, config)
    rows = [pd.DataFrame({"source": source, "value": values}) for source, values in found.items()]
    frame = pd.concat(rows, ignore_index=True).astype({"value": "float64"})
    frame.insert(0, "dataset", job.about["dataset"])
    table = pa.Table.from_pandas(frame, schema=LIKELIHOODS.schema, preserve_index=False)
    write_table(job.output("table"), table, LIKELIHOODS, collect(settings, [seed], acceleration.arithmetic()))
