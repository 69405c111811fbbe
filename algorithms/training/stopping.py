"""A process that is asked to end: SIGTERM, which a cluster sends some seconds before it kills."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STATUS = 128 + signal.SIGTERM
"""The exit status of a process that ended because it was asked to."""


class StopRequest:
    """A context in which SIGTERM is noted and nothing else, however often it comes.

    A cluster sends it to every process of a job, so that a job's child has it twice: from there, and from its
    parent, which has it too.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
