# What all rules share: the checked configuration, where jobs run, and the names that wildcards may take.
import sys
from contextlib import ExitStack
from os import environ, getpid, pathsep
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from algorithms import catalogue
from storage import UserError
from storage.checksums import write_checksums
from storage.files import exclusive
from workflow.configuration import check_merged
from workflow.manipulation_plan import OFFLINE, ManipulationPlan, folders_of
from workflow.plan import Plan, as_json
from workflow.code_hash import ROOT

min_version("9.0")

try:
    PLAN = Plan(check_merged(config, workflow.configfiles))
except UserError as error:
    sys.exit(f"Configuration: {error}")
MANIPULATION = ManipulationPlan(PLAN.configuration)

# Jobs run in the environment that runs Snakemake, activated or not, in any working directory, and end with it
# (workflow.cli).
environ["PATH"] = str(Path(sys.executable).parent) + pathsep + environ["PATH"]
# What was on the path stays on it: a configuration may name methods from outside the repository.
environ["PYTHONPATH"] = pathsep.join(
    filter(None, [str(ROOT), environ.get("PYTHONPATH")])
)
environ["OFF2ON_PARENT"] = str(getpid())


wildcard_constraints:
    dataset="|".join(PLAN.configuration["datasets"]) or "none",
    family="halfcheetah|hopper|walker2d|inverted-double-pendulum",
    offline="|".join([*catalogue.OFFLINE, *PLAN.offline_labels]),
    label="|".join([*PLAN.methods, *PLAN.variations]) or "none",
    figure="|".join(PLAN.configuration["figures"]) or "none",
    task="|".join(MANIPULATION.tasks) or "none",
    image_offline="|".join([OFFLINE, *MANIPULATION.controls]),
    image_figure="|".join(MANIPULATION.figures) or "none",
    image_label="|".join(MANIPULATION.methods) or "none",
    agents=r"\d+-\d+",
    seeds=r"\d+(-\d+)*",


# One run at a time writes into results/<name>. The kernel ends this lock with the process, however that ends.
RUN_LOCK = ExitStack()


onstart:
    try:
        RUN_LOCK.enter_context(exclusive(PLAN.results))
    except UserError as error:
        sys.exit(str(error))


def sweep_curves(wildcards):
    try:
        return PLAN.sweep_curves()
    except UserError as error:
        raise WorkflowError(str(error)) from error
