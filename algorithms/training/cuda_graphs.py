"""Updates one after the other: each launched by itself, or on a GPU captured in blocks as CUDA graphs.

A GPU ends most operations of an update sooner than Python starts the next. A captured block is launched
whole, and the host reads what it measured while the next one runs. Capturing asks of an update that it reads
and writes tensors which stay where they are, draws from registered generators and never asks the host for a
number; what the host counts between updates, it must not depend on, but for where it is in a method's period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from algorithms.methods.interface import Metrics
from algorithms.population.streams import Streams

WARM_UP = 3
"""Updates launched by themselves before a capture: libraries take their workspace, Adam makes its moments."""

Update = Callable[[], Metrics]
Enough = Callable[[], bool]


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

    def launch(self) -> None:
        """Begin to make the updates."""
        self._graph.replay()

    def metrics(self) -> list[Metrics]:
        """Wait for the updates of the last launch; the metrics of each, on the host."""
        return [dict(zip(self._names, row, strict=True)) for row in self._values.cpu()]


class Updates:
    """Updates of a training loop, one by one or in captured blocks."""

    def __init__(self, update: Update, streams: Sequence[Streams], per_graph: int) -> None:
        """`update` makes one and draws from `streams`; `per_graph` of them are captured together, if any."""
        self._update, self._streams, self._per_graph = update, streams, per_graph
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was captured: from here on an update is another one."""
        self._block: Block | None = None
        self._warm = 0

    def make(
        self, count: int, enough: Enough = lambda: False, *, made: int = 0, period: int = 1
    ) -> Iterator[Metrics]:
        """Make `count` updates, alike but for their numbers; the metrics of each. [G] each

        None is begun once `enough` says so; those that are begun are handed out. Where only every `period`th
        update is alike, blocks have whole periods, each from a multiple of them on; `made` were made before.
        """
        size = math.ceil(self._per_graph / period) * period
        alone = max(0, WARM_UP - self._warm)
        alone = min(count, alone + -(made + alone) % period) if size else count
        blocks = (count - alone) // size if size else 0
        yield from self._one_by_one(alone, enough)
        yield from self._in_blocks(blocks, size, enough)
        yield from self._one_by_one(count - alone - blocks * size, enough)

    def _one_by_one(self, count: int, enough: Enough) -> Iterator[Metrics]:
        for _ in range(count):
            if enough():
                return
            self._warm += 1
            yield self._update()

    def _in_blocks(self, count: int, size: int, enough: Enough) -> Iterator[Metrics]:
        """Each block's metrics are handed out while the device makes the next."""
        if not count or enough():
            return
        if self._block is None:
            self._block = Block(self._update, size, self._streams)
        block = self._block
        block.launch()
        for left in reversed(range(count)):
            metrics = block.metrics()
            ended = not left or enough()
            if not ended:
                block.launch()
            yield from metrics
            if ended:
                return
