"""Kill a whole reproduction at random moments, again and again, and see that nothing is lost.

    python -m tests.faults --kills 54 --seed 0 --output faults

A very small configuration runs once undisturbed. Then it runs in fresh folders, round after round: in every
stage of a round (dataset, pre-training, fine-tuning, statistics, figure) the job, Snakemake, or both are
killed (`kill -9`) at a moment drawn at random within the stage, and the same command is given again at once.
A round ends when the command ends; what it left must be byte-identical to the undisturbed run. At the end the
undisturbed run's clock is set: its files are dated to the future and to the past, and the command is given
again. `--output` gets `faults.json` and `faults.md`: every kill with what it cost, and every outcome. Linux
alone, for /proc. Exit status 1 where something went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from safetensors import safe_open

from records.files import atomic_path, write_json
from records.provenance import git_commit, hardware, versions
from workflow.sources import ROOT

DATASET = "inverted-double-pendulum-random"
INTERVAL = 50  # updates between two checkpoints, in pre-training and in fine-tuning
SIZES = {"hidden_widths": [16], "batch_size": 16}
ONLINE = {"steps": 300, "block_size": INTERVAL, "first_block_multiplier": 1, "evaluation_episodes": 1}
ONLINE |= {"evaluation_interval": 100, "checkpoint_interval": INTERVAL}
OFFLINE = {"updates": 600, "evaluation_interval": 200, "evaluation_episodes": 1}
CONFIGURATION: dict[str, Any] = {
    "name": "faults",
    "demonstration": True,
    "datasets": {
        DATASET: {
            "environment": "InvertedDoublePendulum-v4",
            "recipe": "random",
            "transitions": 4000,
            "copies": 4,
            "seed": 1,
            "pretrained": "train",
        }
    },
    "pretraining": {
        "agents": 2,
        "agents_per_job": 2,
        "schedule": {**OFFLINE, "checkpoint_interval": INTERVAL},
        "methods": {"cql": {"config": {**SIZES, "sampled_actions": 2}}},
    },
    "fine_tuning": {
        "seeds": [0],
        "seeds_per_job": 1,
        "ensemble_size": 2,
        "members_shared": False,
        "schedule": ONLINE,
        "methods": {
            "off2on": {"config": {**SIZES, "density_hidden_widths": [16], "density_batch_size": 16}},
        },
    },
    "statistics": {"repetitions": 20},
    "figures": ["learning_curves"],
}
UPDATES = {"pretrain": OFFLINE["updates"], "fine_tune": ONLINE["steps"]}
"""What a training job makes: there a kill comes after a drawn number of updates, elsewhere after a time."""
STAGES = ("record", "pretrain", "fine_tune", "statistics", "figure")
TARGETS = ("job", "workflow", "both")
PATIENCE = 600.0  # seconds that any one thing may take on a busy machine
NOT_RESULTS = ("state", "logs", "benchmarks", ".lock")


class Folder:
    """A working directory with the configuration in it, and the command that a person gives there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "counts").mkdir(parents=True)
        (path / "faults.yaml").write_text(yaml.safe_dump(CONFIGURATION))

    def start(self) -> subprocess.Popen[bytes]:
        """The command, its output in `output.txt`."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
        environment = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "counting"), str(ROOT)])
        environment["OFF2ON_COUNTS"] = str(self.path / "counts")
        with (self.path / "output.txt").open("wb") as output:
            return subprocess.Popen(
                [*command, "--configfile", "faults.yaml"],
                cwd=self.path,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self, workflow: subprocess.Popen[bytes]) -> str:
        """What `workflow` had to say where it failed; empty where it ended well."""
        status = workflow.wait(PATIENCE)
        return "" if status == 0 else (self.path / "output.txt").read_text()[-2000:]

    def results(self) -> dict[str, bytes]:
        """Every file of the run but its state, its logs and its times."""
        root = self.path / "results" / "faults"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and path.relative_to(root).parts[0] not in NOT_RESULTS
        }

    def duration(self, stage: str) -> float:
        """Seconds that the first job of a stage took."""
        place = "figures" if stage == "figure" else stage
        files = sorted((self.path / "results" / "faults" / "benchmarks").rglob(f"{place}*.jsonl"))
        files += sorted((self.path / "results" / "faults" / "benchmarks" / place).glob("*.jsonl"))
        return float(json.loads(files[0].read_text().splitlines()[0])["s"])

    def saved(self, job: int) -> int | None:
        """How many updates the checkpoint in the state folder of `job` holds; None where it has no state."""
        for lock in (self.path / "results" / "faults").glob("state/**/.lock"):
            if lock.read_text().strip() == str(job):
                return _updates(lock.with_name("checkpoint.safetensors"))
        return None

    def made(self, job: int) -> int:
        """How many updates the process `job` made."""
        counter = self.path / "counts" / str(job)
        return counter.stat().st_size if counter.exists() else 0


def _updates(checkpoint: Path) -> int:
    if not checkpoint.exists():
        return 0
    with safe_open(checkpoint, framework="numpy") as file:
        manifest = json.loads(file.metadata()["checkpoint"].partition(" ")[2])
    return int(manifest.get("updates", manifest["step"]))


def job_of(stage: str, workflow: subprocess.Popen[bytes]) -> int | None:
    """The process of a stage that this Snakemake started; None where Snakemake ends without one."""
    wanted = [b"-m", f"workflow.steps.{stage}".encode()]
    parent = f"OFF2ON_PARENT={workflow.pid}".encode()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and workflow.poll() is None:
        for process in Path("/proc").iterdir():
            if process.name.isdecimal():
                try:
                    found = (process / "cmdline").read_bytes().split(b"\0")[1:3] == wanted
                    if found and parent in (process / "environ").read_bytes().split(b"\0"):
                        return int(process.name)
                except OSError:
                    continue
        time.sleep(0.02)
    return None


def alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(target: str, job: int, workflow: subprocess.Popen[bytes]) -> bool:
    """SIGKILL to one of `TARGETS`, as far as it is still there; whether the job was hit at work."""
    if not alive(job):
        return False
    if target in ("workflow", "both"):
        workflow.kill()
    if target in ("job", "both"):
        try:
            os.kill(job, signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


def disturbed_round(
    folder: Folder, stages: list[str], durations: dict[str, float], random_: random.Random
) -> dict[str, Any]:
    """One run that is killed once in each of `stages`: its kills, and what it said if it failed at last."""
    kills = []
    workflow = folder.start()
    for stage in stages:
        target, delay = random_.choice(TARGETS), random_.uniform(0, durations[stage])
        updates = random_.randrange(UPDATES.get(stage, 1))
        job = job_of(stage, workflow)
        before = _saved_anywhere(folder, stage)
        if stage in UPDATES and job is not None:
            delay = random_.uniform(0, 0.1)
            while folder.made(job) < updates and alive(job):
                time.sleep(0.01)
        time.sleep(delay)
        hit = job is not None and kill(target, job, workflow)
        entry: dict[str, Any] = {"stage": stage, "target": target, "delay_s": round(delay, 3), "hit": hit}
        if stage in UPDATES:
            entry["after_updates"] = updates
        if hit:
            workflow.wait(PATIENCE)
            workflow = folder.start()
        if hit and job is not None:
            end = time.monotonic() + PATIENCE
            while alive(job) and time.monotonic() < end:
                time.sleep(0.05)
            saved = folder.saved(job)
            if saved is not None:
                lost = before + folder.made(job) - saved
                entry |= {
                    "updates_saved": saved,
                    "updates_lost": lost,
                    "within_an_interval": lost <= INTERVAL,
                }
        kills.append(entry)
        print(json.dumps(entry), flush=True)
    failure = folder.finish(workflow)
    if "is already being written by another run" in failure:  # one sentence; the same command again
        failure = folder.finish(folder.start())
    return {"kills": kills, "failure": failure}


def _saved_anywhere(folder: Folder, stage: str) -> int:
    checkpoints = (folder.path / "results" / "faults" / "state" / stage).rglob("checkpoint.safetensors")
    return max((_updates(path) for path in checkpoints), default=0)


def clock_set(folder: Folder, expected: dict[str, bytes]) -> list[dict[str, Any]]:
    """The command again in a finished folder, after files of one stage were dated to another day."""
    outcomes = []
    for place, days in (("datasets", 1), ("curves", -400), ("agents", 400)):
        when = time.time() + 86_400 * days
        for path in (folder.path / "results" / "faults" / place).rglob("*"):
            os.utime(path, (when, when))
        failure = folder.finish(folder.start())
        different = differences(folder.results(), expected)
        outcomes.append({"place": place, "days": days, "different": different, "failure": failure})
        print(json.dumps(outcomes[-1]), flush=True)
    return outcomes


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names that only one of two runs has, or that differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def report(document: dict[str, Any]) -> str:
    """The document for people."""
    kills = [k for r in document["rounds"] for k in r["kills"] if k["hit"]]
    count = Counter((k["stage"], k["target"]) for k in kills)
    losses = [k["updates_lost"] for k in kills if "updates_lost" in k]
    lines = [
        "# Kills at random moments",
        "",
        f"`{document['command']}`, commit {document['commit']}, {document['hardware']['cpu']}.",
        "",
        f"{len(kills)} kills in {len(document['rounds'])} rounds; {document['missed']} came after the job had"
        f" ended and do not count. Rounds that ended byte-identical to the undisturbed run:"
        f" {sum(r['identical'] for r in document['rounds'])} of {len(document['rounds'])}.",
        f"Work lost by a kill in training: at most {max(losses, default=0)} updates, where a checkpoint is"
        f" written every {INTERVAL} ({len(losses)} kills).",
        "",
        f"| stage | {' | '.join(TARGETS)} |",
        f"|---|{'---|' * len(TARGETS)}",
        *(f"| {stage} | {' | '.join(str(count[stage, target]) for target in TARGETS)} |" for stage in STAGES),
    ]
    lines += ["", "Files dated to another day, and the command again:", ""]
    lines += [
        f"- {c['place']}, {c['days']:+} days: {c['different'] or c['failure'] or 'byte-identical'}"
        for c in document["clock"]
    ]
    for number, round_ in enumerate(document["rounds"]):
        if not round_["identical"]:
            lines += ["", f"Round {number} went wrong: {round_['different'] or round_['failure']}"]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, kill, compare, report."""
    parser = argparse.ArgumentParser(description="Kill a small reproduction at random moments.")
    parser.add_argument("--kills", type=int, default=54, help="at least so many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder for faults.json and faults.md")
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="off2on-faults-"))
    undisturbed = Folder(place / "undisturbed")
    if failure := undisturbed.finish(undisturbed.start()):
        sys.exit(failure)
    expected, durations = undisturbed.results(), {stage: undisturbed.duration(stage) for stage in STAGES}
    rounds: list[dict[str, Any]] = []
    hits = 0
    while hits < options.kills:
        folder = Folder(place / "round")
        stages = list(STAGES)[: max(1, options.kills - hits)]
        result = disturbed_round(folder, stages, durations, random_)
        different = differences(folder.results(), expected)
        lossless = all(k.get("within_an_interval", True) for k in result["kills"])
        rounds.append(
            {**result, "different": different, "identical": not different and not result["failure"]}
        )
        hits += sum(k["hit"] for k in result["kills"])
        print(f"round {len(rounds)}: {hits} kills, different: {different or 'nothing'}", flush=True)
        if different or result["failure"] or not lossless:
            print(f"what it left is in {folder.path}", flush=True)
            break
        shutil.rmtree(folder.path)
    clock = clock_set(undisturbed, expected)
    document = {
        "command": f"python -m tests.faults --kills {options.kills} --seed {options.seed}",
        "commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "seed": options.seed,
        "checkpoint_interval": INTERVAL,
        "durations_s": durations,
        "missed": sum(not k["hit"] for r in rounds for k in r["kills"]),
        "rounds": rounds,
        "clock": clock,
    }
    write_json(options.output / "faults.json", document)
    with atomic_path(options.output / "faults.md") as temporary:
        temporary.write_text(report(document), encoding="utf-8")
    print(report(document))
    whole = all(r["identical"] and all(k.get("within_an_interval", True) for k in r["kills"]) for r in rounds)
    whole = whole and not any(c["different"] or c["failure"] for c in clock)
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
