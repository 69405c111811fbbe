"""Updates one after the other: each launched by itself, or on a GPU captured in blocks as CUDA graphs.

A GPU ends most operations of an update sooner than Python starts the next. A captured block is launched
whole, and the host hears of it once, when it is over. Capturing asks of an update that it reads and writes
tensors which stay where they are, draws from registered generators and never asks the host for a number;
what the host counts between updates, it must not depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from algorithms.agents import Metrics
from algorithms.randomness import Streams

WARM_UP = 3
"""Updates launched by themselves before a capture: libraries take their workspace, Adam makes its moments."""

Update = Callable[[], Metrics]


class Block:
    """`count` updates captured as one CUDA graph. They are not made until it is replayed."""

    def __init__(self, update: Update, count: int, streams: Sequence[Streams]) -> None:
        """`streams` are all that the updates draw from. RuntimeError where an update cannot be captured."""
        self._graph = torch.cuda.CUDAGraph()
        for stream in streams:
            stream.register(self._graph)
        with torch.cuda.graph(self._graph):
            metrics = [update() for _ in range(count)]
            self._names = list(metrics[0])
            rows = [torch.stack([one[name] for name in self._names]) for one in metrics]
            self._values = torch.stack(rows)

    def replay(self) -> list[Metrics]:
        """Make the updates; the metrics of each, on the host."""
        self._graph.replay()
        return [dict(zip(self._names, row, strict=True)) for row in self._values.cpu()]


class Updates:
    """What a training loop makes its updates with."""

    def __init__(self, update: Update, streams: Sequence[Streams], per_graph: int) -> None:
        """`update` makes one and draws from `streams`; `per_graph` of them are captured together, if any."""
        self._update, self._streams, self._per_graph = update, streams, per_graph
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was captured: from here on an update is another one."""
        self._block: Block | None = None
        self._warm = 0

    def make(self, count: int) -> Iterator[Metrics]:
        """Make `count` updates, alike but for their numbers; the metrics of each. [G] each"""
        while count > 0:
            if not self._per_graph or count < self._per_graph or self._warm < WARM_UP:
                yield self._update()
                self._warm += 1
                count -= 1
                continue
            if self._block is None:
                self._block = Block(self._update, self._per_graph, self._streams)
            yield from self._block.replay()
            count -= self._per_graph
