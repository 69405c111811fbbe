"""Disturb every training job of a small run on a real Slurm, and compare with a run without Slurm.

    python -m tests.cluster --output cluster

As root, on Debian, with the packages that `tests/cluster/one_node_slurm.sh` names and `make cluster-setup`.
That script starts a Slurm of one node. Then, by the profile that a person uses, one job after the other:

    pretrain            is cancelled (`scancel`)
    fine_tune, seed 0   reaches its time limit
    fine_tune, seed 1   sees slurmd killed and started again, and keeps on
    fine_tune, seed 2   loses its node: slurmd and all processes of the job are killed, slurmd comes back

To be struck in mid-training however fast the machine is, each is stopped (SIGSTOP) at its first checkpoint.
Nobody gives a command again: Snakemake resubmits. What the run leaves must be byte-identical to what the same
configuration leaves without Slurm. (Results name the commit: change nothing in the clone meanwhile.)
`--output` gets `cluster.json`, `cluster.md` and the logs of Snakemake and slurmctld. Exit status 1 where
something went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from algorithms.population import checkpoints
from storage.files import atomic_path, write_json
from storage.provenance import git_commit, hardware, versions
from tests.faults.__main__ import alive, differences, results_of
from workflow.code_hash import ROOT

HERE = Path(__file__).parent
RESULTS = Path("results", "cluster")
PATIENCE = 3600.0  # seconds that any one thing may take on a busy machine
SLURM = ["--workflow-profile", str(ROOT / "profiles" / "slurm")]
# One job in the queue at a time, so that a disturbance has one victim; and quick looks at the queue.
SLURM += ["--jobs", "1", "--slurm-init-seconds-before-status-checks", "3"]
SLURM += ["--seconds-between-status-checks", "3"]
TOLD = re.compile(r"submitted with SLURM|SLURM-job .* failed|Trying to restart|steps \(.*\) done")


class Victim(NamedTuple):
    """A training job at its first checkpoint, stopped."""

    process: int
    slurm_job: str
    updates: int


class Slurm:
    """The one-node Slurm in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
        }

    def script(self, command: str) -> None:
        """One command of `one_node_slurm.sh`; SystemExit where it fails, which says why."""
        if status := subprocess.run([HERE / "one_node_slurm.sh", command, self.folder]).returncode:
            sys.exit(status)

    def ask(self, *command: str) -> str:
        """What a command of Slurm answers."""
        environment = os.environ | self.environment
        return subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def running(self) -> str:
        """The number of the one job that runs."""
        return self.ask("squeue", "--noheader", "--states=RUNNING", "--format=%i")

    def state(self, job: str) -> str:
        """The state of a job, that of one which has ended too."""
        return self.ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def slurmd(self) -> int:
        """slurmd's process."""
        return int((self.folder / "run" / "slurmd.pid").read_text())


@contextmanager
def one_node(folder: Path) -> Iterator[Slurm]:
    """A Slurm that ends with the block."""
    slurm = Slurm(folder)
    slurm.script("start")
    try:
        yield slurm
    finally:
        slurm.script("stop")


class Run:
    """The configuration in a folder of its own, by the command that a person gives."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.output = folder / "output.txt"
        self.began = time.monotonic()
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]
        command += ["--configfile", HERE / "cluster.yaml", *options]
        clean = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=clean | environment, stdout=output, stderr=subprocess.STDOUT
            )

    def finish(self) -> float:
        """Wait for the end; the seconds it took. SystemExit with what it said where it failed."""
        if self.process.wait(PATIENCE):
            sys.exit(self.output.read_text())
        return time.monotonic() - self.began

    def wait(self, what: str, done: Callable[[], Any]) -> Any:
        """What `done` gives as soon as it gives something; SystemExit where the run ends before."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < end:
            if found := done():
                return found
            time.sleep(0.02)
        sys.exit(f"{what} did not come about: {self.output.read_text()}")

    def results(self) -> dict[str, bytes]:
        """Every file of the run but its state, its logs and its times."""
        return results_of(self.folder / RESULTS)

    def first_checkpoint(self, jobs: Iterable[str]) -> tuple[str, Path] | None:
        """One of `jobs` that has a checkpoint, and where it lies; None where none has."""
        for job in jobs:
            for checkpoint in (self.folder / RESULTS / "state" / job).rglob("checkpoint.safetensors"):
                return job, checkpoint
        return None

    def stop(self, checkpoint: Path, slurm: Slurm) -> Victim:
        """Stop (SIGSTOP) the process that writes `checkpoint`."""
        process = int((checkpoint.parent / ".lock").read_text())
        os.kill(process, signal.SIGSTOP)
        return Victim(process, slurm.running(), updates_of(checkpoint))

    def began_at(self, job: str) -> int:
        """The update at which the last attempt of a job began, by the first progress line of its log."""
        log = self.folder / RESULTS / "logs" / f"{job}.log"
        found = re.search(r"\| (\d+)/", log.read_text())
        return int(found[1]) if found else -1


def updates_of(checkpoint: Path) -> int:
    """How many updates a checkpoint holds."""
    manifest = checkpoints.load(checkpoint)[1]
    return int(manifest.get("updates", manifest["step"]))


def cancel(_run: Run, slurm: Slurm, victim: Victim) -> None:
    """`scancel`, as a person or an administrator gives it."""
    slurm.ask("scancel", victim.slurm_job)


def reach_time_limit(run: Run, slurm: Slurm, victim: Victim) -> None:
    """One minute for the job, and it takes longer."""
    slurm.ask("scontrol", "update", f"JobId={victim.slurm_job}", "TimeLimit=1")
    run.wait("the time limit", lambda: slurm.state(victim.slurm_job) == "TIMEOUT")


def restart_slurmd(_run: Run, slurm: Slurm, victim: Victim) -> None:
    """slurmd dies and is started again while the job works."""
    kill(slurm.slurmd())
    os.kill(victim.process, signal.SIGCONT)
    slurm.script("slurmd")


def lose_node(run: Run, slurm: Slurm, victim: Victim) -> None:
    """A power cut: slurmd, the job's step daemons and its processes are gone at once; the node comes back."""
    slurmd = slurm.slurmd()
    for process in [slurmd, *processes_of(victim.slurm_job, run.folder)]:
        kill(process)
    slurm.script("slurmd")


def kill(process: int) -> None:
    """SIGKILL, and wait for the end."""
    with suppress(ProcessLookupError):  # one may end with another
        os.kill(process, signal.SIGKILL)
    while alive(process):
        time.sleep(0.02)


def processes_of(slurm_job: str, folder: Path) -> list[int]:
    """The step daemons of a Slurm job, which `folder` belongs to, and after them what they started."""
    own = f"SLURM_JOB_ID={slurm_job}".encode()
    members, daemons = [], set()
    for process in Path("/proc").iterdir():
        try:
            ours = process.name.isdecimal() and (process / "cwd").readlink() == folder
            if ours and own in (process / "environ").read_bytes().split(b"\0"):
                members.append(int(process.name))
                daemons.add(int((process / "stat").read_text().rpartition(")")[2].split()[1]))
        except OSError:
            continue
    daemons = {process for process in daemons if _name(process) == "slurmstepd"}
    return [*daemons, *members]


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


DATASET = "inverted-double-pendulum-random"
DISTURBANCES: dict[str, Callable[[Run, Slurm, Victim], None]] = {
    f"train/{DATASET}/cql/agents_0-2": cancel,
    f"train/{DATASET}/off2on/seeds_0": reach_time_limit,
    f"train/{DATASET}/off2on/seeds_1": restart_slurmd,
    f"train/{DATASET}/off2on/seeds_2": lose_node,
}
"""Jobs, as their states are named, and what befalls each."""
SURVIVED = (restart_slurmd,)


def disturbed(run: Run, slurm: Slurm) -> list[dict[str, Any]]:
    """Disturb each training job once, in the order in which they come; what happened to each."""
    happened = []
    waiting = dict(DISTURBANCES)
    while waiting:
        job, checkpoint = run.wait(
            "the next training job's checkpoint", lambda: run.first_checkpoint(waiting)
        )
        victim = run.stop(checkpoint, slurm)
        disturb = waiting.pop(job)
        began = time.monotonic()
        disturb(run, slurm, victim)
        happened.append(
            {
                "job": job,
                "what": disturb.__name__,
                "slurm_job": victim.slurm_job,
                "saved_updates": victim.updates,
                "took_s": round(time.monotonic() - began, 1),
            }
        )
        print(json.dumps(happened[-1]), flush=True)
    return happened


def outcome(run: Run, slurm: Slurm, entry: dict[str, Any]) -> dict[str, Any]:
    """How a disturbed job's first submission ended, and from which update its last attempt went on."""
    survived = entry["what"] in {survivor.__name__ for survivor in SURVIVED}
    state, began = slurm.state(entry["slurm_job"]), run.began_at(entry["job"])
    expected = state == "COMPLETED" and began == 0 if survived else began >= entry["saved_updates"]
    return {**entry, "state": state, "last_attempt_began_at": began, "as_expected": expected}


def report(document: dict[str, Any]) -> str:
    """The document for people."""
    lines = [
        "# One-node Slurm, every training job disturbed",
        "",
        f"`{document['command']}`, commit {document['commit']}, {document['hardware']['cpu']},"
        f" {document['slurm']}.",
        "",
        f"Without Slurm {document['local_s']:.0f} s, with Slurm and disturbances {document['slurm_s']:.0f} s."
        f" {document['files']} files of results compared:"
        f" {', '.join(document['different']) + ' differ' if document['different'] else 'byte-identical'}.",
        "",
        "| job | what happened | saved updates | Slurm's state | last attempt began at | as expected |",
        "|---|---|---|---|---|---|",
    ]
    for entry in document["disturbances"]:
        keys = ("job", "what", "saved_updates", "state", "last_attempt_began_at", "as_expected")
        lines.append(f"| {' | '.join(str(entry[key]) for key in keys)} |")
    return "\n".join([*lines, "", "```", *document["told"], "```", ""])


def told(text: str) -> list[str]:
    """What Snakemake said of submissions, failures and progress, without the names of places."""
    lines = [line.strip() for line in text.splitlines() if TOLD.search(line)]
    return [re.sub(r"( with SLURM jobid \d+| status is: '\w+').*", r"\1", line) for line in lines]


def main() -> int:
    """Run without Slurm and with it, disturb, compare, report."""
    parser = argparse.ArgumentParser(description="Disturb a small reproduction on a one-node Slurm.")
    parser.add_argument("--output", type=Path, required=True, help="folder for cluster.json and cluster.md")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="off2on-cluster-")).resolve()
    place.chmod(0o755)  # munged trusts no socket in a folder that others cannot enter
    with one_node(place / "slurm") as slurm:
        local = Run(place / "local", "--cores", "1")
        local_s = local.finish()
        run = Run(place / "run", *SLURM, **slurm.environment)
        try:
            disturbances = disturbed(run, slurm)
            slurm_s = run.finish()
        finally:
            run.process.terminate()
        disturbances = [outcome(run, slurm, entry) for entry in disturbances]
        version = slurm.ask("sinfo", "--version")
    expected = local.results()
    document = {
        "command": "python -m tests.cluster",
        "commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "slurm": version,
        "local_s": local_s,
        "slurm_s": slurm_s,
        "disturbances": disturbances,
        "files": len(expected),
        "different": differences(run.results(), expected),
        "told": told(run.output.read_text()),
    }
    write_json(options.output / "cluster.json", document)
    with atomic_path(options.output / "cluster.md") as temporary:
        temporary.write_text(report(document), encoding="utf-8")
    shutil.copyfile(place / "slurm" / "log" / "slurmctld.log", options.output / "slurmctld.log")
    shutil.copyfile(run.output, options.output / "snakemake.log")
    print(report(document))
    well = not document["different"] and all(entry["as_expected"] for entry in disturbances)
    if well:
        shutil.rmtree(place)
    else:
        print(f"what the runs left is in {place}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
