"""The authors' released CQL agents: PyTorch state dictionaries of rlkit networks, read into our layout.

One agent is a folder `<dataset>_seed<k>` with `actor_1000000.pt`, `critic1_1000000.pt` and
`critic2_1000000.pt`. In a state dictionary the hidden layers are `fc0`, `fc1`, ... and the last one is
`last_fc`; an actor has a second last one for the logarithm of its standard deviation. Weights are [out, in].

    python -m algorithms.population.authors_checkpoints FOLDER OUTPUT

writes `agent_<k>.safetensors` to OUTPUT for each agent in FOLDER.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from itertools import count, takewhile
from pathlib import Path

import torch
from torch import Tensor

from algorithms.population import checkpoints
from storage import UserError

UPDATES = 1_000_000  # [S] D.1: 1000 epochs of 1000, the number in the files' names
SOURCE = "github.com/shlee94/Off2OnRL (MIT), subtree rlkit"

_FOLDER_NAME = re.compile(r".+_seed(?P<seed>[0-9]+)")
_Layers = list[tuple[Tensor, Tensor]]  # weight [out, in] and bias [out], input first


def read_agent(folder: Path) -> dict[str, Tensor]:
    """One agent as `algorithms.population.agents.one_agent`'s tensors, float32, for `load_members`.

    policy.net.layers.<i>.weight [1, in, out] and .bias [1, 1, out], the last layer's outputs the mean and
    then the logarithm of the standard deviation; q.net.layers.<i>.weight [2, in, out] and .bias
    [2, 1, out], critic1 first, on observation and action in a row. UserError, in one sentence that names
    the file, where one is missing, damaged, not a state dictionary of plain finite float32 tensors, or of
    another network; nothing in a file is executed.
    """
    actor_file, *critic_files = _files(folder)
    actor = _actor_layers(actor_file)
    observation_size, widths = actor[0][0].shape[1], _widths(actor)
    inputs = observation_size + actor[-1][0].shape[0] // 2
    critics = [_layers(file, ["last_fc"]) for file in critic_files]
    for file, critic in zip(critic_files, critics, strict=True):
        found = (critic[0][0].shape[1], _widths(critic), critic[-1][0].shape[0])
        if found != (inputs, widths, 1):
            raise UserError(
                f"{file}: a network of {found[0]} inputs, hidden widths {found[1]} and {found[2]} outputs,"
                f" expected {inputs} inputs and hidden widths {widths} as its actor asks, and 1 output"
            )
    return _population_layers("policy", [actor]) | _population_layers("q", critics)


def import_agents(folder: Path, output: Path) -> list[Path]:
    """Write `agent_<k>.safetensors` to `output` for every `<dataset>_seed<k>` in `folder`, in order of k.

    The first one's actor is written once more, as `medium.safetensors`: a policy to record data from, in
    place of the authors' own dataset. The manifest says where an agent came from, with the SHA-256 of each
    file. UserError where there is no agent, where two would take one name, or as in `read_agent`; all are
    read before the first is written.
    """
    sources = _agent_folders(folder)
    agents = {seed: read_agent(source) for seed, source in sources.items()}
    for seed, tensors in agents.items():
        checkpoints.save(output / f"agent_{seed}.safetensors", tensors, _manifest(sources[seed]))
    first = next(iter(agents))
    actor = checkpoints.section(agents[first], "policy.")
    checkpoints.save(output / "medium.safetensors", actor, _manifest(sources[first]))
    return [output / f"agent_{seed}.safetensors" for seed in agents]


def _agent_folders(folder: Path) -> dict[int, Path]:
    """Return the agents' folders by seed, in its order."""
    found: dict[int, Path] = {}
    for source in folder.glob("*_seed*"):
        if match := _FOLDER_NAME.fullmatch(source.name):
            other = found.setdefault(int(match["seed"]), source)
            if other != source:
                raise UserError(
                    f"{source} has the seed of {other.name}, expected agents of one dataset in a folder"
                )
    if not found:
        raise UserError(f"{folder}: no agents found, expected folders named <dataset>_seed<number>")
    return dict(sorted(found.items()))


def _manifest(source: Path) -> dict[str, object]:
    dataset, _, seed = source.name.rpartition("_seed")
    return {
        "source": SOURCE,
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in _files(source)},
        "dataset": dataset,
        "seeds": [int(seed)],
        "step": UPDATES,
    }


def _files(folder: Path) -> list[Path]:
    """Actor and critics of one agent."""
    return [folder / f"{role}_{UPDATES}.pt" for role in ("actor", "critic1", "critic2")]


def _actor_layers(file: Path) -> _Layers:
    """Return the actor's layers, its two heads joined: mean, then log standard deviation."""
    *hidden, mean, log_std = _layers(file, ["last_fc", "last_fc_log_std"])
    return [*hidden, (torch.cat([mean[0], log_std[0]]), torch.cat([mean[1], log_std[1]]))]


def _layers(file: Path, heads: Sequence[str]) -> _Layers:
    """Read the hidden layers and then the `heads` of the network in `file`, checked to fit one another."""
    state = _state_dictionary(file)
    hidden = list(takewhile(lambda layer: f"{layer}.bias" in state, (f"fc{i}" for i in count())))
    layers = [*hidden, *heads]
    if not hidden or set(state) != {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}:
        raise UserError(
            f"{file}: holds {', '.join(map(str, state)) or 'nothing'}, expected weight and bias of fc0, fc1,"
            f" ... and {' and '.join(heads)}"
        )
    result = [(state[f"{layer}.weight"], state[f"{layer}.bias"]) for layer in layers]
    widths = [bias.numel() for _, bias in result[: len(hidden)]]
    fan_in = [result[0][0].shape[-1] if result[0][0].ndim else 0, *widths[:-1], *(widths[-1:] * len(heads))]
    fan_out = [*widths, *([result[-1][1].numel()] * len(heads))]
    for layer, (weight, bias), inputs, outputs in zip(layers, result, fan_in, fan_out, strict=True):
        if (*weight.shape, *bias.shape) != (outputs, inputs, outputs) or not weight.numel():
            raise UserError(
                f"{file}: {layer} has weight {tuple(weight.shape)} and bias {tuple(bias.shape)},"
                f" expected {(outputs, inputs)} and {(outputs,)} as its neighbours ask"
            )
    return result


def _state_dictionary(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise UserError(f"{file}: no such file, expected a network of the authors' release")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a foreign file makes of the reader has no common class
        raise UserError(
            f"{file}: not a whole PyTorch file of plain tensors, it is damaged or foreign"
            " (nothing in it was executed)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(f"{file}: holds a {type(state).__name__}, expected a dictionary of named tensors")
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.dtype != torch.float32:
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"{file}: {name} is {kind}, expected a dense tensor of float32")
        if not tensor.isfinite().all():
            raise UserError(f"{file}: {name} holds a value that is not a finite number")
    return {name: tensor.detach() for name, tensor in state.items()}


def _widths(layers: _Layers) -> list[int]:
    return [weight.shape[0] for weight, _ in layers[:-1]]


def _population_layers(prefix: str, networks: Sequence[_Layers]) -> dict[str, Tensor]:
    """Networks of one shape as a `PopulationMLP`'s state: weights [K, in, out], biases [K, 1, out]."""
    state = {}
    for index, copies in enumerate(zip(*networks, strict=True)):
        name = f"{prefix}.net.layers.{index}"
        state[f"{name}.weight"] = torch.stack([weight.T for weight, _ in copies])
        state[f"{name}.bias"] = torch.stack([bias.unsqueeze(0) for _, bias in copies])
    return state


def main() -> None:
    """Run the command line: one line for each agent written, or one sentence and exit status 2."""
    parser = argparse.ArgumentParser(description="Import the authors' released CQL agents.")
    parser.add_argument("folder", type=Path, help="folder that holds <dataset>_seed<k>/actor_1000000.pt, ...")
    parser.add_argument("output", type=Path, help="folder for agent_<k>.safetensors")
    options = parser.parse_args()
    try:
        for path in import_agents(options.folder, options.output):
            print(path)
    except UserError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
