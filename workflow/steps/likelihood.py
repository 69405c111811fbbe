"""Estimate how likely an agent's online samples are under its offline data, beside held-out offline ones."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import pyarrow as pa

from algorithms.diagnostics.likelihood import LikelihoodConfig, compare, gather
from algorithms.population import checkpoints
from algorithms.training import acceleration
from algorithms.training.jobs import check_sizes
from storage.provenance import collect
from storage.tables import LIKELIHOODS, write_table
from workflow import cli, paths
from workflow.settings import build


def main(options: argparse.Namespace) -> None:
    """Gather, train, and write a row a sample: dataset, source ("offline" or "online"), value in nats."""
    acceleration.prepare_process()
    settings = options.settings
    config = build(LikelihoodConfig, settings["config"], "config")
    environment, seed = settings["environment"], settings["seed"]
    offline = paths.read(options.data, reward_scale=1.0)
    check_sizes(offline, environment)
    online = gather(checkpoints.load(options.agent)[0], environment, config.evaluated_pairs, seed)
    found = compare(offline, online, seed, config)
    rows = [pd.DataFrame({"source": source, "value": values}) for source, values in found.items()]
    frame = pd.concat(rows, ignore_index=True).astype({"value": "float64"})
    frame.insert(0, "dataset", options.dataset)
    table = pa.Table.from_pandas(frame, schema=LIKELIHOODS.schema, preserve_index=False)
    write_table(options.output, table, LIKELIHOODS, collect(settings, [seed], acceleration.arithmetic()))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--dataset", required=True, help="the dataset's name, for the rows")
    arguments.add_argument("--data", type=Path, required=True, help="folder of the Minari dataset")
    arguments.add_argument("--agent", type=Path, required=True, help="a pre-trained agent")
    cli.settings_argument(arguments, "likelihood")
    arguments.add_argument("--output", type=Path, required=True, help="Parquet file of log likelihoods")
    cli.run(main, arguments)
