"""A job that was begun and whose state is lost goes on from the newest released agents, and says so.

Its settings then have `lost_state`, and so has the provenance of all that it leaves: the agents that it
started from, the updates that they have had, and the fingerprint of the job that it stands for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from algorithms.population import checkpoints
from algorithms.training.lookup import find_method
from algorithms.training.offline import OfflineSchedule
from storage import UserError
from storage.curves import read_provenance
from storage.files import read_json
from storage.settings import build
from workflow import chains, jobs
from workflow.jobs import SIDE_BY_SIDE, Job
from workflow.plan import Plan
from workflow.plan.settings import existing_hash, with_fingerprint
from workflow.steps.pretrain import starting_agents

KEY = "lost_state"
STATE = "state"
"""The key of `about` under which a trace says where the state lies."""


def mark_of(job: Job) -> Path:
    """Where a campaign keeps the job as it began it; the job's own file Snakemake writes before it begins."""
    return Path(job.file).with_suffix(".begun.json")


def mark_begun(job: Job, state: Path | None = None) -> None:
    """Leave a trace of a job that begins: such a trace without a state is a state that was lost.

    The trace says where the `state` lies: of jobs that learn side by side it is one.
    """
    state = state or job.state / job.fingerprint
    state.mkdir(parents=True, exist_ok=True)
    job.write()
    replace(job, about={**job.about, STATE: str(state)}).write(mark_of(job))


def done(job: Job) -> bool:
    """Whether a job's outputs are there, made with its present settings and code."""
    file = Path(job.file)
    if not file.exists() or not all(Path(path).exists() for path in job.outputs.values()):
        return False
    return bool(read_json(file)["settings"]["fingerprint"] == job.fingerprint) and _made_with_them(job)


def _made_with_them(job: Job) -> bool:
    """Whether outputs are of the settings in the job's file, which Snakemake writes before it begins any job.

    Training says in its provenance what made it; what is recorded has to be younger than the file, which is
    written where it changes alone.
    """
    if job.rule in ("train", "behaviour"):
        made = read_provenance(_curve(job)).get("configuration", {})
        return bool(made.get("fingerprint") == job.fingerprint)
    written = Path(job.file).stat().st_mtime_ns
    return all(Path(path).stat().st_mtime_ns >= written for path in job.outputs.values())


def _curve(job: Job) -> Path:
    """Return where a job that trains leaves its curve."""
    return job.output("curves") if job.rule == "train" else job.output("folder") / "curve.parquet"


def made_otherwise(planned: Iterable[Job]) -> list[str]:
    """List curves that a campaign made with other settings or code than the jobs have that are planned.

    Snakemake has no record of them, and would take them for those jobs'. UserError for a damaged trace.
    """
    found = []
    for job in planned:
        if job.rule not in ("behaviour", "train") or not mark_of(job).exists():
            continue
        begun = jobs.read(mark_of(job))
        of = (begun.fingerprint, begun.settings.get(KEY, {}).get("of"))
        there = all(Path(path).exists() for path in job.outputs.values())
        if job.fingerprint not in of and there and _made_with_them(begun):
            found.append(str(_curve(job)))
    return found


def as_begun(job: Job, plan: Plan) -> tuple[Job, str]:
    """Return a job as it was begun or is to begin, and a sentence where its state is lost."""
    mark = mark_of(job)
    if job.rule != "train" or done(job) or not mark.exists():
        return job, ""
    before = jobs.read(mark)
    if job.fingerprint not in (before.fingerprint, before.settings.get(KEY, {}).get("of")):
        return job, ""
    begun = replace(job, settings=before.settings, inputs=before.inputs)
    if done(begun) or Path(before.about.get(STATE, begun.state / begun.fingerprint)).exists():
        return begun, ""
    try:
        again = _from_released(job, plan)
    except UserError as error:
        return job, f"the state of {job.file} is lost: it begins anew, as no released agents fit ({error})"
    had = again.settings[KEY]["updates"]
    return again, (
        f"the state of {job.file} is lost: it starts from the newest released agents, of {had:,} updates"
    )


def _from_released(job: Job, plan: Plan) -> Job:
    """Return a job as it starts from the agents that the project releases. UserError where none fit."""
    settings, dataset = dict(job.settings), job.about["dataset"]
    if job.step != SIDE_BY_SIDE or settings["method"] != "cql":
        raise UserError(f"there are none of {job.about['label']}")
    files = [Path(plan.places.released_agent(dataset, agent)) for agent in job.about["seeds"]]
    start = starting_agents(files, settings["method"])
    environment = checkpoints.load(files[0])[1]["configuration"]["environment"]
    if environment != settings["environment"]:
        raise UserError(f"they are of {environment}, expected {settings['environment']}")
    wanted = build(OfflineSchedule, settings["schedule"], "schedule").updates
    if start is None or start.updates >= wanted:
        raise UserError(f"expected agents of fewer updates than {wanted:,}")
    method, names = find_method("cql", "offline"), [str(file) for file in files]
    config = build(method.Config, settings["config"], "config")
    # UserError where the agents have other networks.
    chains.begin_offline(chains.place_of(settings), (names[0],), (method, config))
    of = settings.pop("fingerprint")
    settings["schedule"] = {**settings["schedule"], "cloning_warm_start": 0, "monte_carlo_warm_start": 0}
    settings[KEY] = {"of": of, "agents": names, "updates": start.updates}
    named = with_fingerprint(settings, existing_hash(names))
    return replace(job, settings=named, inputs={**job.inputs, "agents": names})
