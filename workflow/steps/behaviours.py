"""Measure estimated behaviours where sources are known: who made what, and how likely fresh data are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from torch import Tensor

from algorithms.diagnostics.behaviours import assignment, directions, log_densities, mixture_log_likelihood
from algorithms.population import checkpoints
from algorithms.training import acceleration
from algorithms.training.lookup import find_method
from analysis.assignments import Labels, normalised_mutual_information, principal_components, purity
from offline_data.transitions import from_episodes
from storage.curves import COLUMNS, write_curves
from storage.provenance import collect
from storage.settings import build
from storage.tables import BEHAVIOURS, write_table
from workflow import paths
from workflow.jobs import Job
from workflow.steps.record import mixed


def main(job: Job) -> None:
    """Write a row an agent and vector, and the agents' measures at the end of their training."""
    acceleration.prepare_process()
    settings, about = job.settings, job.about
    method = find_method(settings["method"], "offline")
    config = build(method.Config, settings["config"], "config")
    data = paths.read(job.required("data"), reward_scale=1.0)
    held_out = from_episodes(mixed(settings["held_out"], job.paths("behaviour")).episodes)
    true = np.array(data.metadata["episode_sources"], np.int64)
    tables, measures = [], []
    for agent, path in zip(about["seeds"], job.paths("agents"), strict=True):
        tensors, _ = checkpoints.load(path)
        made = assignment(tensors)
        rows = _vectors(tensors, made, true, data.returns())
        if not method.Agents.learns_a_policy:
            rows = rows[rows["kind"] != "learned"]
        tables.append(rows.assign(dataset=about["dataset"], method=about["label"], agent=agent))
        likely = mixture_log_likelihood(log_densities(tensors, config, held_out), made, held_out)
        values = {
            "assignment_purity": purity(made, true),
            "assignment_nmi": normalised_mutual_information(made, true),
            "held_out_log_likelihood": likely,
        }
        where = (about["run"], about["label"], about["dataset"], agent, "offline", "update")
        measures += [(*where, settings["updates"], name, value) for name, value in values.items()]
    provenance = collect(settings, about["seeds"], acceleration.arithmetic())
    table = pa.Table.from_pandas(pd.concat(tables), schema=BEHAVIOURS.schema, preserve_index=False)
    write_table(job.output("behaviours"), table, BEHAVIOURS, provenance)
    write_curves(job.output("measures"), pd.DataFrame(measures, columns=list(COLUMNS)), provenance)


def _vectors(
    tensors: Mapping[str, Tensor], made: Labels, true: Labels, returns: Sequence[float]
) -> pd.DataFrame:
    """Return a row a trajectory, then a row a behaviour and one of the learned policy."""
    trajectories, policies = directions(tensors)
    (x, y), (policies_x, policies_y) = principal_components(trajectories, policies)
    numbers = np.arange(len(policies))
    kinds = np.where(numbers < numbers[-1], "behaviour", "learned")
    known = {"number": np.arange(len(made)), "behaviour": made, "source": true, "return": returns}
    ours = pd.DataFrame({"kind": "trajectory", **known, "x": x, "y": y})
    theirs = pd.DataFrame({"kind": kinds, "number": numbers, "x": policies_x, "y": policies_y})
    return pd.concat([ours, theirs]).astype({"behaviour": "Int64", "source": "Int64"})
