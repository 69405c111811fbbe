"""Whether a configuration agrees with itself: what its sections say of each other.

What a section may say by itself, `workflow.sections` knows. Whether phases follow each other is asked of
`workflow.phases`, whether runs could begin with their settings of `workflow.chains`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from algorithms.catalogue import NOTHING, OFFLINE
from envs.tabletop import ENVIRONMENTS as TABLETOP
from envs.tabletop import SCRIPT, check_taken_for
from offline_data.plane import SCRIPTS, UNIFORM_ACTOR
from storage import UserError
from storage.settings import names
from workflow import phases
from workflow.dataset_names import TASKS, family_of
from workflow.figure_names import BY_REGIME, FILM, IMAGE_FIGURES, LIKELIHOODS, OFFLINE_FIGURE, TABLE_SCRIPTS
from workflow.jobs import Json, with_scores
from workflow.plan import Plan
from workflow.plan.data import RECORDING_KEYS
from workflow.plan.places import AUTHORS, AUTHORS_SEEDS
from workflow.sections import BUILT_IN, RECIPE_KEYS

COMMITTED = "reference"
"""The name under results/ that no run may have."""


def check(plan: Plan) -> None:
    """UserError for the first two settings that contradict each other, or a file that is missing."""
    if plan.places.run == COMMITTED:
        raise UserError(
            f"name is '{COMMITTED}': expected another one, results/{COMMITTED} holds the committed results."
        )
    importlib.import_module("workflow.watching").check(plan.configuration.get("watch", []))
    _check_environments(plan)
    _check_methods(plan)
    # Imports torch, which takes a second that the Snakemakes of jobs do without.
    chains = importlib.import_module("workflow.chains")
    chains.check_configs(plan)
    for name, dataset in plan.configuration["datasets"].items():
        _check_dataset(name, dataset, plan.configuration)
    _check_claims(plan)
    _check_agents(plan)
    _check_likelihood(plan)
    _check_behaviours(plan)
    _check_sweep(plan)
    _check_images(plan)
    chains.check_chains(plan)


def _check_environments(plan: Plan) -> None:
    """Register the environments and names that the configuration brings. UserError for an unknown one."""
    configuration = plan.configuration
    try:
        with_scores(plan.data.registered)
    except UserError as error:
        raise UserError(f"environments: {error}.") from error
    sections = {"datasets": configuration["datasets"]}
    sections["behaviour_policies"] = configuration.get("behaviour_policies", {})
    for section, entries in sections.items():
        for name, entry in entries.items():
            environment = entry["environment"]
            if environment not in BUILT_IN:
                _check_registered(f"{section}.{name}.environment", environment, configuration)


def _check_registered(where: str, environment: str, configuration: Json) -> None:
    if environment.rpartition("-v")[0] not in configuration.get("environments", {}):
        raise UserError(
            f"{where} is {environment!r}: expected one of {names(BUILT_IN)}, or another"
            " of Gymnasium's MuJoCo environments that 'environments' registers (docs/your_own_dataset.md)."
        )
    try:
        importlib.import_module("envs.locomotion").specification(environment)
    except UserError as error:
        raise UserError(f"{where}: {error}.") from error


def _check_dataset(name: str, dataset: Json, configuration: Json) -> None:
    where = f"datasets.{name}"
    if name in TASKS or dataset["recipe"] == "scripts":
        _check_task(where, name, dataset)
    family = dataset["environment"].rpartition("-")[0]
    if (named := family_of(name)) not in (None, family):
        raise UserError(
            f"{where}: the name begins with another environment's family than its own, {family}: expected"
            f" another name, or {named}."
        )
    recipe = dataset["recipe"]
    required, possible = RECIPE_KEYS[recipe]
    for key in required:
        if key not in dataset:
            raise UserError(f"{where}: the recipe {recipe} needs the key '{key}'.")
    for key in ("behaviour_policy", *RECORDING_KEYS[2:]):
        if key in dataset and key not in (*required, *possible):
            raise UserError(f"{where}: the recipe {recipe} takes no '{key}'.")
    policies = configuration.get("behaviour_policies", {})
    if "behaviour_policy" in dataset:
        _check_behaviour_policy(f"{where}.behaviour_policy", dataset["behaviour_policy"], dataset, policies)
    for number, source in enumerate(dataset.get("sources", [])):
        place = f"{where}.sources[{number}]"
        if "environment" in source:
            _check_taken(place, source["environment"], dataset["environment"])
        if "policy" not in source:
            _check_script(f"{place}.actor", source["actor"], dataset["environment"])
        else:
            _check_behaviour_policy(f"{place}.policy", source["policy"], dataset, policies)
            _check_actor(f"{place}.actor", source["actor"], policies[source["policy"]])


def _check_script(where: str, actor: str, environment: str) -> None:
    """UserError for an actor without a policy that the environment has no script for."""
    known = [UNIFORM_ACTOR, *SCRIPTS.get(environment, [SCRIPT] if environment in TABLETOP else [])]
    if actor not in known:
        raise UserError(
            f"{where} is '{actor}': expected one of {environment}'s ({names(known)}), or a policy."
        )


def _check_taken(where: str, recorded: str, environment: str) -> None:
    """UserError for another task's data that cannot be taken for this one's."""
    try:
        check_taken_for(recorded, environment)
    except UserError as error:
        raise UserError(f"{where}: {error}.") from error


def _check_actor(where: str, actor: str, policy: Json) -> None:
    """UserError for the actor of a step that the policy's training does not keep."""
    kept = [f"actor_{step}" for step in policy.get("checkpoints", [])]
    if actor.startswith("actor_") and policy.get("source", "train") == "train" and actor not in kept:
        raise UserError(
            f"{where} is '{actor}': expected a step among the policy's checkpoints"
            f" ({names(kept) or 'there are none'})."
        )


def _check_task(where: str, name: str, dataset: Json) -> None:
    """Check that a task with images is recorded by its own scripts, and its rewards stay what they are."""
    for key, expected in (
        ("environment", TASKS.get(name)),
        ("recipe", "scripts"),
        ("pretrained", "train"),
        ("reward_scale", 1.0),
    ):
        if expected is None:
            raise UserError(f"{where}: the recipe scripts is for {names(TASKS)}: expected another recipe.")
        if (found := dataset.get(key, expected)) != expected:
            raise UserError(f"{where}.{key} is {found!r}: expected {expected} for this task with images.")
    scripts = dataset.get("scripts", {"prior": 1, "task": 0, "random": 0})
    if not scripts["prior"] + scripts["task"] + scripts["random"]:
        raise UserError(f"{where}.scripts has no episodes: expected at least one in all.")


def _check_behaviour_policy(where: str, policy: str, dataset: Json, policies: Json) -> None:
    if policy not in policies:
        raise UserError(
            f"{where} is '{policy}': expected one of the behaviour_policies"
            f" ({names(policies) or 'there are none'})."
        )
    environment = policies[policy]["environment"]
    if environment != dataset["environment"]:
        raise UserError(
            f"{where} is '{policy}', which acts in {environment}: expected one of {dataset['environment']}."
        )
    if "medium" in policies[policy] and policies[policy].get("source", "train") != "train":
        raise UserError(
            f"behaviour_policies.{policy}.medium chooses among a training run's actors: expected none beside"
            f" source: {policies[policy]['source']}, whose medium actor is chosen already."
        )


def _check_methods(plan: Plan) -> None:
    """All phases follow each other, and datasets name no others; settings are `workflow.chains`'s."""
    phases.check(plan)
    for name, dataset in plan.configuration["datasets"].items():
        known = [*OFFLINE, *plan.offline.names]
        for offline in dataset.get("pretraining", {}).get("methods", {}):
            if offline not in known:
                where = f"datasets.{name}.pretraining.methods"
                raise UserError(f"{where}: unknown key '{offline}': expected one of {names(known)}.")
        for label in dataset.get("fine_tuning", {}).get("methods", {}):
            if label not in plan.online.names:
                where = f"datasets.{name}.fine_tuning.methods.{label}"
                raise UserError(f"{where}: expected one of fine_tuning.methods ({names(plan.online.names)}).")


def _check_claims(plan: Plan) -> None:
    """UserError for a file that is missing, or whose claims are wrong or of labels that nobody knows.

    Of a method of the catalogue that is not trained a claim stays open, as the paper's do.
    """
    claims = plan.judging.claims
    if claims and not Path(claims).is_file():
        raise UserError(f"claims is '{plan.configuration['claims']}': expected a YAML file of claims.")
    if claims:
        labels = [*plan.online.names, *plan.offline.names]
        importlib.import_module("analysis.claims").read_claims(Path(claims), methods=labels)


def _check_agents(plan: Plan) -> None:
    """UserError for fewer agents than runs start from, more than the authors released, or a size for none."""
    configuration = plan.configuration
    tuning = configuration["fine_tuning"]
    seeds, size = tuning["seeds"], tuning["ensemble_size"]
    labels, members_of = plan.online.names, plan.fine_tuning.members
    for label in labels:
        if "ensemble_size" in tuning["methods"][label] and plan.online.starts_from(label) == NOTHING:
            raise UserError(
                f"fine_tuning.methods.{label}.ensemble_size is {tuning['methods'][label]['ensemble_size']}:"
                f" expected none, as {label} takes no agents over."
            )
    members = [member for label in labels for seed in seeds for member in members_of(label, seed)]
    needed = max(max(members, default=-1) + 1, size if tuning["members_shared"] else 0)
    agents = configuration["pretraining"]["agents"]
    for name, dataset in configuration["datasets"].items():
        if dataset["pretrained"] == AUTHORS and agents > len(AUTHORS_SEEDS):
            raise UserError(
                f"datasets.{name}.pretrained is '{AUTHORS}', who released {len(AUTHORS_SEEDS)} agents:"
                f" expected pretraining.agents of at most as many, not {agents}."
            )
    if agents < needed:
        sizes = {size: "fine_tuning"} if tuning["members_shared"] else {}
        sizes |= {plan.online.ensemble_size(label): label for label in labels}
        raise UserError(
            f"pretraining.agents is {agents}: expected at least {needed}, for {len(seeds)} seeds with"
            f" ensemble_size {max(sizes)} of {sizes[max(sizes)]}."
        )


def _check_likelihood(plan: Plan) -> None:
    """UserError for Figure 1a without what it is of."""
    configuration = plan.configuration
    section = configuration.get("likelihood")
    if section is None and LIKELIHOODS in configuration["figures"]:
        raise UserError("figures has figure_01a: expected the key 'likelihood', with the datasets it is of.")
    _check_datasets("likelihood", section or {}, configuration)


def _check_behaviours(plan: Plan) -> None:
    """UserError for labels that estimate no behaviours, and for datasets whose sources are not known."""
    configuration = plan.configuration
    section = configuration.get("behaviours", {})
    _check_datasets("behaviours", section, configuration)
    for name in section.get("datasets", []):
        recipe = configuration["datasets"][name]["recipe"]
        if recipe != "heterogeneous":
            raise UserError(
                f"behaviours.datasets has '{name}', whose recipe {recipe} does not say who made what:"
                " expected datasets of the recipe heterogeneous."
            )
    estimating = [name for name, row in OFFLINE.items() if row.estimates_behaviours]
    estimated = [label for label in plan.offline.names if plan.offline.method(label) in estimating]
    for label in section.get("labels", []):
        if label not in estimated:
            raise UserError(
                f"behaviours.labels has '{label}': expected labels of pretraining.methods that estimate"
                f" behaviours ({names(estimated) or 'there are none'})."
            )


def _check_sweep(plan: Plan) -> None:
    """UserError for the sweep of a method that there is not, or at rates that are told apart by nothing."""
    configuration = plan.configuration
    section = configuration.get("sweep_policy_lr", {})
    _check_datasets("sweep_policy_lr", section, configuration)
    methods = configuration["fine_tuning"]["methods"]
    if section and section["method"] not in methods:
        raise UserError(
            f"sweep_policy_lr.method is '{section['method']}': expected one of fine_tuning.methods"
            f" ({names(methods)})."
        )
    if len(plan.online.variations) < len(section.get("policy_learning_rates", [])):
        raise UserError(
            f"sweep_policy_lr.policy_learning_rates is {section['policy_learning_rates']}: expected rates"
            " that differ in their first digit or their power of ten."
        )


def _check_images(plan: Plan) -> None:
    """Tasks with images stand alone, with figures of their own and a film of a run that there is."""
    configuration = plan.configuration
    for name in configuration["datasets"]:
        if (name in TASKS) != plan.data.images:
            raise UserError(
                f"datasets has {name} beside tasks with images: expected those alone, or none of them."
            )
    for figure in configuration["figures"]:
        if (figure in IMAGE_FIGURES) != plan.data.images:
            what = "vectors" if plan.data.images else "images"
            raise UserError(f"figures has {figure}, which needs datasets of {what}: expected another one.")
        if figure.removesuffix(OFFLINE_FIGURE) in (TABLE_SCRIPTS, BY_REGIME) and not plan.data.table_tasks:
            raise UserError(
                f"figures has {figure}, which needs datasets of the robot's table, such as those of"
                " SlideDelta-v0: expected another one."
            )
    if FILM in configuration["figures"] and not plan.online.names:
        raise UserError("figures has film, which needs fine_tuning: expected another one.")
    film, seeds = configuration.get("film", {}), configuration["fine_tuning"]["seeds"]
    for key, known in (("label", plan.online.names), ("seed", seeds)):
        if key in film and film[key] not in known:
            raise UserError(
                f"film.{key} is {film[key]!r}: expected one of those of fine_tuning ({names(known)})."
            )


def _check_datasets(key: str, section: Json, configuration: Json) -> None:
    for dataset in section.get("datasets", []):
        if dataset not in configuration["datasets"]:
            known = names(configuration["datasets"])
            raise UserError(f"{key}.datasets has '{dataset}': expected one of the datasets ({known}).")
