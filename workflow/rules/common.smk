# What all rules share: the table of jobs that they ask, where jobs run, and the names that wildcards may take.
import atexit
import sys
from contextlib import ExitStack
from os import environ, getpid, pathsep
from pathlib import Path

from snakemake.logging import logger
from snakemake.utils import min_version
from snakemake_interface_logger_plugins.common import LogEvent

from storage import UserError
from storage.checksums import write_checksums
from storage.files import exclusive, remove_links
from workflow import cli
from workflow.code_hash import ROOT
from workflow.configuration import merged_by_snakemake
from workflow.figure_names import SWEEP_FIGURE
from workflow.outputs import RULES
from workflow.resources import resources_of
from workflow.table import Table

min_version("9.0")

if not workflow.modifier.is_main_snakefile():
    # Snakemake leaves out a module's `onstart`, which writes the jobs' settings and keeps other runs out.
    sys.exit(
        "This workflow cannot be a module of another: expected its own Snakefile, in any working directory"
        " (docs/workflow.md)."
    )

try:
    # Jobs read what was checked when they were planned.
    TABLE = Table(
        merged_by_snakemake(config, workflow.configfiles, workflow.is_main_process)
    )
except UserError as error:
    sys.exit(f"Configuration: {error}")
RESULTS = TABLE.results
if workflow.is_main_process and any(Path(RESULTS, "jobs").rglob("*.begun.json")):
    from workflow.lost_state import made_otherwise  # imports torch

    if left := made_otherwise(TABLE.jobs.values()):
        logger.warning(
            f"{len(left)} curves, the first of them {left[0]}, were made by a campaign with other settings or"
            " code than these. Where Snakemake has no record of such files it takes them as they are: run the"
            " campaign again, or remove them."
        )
# What the report's texts read: the whole configuration, and what ran by it.
config.update(TABLE.plan.configuration, report=TABLE.plan.figures.report())

# Jobs run in the environment that runs Snakemake, activated or not, in any working directory, and end with it
# (workflow.cli).
environ["PATH"] = str(Path(sys.executable).parent) + pathsep + environ["PATH"]
# What was on the path stays on it: a configuration may name methods from outside the repository.
environ["PYTHONPATH"] = pathsep.join(
    filter(None, [str(ROOT), environ.get("PYTHONPATH")])
)
environ[cli.PARENT] = str(getpid())
# Steps that fail leave their last word there, which is then the last that a person reads.
FAILURES = Path(RESULTS, "logs", "failures.txt")
environ[cli.FAILURES] = str(FAILURES)


def refusing(ask):
    """An input function that ends in one sentence: Snakemake would add a traceback."""

    def answer(wildcards):
        try:
            return ask(wildcards)
        except UserError as error:
            sys.exit(f"Configuration: {error}")

    return answer


def of(rule, attribute):
    """What the table says of a rule's job, by its wildcards."""
    return refusing(lambda wildcards: getattr(TABLE.find(rule, wildcards), attribute))


def needs(rule):
    """What a rule's job needs. Of a person's own file the content counts, which its fingerprint knows."""

    def ask(wildcards):
        own = TABLE.find(rule, wildcards).settings.get("file")
        return [
            ancient(path) if path == own else path
            for path in TABLE.needs(rule, wildcards)
        ]

    return refusing(ask)


def figure_in_report(caption, subcategory, what):
    """Where the report shows a figure's file, and below which text."""
    return {
        "caption": f"../report/{caption}.rst",
        "category": "Figures",
        "subcategory": subcategory,
        "labels": {"what": what},
    }


# What the report shows, with its caption and where it stands there.
SHOWN = {
    "figures/{figure}.png": figure_in_report("figure", "{figure}", "figure"),
    "figures/{figure}.csv": figure_in_report("drawn", "{figure}", "what it draws"),
    "figures/{figure}.txt": figure_in_report("figure", "{figure}", "caption"),
    "figures/film_{task}.gif": figure_in_report("film", "film", "{task}"),
    "reproduction.txt": {
        "caption": "../report/reproduction.rst",
        "category": "Table",
    },
}


def left(rule):
    """The outputs of a rule; what has no suffix is a folder."""
    outputs = {}
    for key, path in RULES[rule].outputs.items():
        place = f"<results>/{path}"
        if path in SHOWN:
            place = report(place, **SHOWN[path])
        outputs[key] = place if Path(path).suffix else directory(place)
    return outputs


def constraints(rule):
    """What each of a rule's wildcards may be: what the table has."""
    values = {
        name: TABLE.names(rule, place)
        for place, name in enumerate(RULES[rule].wildcards)
    }
    return {name: "|".join(found) or "none" for name, found in values.items()}


def command(rule):
    """What a rule's command takes of its job, and the fingerprint that runs it again."""
    return {name: of(rule, name) for name in ("file", "fingerprint")}


def limits(rule):
    """What a rule's job may take; a second attempt has twice the memory, a third three times."""

    def one(name):
        return lambda wildcards, attempt: resources_of(
            TABLE.find(rule, wildcards), attempt
        )[name]

    return {name: one(name) for name in ("mem_mb", "disk_mb", "runtime")}


PAGE = 40
"""Jobs whose list fills a page."""
if (
    workflow.output_settings.dryrun
    and len(TABLE.jobs) > PAGE
    and not workflow.output_settings.printshellcmds
):
    # Their count by rule is all that -n says then; -n -p lists each.
    logger.addFilter(lambda record: getattr(record, "event", None) != LogEvent.JOB_INFO)


# One run at a time writes into results/<name>. The kernel ends this lock with the process, however that ends.
RUN_LOCK = ExitStack()


onstart:
    try:
        RUN_LOCK.enter_context(exclusive(RESULTS))
        for folder in ("logs", "benchmarks"):
            remove_links(Path(RESULTS, folder))
        FAILURES.unlink(missing_ok=True)
        for job in TABLE.jobs.values():
            job.write()
    except UserError as error:
        sys.exit(str(error))


onerror:
    last = (
        FAILURES.read_text()
        if FAILURES.exists()
        else "A job ended without a last word, as those do that the system kills where memory is not enough: the"
        " account above names it and its log; the same command goes on.\n"
    )
    # After Snakemake's own account of it, which ends with "At least one job did not complete".
    atexit.register(print, f"\n{last}", end="", flush=True)
