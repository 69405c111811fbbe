"""Kill a whole reproduction at random moments, again and again, and see that nothing is lost.

    python -m tests.faults --kills 54 --seed 0 --output results/faults

A very small configuration runs once undisturbed. Then it runs in fresh folders, round after round: in every
stage of a round (dataset, pre-training, fine-tuning, statistics, figure) the job, Snakemake, and both are
killed (`kill -9`), one after another in a drawn order, each at a moment drawn at random within the life of
the job, its start-up included; after each kill the same command is given again at once. A round ends when the
command ends; what it left must be byte-identical to the undisturbed run. At the end the undisturbed run's
clock is set: its files are dated to the future and to the past, and the command is given again.

A moment is counted in the job's own processor time or in the updates that it made, so that a busy machine
draws the same ones. `--output` gets `faults.json` and `faults.md` after every round: each kill with what it
cost, and each outcome. The same command again goes on after the last whole round; what runs lies in `work`
there. Linux alone, for /proc. Exit status 1 where something went wrong.
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
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from safetensors import safe_open

from storage.files import atomic_path, read_json, write_json
from storage.provenance import git_commit, hardware, versions
from workflow.code_hash import ROOT

DATASET = "inverted-double-pendulum-random"
INTERVAL = 25  # updates between two checkpoints, in pre-training and in fine-tuning
SIZES = {"hidden_widths": [16], "batch_size": 16}
ONLINE = {"steps": 150, "block_size": INTERVAL, "first_block_multiplier": 1, "evaluation_episodes": 1}
ONLINE |= {"evaluation_interval": 75, "checkpoint_interval": INTERVAL}
OFFLINE = {"updates": 300, "evaluation_interval": 150, "evaluation_episodes": 1}
CONFIGURATION: dict[str, Any] = {
    "name": "faults",
    "demonstration": True,
    "datasets": {
        DATASET: {
            "environment": "InvertedDoublePendulum-v4",
            "recipe": "random",
            "transitions": 1000,
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
LABELS = {"pretrain": "cql", "fine_tune": "off2on"}
"""Of training jobs, by their stages."""
TARGETS = ("job", "workflow", "both")
GOAL = "results/faults/figures/learning_curves.pdf"
START_UP_SHARE = 0.25
"""Of the kills of a training job, so many come before its first update."""
HELD = "is already being written by another run"
"""One sentence, where what a kill left still ends; then the same command again."""
SKEWED = "clock skew problem"
"""Snakemake's sentence where a job reads what is dated into the future."""
PATIENCE = 600.0  # seconds that any one thing may take on a busy machine
NOT_RESULTS = ("state", "logs", "benchmarks", ".lock")


class Folder:
    """A working directory with the configuration in it, and the command that a person gives there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "counts").mkdir(parents=True, exist_ok=True)
        (path / "faults.yaml").write_text(yaml.safe_dump(CONFIGURATION))

    def start(self) -> subprocess.Popen[bytes]:
        """The command, its output in `output.txt`."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
        environment = {name: value for name, value in os.environ.items() if name != "OFF2ON_PARENT"}
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent / "counting"), str(ROOT)])
        environment["OFF2ON_COUNTS"] = str(self.path / "counts")
        with (self.path / "output.txt").open("wb") as output:
            return subprocess.Popen(
                [*command, "--configfile", "faults.yaml", "--", GOAL],
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
        return results_of(self.path / "results" / "faults")

    def date_to_now(self) -> None:
        """What a person does about files from the future: `find results -newermt now -exec touch {} +`."""
        for path in (self.path / "results" / "faults").rglob("*"):
            if path.stat().st_mtime > time.time():
                os.utime(path)

    def life(self, stage: str) -> float:
        """Seconds of processor time that the first job of a stage took, or until its first update."""
        if stage in UPDATES:
            began = sorted((self.path / "counts").glob("*.began"), key=lambda path: path.stat().st_mtime)
            return float(began[list(UPDATES).index(stage)].read_text())
        files = list((self.path / "results" / "faults" / "benchmarks" / stage).rglob("*.jsonl"))
        return float(json.loads(files[0].read_text().splitlines()[0])["cpu_time"])

    def saved(self, stage: str) -> int:
        """How many updates the checkpoint of a stage's only job holds; 0 where there is none."""
        states = self.path / "results" / "faults" / "state" / "train" / DATASET / LABELS.get(stage, stage)
        return max((_updates(path) for path in states.rglob("checkpoint.safetensors")), default=0)

    def made(self, job: int) -> int:
        """How many updates the process `job` made."""
        counter = self.path / "counts" / str(job)
        return counter.stat().st_size if counter.exists() else 0


def _updates(checkpoint: Path) -> int:
    with safe_open(checkpoint, framework="numpy") as file:
        manifest = json.loads(file.metadata()["checkpoint"].partition(" ")[2])
    return int(manifest.get("updates", manifest["step"]))


def job_of(stage: str, workflow: subprocess.Popen[bytes]) -> int | None:
    """The process of a stage that this Snakemake started; None where it goes on without one, or ends."""
    later = STAGES[STAGES.index(stage) + 1 :]
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and workflow.poll() is None:
        jobs = dict(_jobs(workflow))
        if stage in jobs:
            return jobs[stage]
        if not jobs.keys().isdisjoint(later):
            return None
        time.sleep(0.02)
    return None


def _jobs(workflow: subprocess.Popen[bytes]) -> Iterator[tuple[str, int]]:
    """The jobs of this Snakemake, each with its stage."""
    steps = {f"workflow.steps.{stage}": stage for stage in STAGES}
    parent = f"OFF2ON_PARENT={workflow.pid}".encode()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")[1:4]
                ours = words[:2] == [b"-m", b"workflow.train"]
                if ours and parent in (process / "environ").read_bytes().split(b"\0"):
                    step = json.loads((process / "cwd" / words[2].decode()).read_text())["step"]
                    if step in steps:
                        yield steps[step], int(process.name)
            except OSError:
                continue


def alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    return _stat(process)[0] != "Z"


def processor_time(process: int) -> float:
    """Seconds that it has had of a processor; without end where it is gone."""
    user, system = _stat(process)[11:13]
    return (float(user) + float(system)) / os.sysconf("SC_CLK_TCK")


def _stat(process: int) -> list[str]:
    """The fields of /proc/<process>/stat from the state on; those of a zombie where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", *["inf"] * 20]


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


class Moment(NamedTuple):
    """When to kill: after so much processor time, or (in training) after so many updates."""

    seconds: float
    updates: int | None

    def wait(self, folder: Folder, job: int, random_: random.Random) -> None:
        """Until it has come, or the job is over."""
        if self.updates is None:
            while processor_time(job) < self.seconds and alive(job):
                time.sleep(0.01)
            return
        while folder.made(job) < self.updates and alive(job):
            time.sleep(0.01)
        time.sleep(random_.uniform(0, 0.1))  # anywhere in an update, or in a checkpoint


def draw_moment(stage: str, life: float, saved: int, left: int, random_: random.Random) -> Moment:
    """A moment in the life of a stage's job that finds `saved` updates made before.

    Where `left` kills are to come, this one with them, its updates are drawn from the first part of as many,
    so that each finds work to lose.
    """
    if stage in UPDATES and random_.random() >= START_UP_SHARE:
        return Moment(0.0, random_.randrange(max(1, (UPDATES[stage] - saved) // left)))
    return Moment(random_.uniform(0, life), None)


class Attempts:
    """The command in a folder, given again after every kill."""

    def __init__(self, folder: Folder, lives: dict[str, float], random_: random.Random) -> None:
        self.folder, self.lives, self.random = folder, lives, random_
        self.workflow = folder.start()

    def kill(self, stage: str, target: str, left: int) -> dict[str, Any]:
        """Wait for a job of the stage, then for a moment in it, and kill; what that was, and what it cost.

        `left` of the stage's kills are to come, this one with them.
        """
        job = job_of(stage, self.workflow)
        refused = self.workflow.poll() is not None and HELD in self.folder.finish(self.workflow)
        if refused:
            self.workflow = self.folder.start()
            job = job_of(stage, self.workflow)
        before = self.folder.saved(stage)
        moment = draw_moment(stage, self.lives[stage], before, left, self.random)
        entry: dict[str, Any] = {"stage": stage, "target": target, "hit": False, "refused_first": refused}
        if moment.updates is None:
            entry["after_cpu_seconds"] = round(moment.seconds, 3)
        else:
            entry["after_updates"] = moment.updates
        if job is None:
            return entry
        moment.wait(self.folder, job, self.random)
        entry["hit"] = kill(target, job, self.workflow)
        if entry["hit"]:
            self.workflow.wait(PATIENCE)
            self.workflow = self.folder.start()
            _wait_for_end(job)
            if stage in UPDATES:
                entry |= self._cost(stage, job, before)
        return entry

    def _cost(self, stage: str, job: int, before: int) -> dict[str, Any]:
        """What the kill of a training job that found `before` updates lost."""
        made, saved = self.folder.made(job), self.folder.saved(stage)
        lost = before + made - saved
        return {
            "updates_found": before,
            "updates_made": made,
            "updates_saved": saved,
            "updates_lost": lost,
            "within_an_interval": 0 <= lost <= INTERVAL,
        }

    def finish(self) -> str:
        """What the command had to say at last where it failed; empty where it ended well."""
        failure = self.folder.finish(self.workflow)
        return self.folder.finish(self.folder.start()) if HELD in failure else failure


def disturbed_round(
    folder: Folder, lives: dict[str, float], random_: random.Random, enough: int
) -> dict[str, Any]:
    """One run in which each of `TARGETS` is killed in each of `STAGES`, up to `enough` kills.

    Its kills, and what it said if it failed at last.
    """
    attempts = Attempts(folder, lives, random_)
    kills: list[dict[str, Any]] = []
    for stage in STAGES:
        for done, target in enumerate(random_.sample(TARGETS, len(TARGETS))):
            if _hits(kills) < enough:
                kills.append(attempts.kill(stage, target, len(TARGETS) - done))
                print(time.strftime("%H:%M:%S"), json.dumps(kills[-1]), flush=True)
    return {"kills": kills, "failure": attempts.finish()}


def _hits(kills: Iterable[dict[str, Any]]) -> int:
    return sum(kill["hit"] for kill in kills)


def _wait_for_end(job: int) -> None:
    end = time.monotonic() + PATIENCE
    while alive(job) and time.monotonic() < end:
        time.sleep(0.05)


def clock_set(folder: Folder, expected: dict[str, bytes]) -> list[dict[str, Any]]:
    """The command again in a finished folder, after files of one stage were dated to another day.

    Where Snakemake says that the clock is wrong, what lies in the future is dated to now, and the command
    given once more.
    """
    outcomes: list[dict[str, Any]] = []
    for place, days in (("datasets", 1), ("curves", -400), ("agents", 400)):
        when = time.time() + 86_400 * days
        for path in (folder.path / "results" / "faults" / place).rglob("*"):
            os.utime(path, (when, when))
        failure = folder.finish(folder.start())
        told = SKEWED in failure
        if told:
            folder.date_to_now()
            failure = folder.finish(folder.start())
        different = differences(folder.results(), expected)
        outcomes.append({"place": place, "days": days, "told_to_mend_the_clock": told})
        outcomes[-1] |= {"different": different, "failure": failure}
        print(json.dumps(outcomes[-1]), flush=True)
    return outcomes


def results_of(root: Path) -> dict[str, bytes]:
    """Every file of the run in `root` but its state, its logs and its times, by name."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in NOT_RESULTS
    }


def differences(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Names that only one of two runs has, or that differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))


def report(document: dict[str, Any]) -> str:
    """The document for people."""
    rounds = document["rounds"]
    kills = [k for r in rounds for k in r["kills"] if k["hit"]]
    survived = _hits(k for r in rounds if r["identical"] for k in r["kills"])
    count = Counter((k["stage"], k["target"]) for k in kills)
    lines = [
        "# Kills at random moments",
        "",
        f"`{document['command']}`, commit {document['commit']}, {document['hardware']['cpu']}.",
        "",
        f"{len(kills)} kills in {len(rounds)} rounds, {survived} survived: their round ended byte-identical"
        f" to the undisturbed run. {sum(k['refused_first'] for k in kills)} times the command had to be given"
        f" once more, after one sentence that another run is still writing."
        f" {document['missed']} more came after the job had ended and do not count.",
        "",
        f"| stage | {' | '.join(TARGETS)} | after no update | lost, most | lost, mean |",
        f"|---|{'---|' * (len(TARGETS) + 3)}",
    ]
    for stage in STAGES:
        losses = [k["updates_lost"] for k in kills if k["stage"] == stage and "updates_lost" in k]
        early = sum(k["stage"] == stage and k.get("updates_made") == 0 for k in kills)
        cost = [str(early), f"{max(losses)} updates", f"{sum(losses) / len(losses):.1f}"] if losses else []
        cells = [str(count[stage, target]) for target in TARGETS] + (cost or ["", "", ""])
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    lines += ["", f"A checkpoint is written every {INTERVAL} updates: no kill may lose more."]
    if document["clock"]:
        lines += ["", "Files dated to another day, and the command again:", ""]
    lines += [
        f"- {c['place']}, {c['days']:+} days: {c['different'] or c['failure'] or 'byte-identical'}"
        f"{', after one sentence on the clock and a touch' if c['told_to_mend_the_clock'] else ''}"
        for c in document["clock"]
    ]
    for number, round_ in enumerate(rounds):
        if not round_["identical"]:
            lines += ["", f"Round {number} went wrong: {round_['different'] or round_['failure']}"]
    return "\n".join(lines) + "\n"


def begin(options: argparse.Namespace) -> dict[str, Any]:
    """The document so far of this very command, or an empty one; ends where `--output` has another's."""
    document = {
        "command": f"python -m tests.faults --kills {options.kills} --seed {options.seed}",
        "commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        "seed": options.seed,
        "checkpoint_interval": INTERVAL,
    }
    path = options.output / "faults.json"
    found = read_json(path) if path.exists() else {}
    if found and any(found.get(name) != value for name, value in document.items()):
        sys.exit(f"{path} is of another command, commit or machine; remove {options.output} to begin anew")
    return {**document, "missed": 0, "rounds": [], "clock": []} | found


def write(document: dict[str, Any], output: Path) -> None:
    """`faults.json` and `faults.md`."""
    document["missed"] = sum(not k["hit"] for r in document["rounds"] for k in r["kills"])
    write_json(output / "faults.json", document)
    with atomic_path(output / "faults.md") as temporary:
        temporary.write_text(report(document), encoding="utf-8")


def went_well(round_: dict[str, Any]) -> bool:
    """Whether it ended with the same bytes and no kill cost more than it may."""
    return round_["identical"] and all(k.get("within_an_interval", True) for k in round_["kills"])


def main() -> int:
    """Run, kill, compare, report."""
    parser = argparse.ArgumentParser(description="Kill a small reproduction at random moments.")
    parser.add_argument("--kills", type=int, default=54, help="at least so many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder for faults.json and faults.md")
    options = parser.parse_args()
    document, place = begin(options), options.output.resolve() / "work"
    rounds = document["rounds"]
    undisturbed = Folder(place / "undisturbed")
    if failure := undisturbed.finish(undisturbed.start()):
        sys.exit(failure)
    expected, lives = undisturbed.results(), {stage: undisturbed.life(stage) for stage in STAGES}
    while (hits := _hits(k for r in rounds for k in r["kills"])) < options.kills:
        shutil.rmtree(place / "round", ignore_errors=True)
        folder = Folder(place / "round")
        random_ = random.Random(f"{options.seed} {len(rounds)}")
        result = disturbed_round(folder, lives, random_, options.kills - hits)
        different = differences(folder.results(), expected)
        identical = not different and not result["failure"]
        rounds.append({**result, "different": different, "identical": identical})
        write(document, options.output)
        print(f"round {len(rounds)}, different: {different or result['failure'] or 'nothing'}", flush=True)
        if not went_well(rounds[-1]):
            print(f"what it left is in {folder.path}", flush=True)
            break
    document["clock"] = document["clock"] or clock_set(undisturbed, expected)
    write(document, options.output)
    print(report(document))
    clock_well = not any(c["different"] or c["failure"] for c in document["clock"])
    return 0 if clock_well and all(map(went_well, rounds)) else 1


if __name__ == "__main__":
    sys.exit(main())
