"""What a Minari dataset says of the environment it was recorded on, beside what Gymnasium registers.

A name and a version do not make an environment: keyword arguments, wrappers and another time limit change
observations, actions, rewards or where episodes end, and Minari stores them (Gymnasium's `EnvSpec` as JSON).
"""

from __future__ import annotations

import inspect
import json
import reprlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from envs import plane, tabletop

# Keyword arguments of Gymnasium's `MujocoEnv` that decide what is drawn and nothing else.
_DRAWING = {
    "camera_id",
    "camera_name",
    "default_camera_config",
    "height",
    "max_geom",
    "render_mode",
    "visual_options",
    "width",
}
# Wrappers that hand on what they are given, by package. Minari's own locomotion data name Stable-Baselines3's
# Monitor; `TimeLimit` never stands here, because Gymnasium makes it the specification's `max_episode_steps`.
_WATCHING = {
    "gymnasium.wrappers": {
        "HumanRendering",
        "OrderEnforcing",
        "PassiveEnvChecker",
        "RecordEpisodeStatistics",
        "RecordVideo",
        "RenderCollection",
    },
    "minari.data_collector": {"DataCollector"},
    "stable_baselines3.common": {"Monitor"},
}


def registered(environment: str) -> Any:
    """Gymnasium's own specification of an environment, such as "Hopper-v4"; None for the project's own."""
    if environment in plane.TASKS or environment in tabletop.ENVIRONMENTS:
        return None
    with warnings.catch_warnings():
        # v4 is the version of the published scores; Gymnasium warns that it has a newer one.
        warnings.simplefilter("ignore", DeprecationWarning)
        return gymnasium.spec(environment)


def parsed(stored: Any) -> dict[str, Any]:
    """Return the specification in a dataset's metadata, with `id`, `kwargs` and `additional_wrappers`.

    Raises:
        ValueError: it is not JSON as Gymnasium writes it; the message goes on after "an env_spec that".
    """
    try:
        specification: dict[str, Any] = json.loads(stored)
        specification["id"] = str(specification["id"])
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise ValueError("names no environment") from error
    if not isinstance(specification.setdefault("kwargs", {}), dict):
        raise ValueError("has kwargs without names")
    entries = specification.setdefault("additional_wrappers", [])
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("entry_point"), str) for entry in entries
    ):
        raise ValueError("has additional_wrappers without an entry_point")
    return specification


def differences(specification: Mapping[str, Any], environment: str) -> list[str]:
    """Name the differences of a `parsed` specification from Gymnasium's of that name; empty: none.

    Wrappers that only watch or record, arguments that only decide what is drawn, and arguments that are the
    defaults make no difference.
    """
    return [
        *_other_fields(specification, environment),
        *_other_arguments(specification["kwargs"], environment),
        *_changing_wrappers(specification["additional_wrappers"]),
    ]


def _other_fields(specification: Mapping[str, Any], environment: str) -> Iterator[str]:
    own = registered(environment)
    # Before Gymnasium 1.0, `autoreset` put the next episode's first observation after an episode's last step.
    fields = {"entry_point": own.entry_point, "max_episode_steps": own.max_episode_steps, "autoreset": False}
    for key, expected in fields.items():
        value = specification.get(key, expected)
        if value != expected:
            yield f"{key} is {reprlib.repr(value)} instead of {expected!r}"


def _other_arguments(arguments: Mapping[str, Any], environment: str) -> Iterator[str]:
    own = registered(environment)
    parameters = inspect.signature(load_env_creator(own.entry_point)).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty} | own.kwargs
    for name, value in arguments.items():
        if name in _DRAWING:
            continue
        if name not in defaults:
            yield f"{name} is {reprlib.repr(value)}, which {environment} does not have"
        elif value != json.loads(json.dumps(defaults[name])):  # tuples are lists in JSON
            yield f"{name} is {reprlib.repr(value)} instead of {defaults[name]!r}"


def _changing_wrappers(wrappers: list[Mapping[str, Any]]) -> Iterator[str]:
    for wrapper in wrappers:
        module, _, name = wrapper["entry_point"].partition(":")
        package = ".".join(module.split(".")[:2])
        if name not in _WATCHING.get(package, ()):
            yield f"the wrapper {name} of {module}"
