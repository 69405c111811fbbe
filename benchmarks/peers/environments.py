"""Environments of their own for peers whose pins conflict with the suite's, made on first use.

    python -m benchmarks.peers.environments

makes them beforehand. d3rlpy 2.8 pins gymnasium 1.0, the suite 1.4. What is installed stands in
`<peer>.lock` with its hashes; torch is the very build that runs the suite, so that only the code differs.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from storage import UserError

LOCKS = Path(__file__).parent
ENVIRONMENTS = LOCKS.parent / ".environments"
PEERS = ("d3rlpy",)


def python_of(peer: str, locks: Path = LOCKS, environments: Path = ENVIRONMENTS) -> Path:
    """The Python that has `peer`, installed from its lock if that has not been done.

    Raises:
        UserError: it could not be installed; nothing of it remains.
    """
    lock, torch = locks / f"{peer}.lock", f"torch=={version('torch')}"
    name = hashlib.sha256(lock.read_bytes() + torch.encode()).hexdigest()[:12]
    folder = environments / f"{peer}-{name}"
    python = folder / "bin" / "python"
    installed = folder / "installed"
    if installed.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    print(f"Installing {peer} in an environment of its own (a minute or two, this once) ...", flush=True)
    try:
        venv.create(folder, with_pip=True)
        _install(python, peer, "--require-hashes", "--requirement", str(lock))
        _install(python, peer, torch)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    installed.touch()
    return python


def _install(python: Path, peer: str, *arguments: str) -> None:
    # The lock is complete but for torch, which a peer would ask for.
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    finished = subprocess.run([*pip, *arguments], capture_output=True, text=True)
    if finished.returncode:
        lines = finished.stderr.strip().splitlines() or [f"pip ended with {finished.returncode}"]
        said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise UserError(f"{peer} could not be installed: {(said or lines)[-1]}")


if __name__ == "__main__":
    try:
        for _peer in PEERS:
            print(python_of(_peer))
    except UserError as error:
        sys.exit(str(error))
