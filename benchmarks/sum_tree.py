"""Time one prioritised draw and update: our wide sum tree beside a plain binary one, in one run.

    python -m benchmarks.sum_tree --output sum_tree.json

The peer is the usual binary tree in numpy, restated: every level is one step of a loop, all draws of a
batch at once. Both hold the same priorities, get the same fractions, and take turns, on one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.replay.sum_tree import SumTree


class BinaryTree:
    """Float64 sums in a heap-ordered array: node n has the children 2n and 2n + 1."""

    def __init__(self, leaves: int) -> None:
        self.depth = (leaves - 1).bit_length()
        self.first_leaf = 2**self.depth
        self.nodes = np.zeros(2 * self.first_leaf)

    def fill(self, priorities: NDArray[np.float64]) -> None:
        """Give the first leaves these priorities."""
        self.nodes[self.first_leaf : self.first_leaf + len(priorities)] = priorities
        for level in reversed(range(self.depth)):
            first = 2**level
            self.nodes[first : 2 * first] = self.nodes[2 * first : 4 * first].reshape(-1, 2).sum(axis=1)

    def set(self, indices: NDArray[np.int64], priorities: NDArray[np.float64]) -> None:
        """Write leaves and the sums above them."""
        node = indices + self.first_leaf
        self.nodes[node] = priorities
        for _ in range(self.depth):
            node = node // 2
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def sample(self, fractions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Walk down from the root, left or right."""
        rest = fractions * self.nodes[1]
        node = np.ones(len(fractions), dtype=np.int64)
        for _ in range(self.depth):
            node = 2 * node
            left = self.nodes[node]
            right = rest >= left
            rest = np.where(right, rest - left, rest)
            node = node + right
        leaves: NDArray[np.int64] = node - self.first_leaf
        return leaves


def measure(leaves: int, draws: int, repetitions: int, branching: int) -> dict[str, float]:
    """Median microseconds of a stratified draw and of the update of what it drew."""
    generator = np.random.default_rng(0)
    priorities = generator.uniform(0.001, 3.0, leaves)
    ours = SumTree(1, leaves, branching)
    peer = BinaryTree(leaves)
    ours.set(torch.arange(leaves).unsqueeze(0), torch.from_numpy(priorities).unsqueeze(0))
    peer.fill(priorities)

    times: dict[str, list[float]] = {name: [] for name in ("sample", "set", "peer_sample", "peer_set")}
    for _ in range(repetitions):
        fractions = (np.arange(draws) + generator.random(draws)) / draws
        # A priority is a function of the leaf, so that a leaf drawn twice carries one value.
        moved = torch.from_numpy(fractions).unsqueeze(0)
        start = time.perf_counter()
        indices = ours.sample(moved)
        times["sample"].append(time.perf_counter() - start)
        weights = 0.001 + (indices % 997).to(torch.float32) / 300
        start = time.perf_counter()
        ours.set(indices, weights)
        times["set"].append(time.perf_counter() - start)

        start = time.perf_counter()
        peer_indices = peer.sample(fractions)
        times["peer_sample"].append(time.perf_counter() - start)
        peer_weights = 0.001 + (peer_indices % 997).astype(np.float32) / 300
        start = time.perf_counter()
        peer.set(peer_indices, peer_weights)
        times["peer_set"].append(time.perf_counter() - start)
    return {name: float(np.median(values)) * 1e6 for name, values in times.items()}


def main() -> None:
    """Measure, print a line for each branching, write everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--leaves", type=int, default=1_250_000)
    parser.add_argument("--draws", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--branching", type=int, nargs="+", default=[32, 8, 16, 64, 128, 1024])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    results = []
    for branching in arguments.branching:
        result = measure(arguments.leaves, arguments.draws, arguments.repetitions, branching)
        both, peer = result["sample"] + result["set"], result["peer_sample"] + result["peer_set"]
        results.append({"branching": branching, **result, "total": both, "ratio": peer / both})
        print(
            f"branching {branching:5d}: sample {result['sample']:6.0f} us + set {result['set']:6.0f} us"
            f" = {both:6.0f} us, binary tree {peer:6.0f} us, {peer / both:.1f} times as long"
        )
    if arguments.output:
        sizes = {name: getattr(arguments, name) for name in ("leaves", "draws", "repetitions")}
        document = {**sizes, "unit": "microseconds, medians", "results": results}
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
