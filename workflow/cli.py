"""What every step's command line shares: arguments, log file, errors in one sentence, a clean end."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from storage import UserError
from storage.files import is_alive

REFUSED = 2
"""Exit status where a person has to fix something; the log's last line says what."""
STOPPED = "The job was asked to end (SIGTERM); training goes on from its last checkpoint."
FIXED = "when it is fixed, "
"""When the same command goes on, unless nothing is to be mended."""

Json = Mapping[str, Any]

PARENT = "OFF2ON_PARENT"
FAILURES = "OFF2ON_FAILURES"
"""The variables that name the Snakemake that started a step, and the file for the last words of failures."""
_BAR_INTERVAL = 30.0  # seconds between a progress bar's lines in a log


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with what every step has: --log."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--log", type=Path, help="also write messages and progress to this file")
    return result


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object on a command line, as a `type` of argparse."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return value


def run(step: Callable[[argparse.Namespace], None], command: argparse.ArgumentParser) -> NoReturn:
    """Parse, run `step` and exit: 0, or 2 with one sentence where a person has to fix something.

    SIGTERM and Ctrl-C end the step as an exception would, so that nothing half-written stays.
    """
    options = command.parse_args()
    signal.signal(signal.SIGTERM, _terminate)
    _end_with_parent()
    try:
        messages = _Messages(sys.stderr, options.log)
    except OSError as error:
        reason = error.strerror or error
        print(f"{Path(sys.argv[0]).stem}: {options.log} could not be written: {reason}", file=sys.stderr)
        sys.exit(REFUSED)
    with messages:
        sys.stderr = messages
        messages.note(shlex.join(sys.orig_argv))
        try:
            step(options)
        except UserError as error:
            _tell(str(error), messages, options.log)
            status = REFUSED
        except KeyboardInterrupt:
            status = 128 + signal.SIGINT
        except SystemExit as end:
            if end.code == 128 + signal.SIGTERM:
                _tell(STOPPED, messages, options.log, when="")
            raise
        except Exception as error:
            if lacking := _lacking_memory(error):
                _tell(lacking, messages, options.log)
                sys.exit(REFUSED)
            # Written here, while the log is still open.
            traceback.print_exc(file=messages)
            _leave(f"{traceback.format_exc(limit=0).strip()} (a defect of the suite)", options.log)
            status = 1
        else:
            status = 0
        finally:
            sys.stderr = messages.terminal
    sys.exit(status)


def _lacking_memory(error: Exception) -> str | None:
    """Say in one sentence that memory did not do, where Python, NumPy or PyTorch said so."""
    said = str(error).strip().partition("\n")[0]
    known = ("out of memory", "can't allocate memory", "Unable to allocate")
    if not isinstance(error, MemoryError) and not any(words in said for words in known):
        return None
    return (
        f"The memory is not enough ({said or 'MemoryError'}): expected more, or fewer agents in a job"
        " (agents_per_job, seeds_per_job)."
    )


def _tell(sentence: str, messages: _Messages, log: Path | None, when: str = FIXED) -> None:
    """Say what ended this step, here and in Snakemake's closing words."""
    print(f"{Path(sys.argv[0]).stem}: {sentence}", file=messages)
    _leave(sentence, log, when)


def _leave(sentence: str, log: Path | None, when: str = FIXED) -> None:
    """Add what ended this step to the file that Snakemake's closing words are taken from, if there is one."""
    if file := os.environ.get(FAILURES):
        with suppress(OSError), open(file, "a", encoding="utf-8") as failures:
            failures.write(f"{sentence}\n  log: {log}; {when}the same command goes on\n")


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End when the Snakemake that started this step is killed: an orphan would go on writing unseen."""
    parent = int(os.environ.get(PARENT, 0))
    if not parent:
        return

    def watch() -> None:
        while is_alive(parent):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


class _Messages:
    """Standard error and a log: a progress bar moves on a terminal and is a line now and then in the log."""

    def __init__(self, terminal: TextIO, log: Path | None) -> None:
        self.terminal = terminal
        self._bars = terminal.isatty()
        self._log: TextIO | None = None
        self._log_path = log
        self._bar = ""
        self._last = 0.0
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("w", encoding="utf-8", buffering=1)

    def __enter__(self) -> _Messages:
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            with suppress(OSError):
                self._log.close()

    def write(self, text: str) -> int:
        """Pass `text` on; a carriage return marks a progress bar, which the next one overwrites."""
        if text.startswith("\r"):
            self._progress(text)
        elif text == "\n" and self._bar:
            self.note(self._bar)  # a bar's last state
            self._bar = ""
            if self._bars:
                self.terminal.write(text)
        else:
            self.terminal.write(text)
            self._record(text)
        return len(text)

    def note(self, line: str) -> None:
        """Write a line to the log alone."""
        self._record(line + "\n")

    def _record(self, text: str) -> None:
        """Write to the log; a disk that refuses ends the log and not the job, whose results it may take."""
        try:
            if self._log is not None:
                self._log.write(text)
        except OSError as error:
            self.terminal.write(f"{self._log_path} ends here: {error.strerror or error}\n")
            self._log = None

    def flush(self) -> None:
        """Flush the terminal; the log is flushed a line at a time."""
        self.terminal.flush()

    def close(self) -> None:
        """Leave the terminal open: libraries close at exit what they found as standard error."""

    def isatty(self) -> bool:
        """Whether a person is watching."""
        return self._bars

    def _progress(self, text: str) -> None:
        if self._bars:
            self.terminal.write(text)
        self._bar = text.strip()
        if time.monotonic() - self._last >= _BAR_INTERVAL:
            self.note(self._bar)
            self._last = time.monotonic()

    @property
    def encoding(self) -> str:
        """tqdm asks, to choose its bar's characters."""
        return self.terminal.encoding

    def fileno(self) -> int:
        """Return the terminal's: tqdm asks for its width."""
        return self.terminal.fileno()
