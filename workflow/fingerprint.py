"""Print the fingerprint of trained actor-critic agents, a column an agent (`algorithms.fingerprint`).

    python -m workflow.fingerprint releases/halfcheetah-random/agent_*.safetensors \\
        --environment HalfCheetah-v4

For the authors' own agents, `python -m algorithms.authors_checkpoints FOLDER OUTPUT` first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from algorithms import checkpoints
from algorithms.fingerprint import fingerprints, printed, rows
from workflow import command, data


def main(options: argparse.Namespace) -> None:
    """Print a line a quantity, a column an agent."""
    agents = [checkpoints.load(path)[0] for path in options.agents]
    transitions = data.read(options.data, options.reward_scale) if options.data else None
    found = fingerprints(agents, options.environment, transitions, options.steps, options.seed)
    print(printed(rows("", [path.stem for path in options.agents], 0, found)))


if __name__ == "__main__":
    arguments = command.parser(__doc__)
    arguments.add_argument("agents", type=Path, nargs="+", help="files agent_<k>.safetensors of one size")
    arguments.add_argument("--environment", required=True, help="such as HalfCheetah-v4")
    arguments.add_argument("--data", type=Path, help="folder of the Minari dataset that they were trained on")
    arguments.add_argument("--reward-scale", type=float, default=1.0, help="that they were trained with")
    arguments.add_argument("--steps", type=int, default=1_000, help="of each agent's own policy")
    arguments.add_argument("--seed", type=int, default=0)
    command.run(main, arguments)
