"""Measure estimated behaviours where sources are known: who made what, and how likely fresh data are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from algorithms.diagnostics.behaviours import assignment, log_densities, mixture_log_likelihood
from algorithms.population import checkpoints
from algorithms.training import acceleration
from algorithms.training.lookup import find_method
from analysis.assignments import normalised_mutual_information, purity
from offline_data.transitions import from_episodes
from storage.curves import COLUMNS, write_curves
from storage.provenance import collect
from storage.tables import ASSIGNMENTS, write_table
from workflow import cli, paths
from workflow.jobs import Job
from workflow.settings import build
from workflow.steps.record import mixed


def main(job: Job) -> None:
    """Write a row an agent and trajectory, and the agents' measures at the end of their training."""
    acceleration.prepare_process()
    settings, about = job.settings, job.about
    method = find_method(settings["method"], "offline")
    config = build(method.Config, settings["config"], "config")
    data = paths.read(job.required("data"), reward_scale=1.0)
    held_out = from_episodes(mixed(settings["held_out"], job.paths("behaviour")).episodes)
    true, returns = np.array(data.metadata["episode_sources"], np.int64), data.returns()
    tables, measures = [], []
    for agent, path in zip(about["seeds"], job.paths("agents"), strict=True):
        tensors, _ = checkpoints.load(path)
        found = assignment(tensors)
        rows = {"behaviour": found, "source": true, "return": returns}
        numbers = {"agent": agent, "trajectory": np.arange(len(found))}
        tables.append(
            pd.DataFrame({"dataset": about["dataset"], "method": about["label"], **numbers, **rows})
        )
        values = {
            "assignment_purity": purity(found, true),
            "assignment_nmi": normalised_mutual_information(found, true),
            "held_out_log_likelihood": mixture_log_likelihood(
                log_densities(tensors, config, held_out), found, held_out
            ),
        }
        where = (about["run"], about["label"], about["dataset"], agent, "offline", "update")
        measures += [(*where, settings["updates"], name, value) for name, value in values.items()]
    provenance = collect(settings, about["seeds"], acceleration.arithmetic())
    table = pa.Table.from_pandas(pd.concat(tables), schema=ASSIGNMENTS.schema, preserve_index=False)
    write_table(job.output("assignments"), table, ASSIGNMENTS, provenance)
    write_curves(job.output("measures"), pd.DataFrame(measures, columns=list(COLUMNS)), provenance)


if __name__ == "__main__":
    cli.run_job(main, __doc__)
