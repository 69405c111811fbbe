"""Print the fingerprint (`algorithms.diagnostics.fingerprint`) of trained agents, a column an agent.

    python -m workflow.fingerprint releases/halfcheetah-random/agent_*.safetensors \\
        --environment HalfCheetah-v4

For the authors' own agents, `python -m algorithms.population.authors_checkpoints FOLDER OUTPUT` first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms.diagnostics.fingerprint import fingerprints, printed, rows
from algorithms.population import checkpoints
from workflow import cli, paths


def main(options: argparse.Namespace) -> None:
    """Print a line a quantity, a column an agent."""
    agents = [checkpoints.load(path)[0] for path in options.agents]
    transitions = paths.read(options.data, options.reward_scale) if options.data else None
    found = fingerprints(agents, options.environment, transitions, options.steps, options.seed)
    print(printed(rows("", [path.stem for path in options.agents], 0, found)))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("agents", type=Path, nargs="+", help="files agent_<k>.safetensors of one size")
    arguments.add_argument("--environment", required=True, help="such as HalfCheetah-v4")
    arguments.add_argument("--data", type=Path, help="folder of the Minari dataset that they were trained on")
    arguments.add_argument("--reward-scale", type=float, default=1.0, help="that they were trained with")
    arguments.add_argument("--steps", type=int, default=1_000, help="of each agent's own policy")
    arguments.add_argument("--seed", type=int, default=0)
    cli.run(main, arguments)
