"""Settings are what their dataclasses say: their own defaults fit, and what does not is refused by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import pytest
from torch import Tensor

from algorithms.diagnostics.likelihood import LikelihoodConfig
from algorithms.methods.cql import CQLConfig
from algorithms.population.encoding import EncoderConfig
from algorithms.training.acceleration import Compute
from algorithms.training.offline import OfflineSchedule
from algorithms.training.online import OnlineSchedule
from offline_data.manipulation import Settings
from storage import UserError
from storage.settings import build, check
from tests.algorithms.by_name import METHODS, OFFLINE_METHODS
from workflow.code_hash import ROOT

METHOD_CONFIGS = {method.Config for method in (METHODS | OFFLINE_METHODS).values()}
KINDS = [
    Compute,
    EncoderConfig,
    LikelihoodConfig,
    OfflineSchedule,
    OnlineSchedule,
    *sorted(METHOD_CONFIGS, key=str),
]
UNBOUNDED = {"int", "float", "tuple[int, ...]", "tuple[float, float]"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_are_among_the_values_allowed(kind: Any) -> None:
    assert build(kind, asdict(kind()), "here") == kind()


@pytest.mark.parametrize("kind", [*KINDS, Settings])
def test_every_number_has_bounds(kind: Any) -> None:
    assert not {part.name: part.type for part in fields(kind) if str(part.type) in UNBOUNDED}


@pytest.mark.parametrize(
    ("kind", "section", "sentence"),
    [
        (LikelihoodConfig, {"updates": 0}, "here.updates is 0: expected at least 1."),
        (
            LikelihoodConfig,
            {"held_out_fraction": 1.0},
            "held_out_fraction is 1.0: expected less than 1.",
        ),
        (CQLConfig, {"log_std_range": [-5, 0]}, "is [-5, 0]: expected a range with 0 inside of it."),
        (CQLConfig, {"log_std_range": [0, 2]}, "is [0, 2]: expected a range with 0 inside of it."),
        (
            CQLConfig,
            {"log_std_range": [1, -1]},
            "is [1, -1]: expected the lower end first and a higher",
        ),
        (CQLConfig, {"encoder": {"padding": -1}}, "here.encoder.padding is -1: expected at least 0."),
        (CQLConfig, {"encoder": 3}, "here.encoder is 3: expected keys with values."),
        (CQLConfig, {"policy_hidden_widths": [0]}, "policy_hidden_widths.0 is 0: expected at least 1."),
        (OnlineSchedule, {"block_size": 3}, "here: evaluation_interval is 1000, expected a multiple of"),
        (OnlineSchedule, [], "here is []: expected keys with values."),
        (Compute, {"device": "tpu"}, "here.device is 'tpu': expected one of cpu, cuda."),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(kind: Any, section: Any, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        build(kind, section, "here")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")


def test_lists_of_files_become_tuples_and_keys_a_dataclass() -> None:
    assert build(LikelihoodConfig, {"hidden_widths": [3]}, "here").hidden_widths == (3,)
    made = build(Settings, {"prior": 1, "task": 0, "random": 0, "prior_noise": {"pick": 0.5}}, "here")
    assert made.prior_noise.pick == 0.5


@dataclass(frozen=True)
class OwnConfig:
    """A user's own settings, without bounds."""

    temperature: float = 1.0
    widths: tuple[int, ...] = field(default_factory=lambda: (1, 2))


@dataclass(frozen=True)
class NoSettings:
    """A field of a type that no file can have."""

    other: Tensor | None = None


def test_a_users_own_settings_are_checked_by_their_types() -> None:
    assert build(OwnConfig, {"temperature": 2}, "here") == OwnConfig(2.0)
    with pytest.raises(UserError, match=r"^here\.temperature is '2': expected a number\.$"):
        check(OwnConfig, {"temperature": "2"}, "here")
    with pytest.raises(UserError, match=r"NoSettings is no dataclass of settings: Unable to"):
        check(NoSettings, {}, "here")


def test_planning_imports_no_compiler_no_statistics_and_no_method_that_is_not_named() -> None:
    code = (
        "import sys; from pathlib import Path; from workflow.configuration import read;"
        "read(Path('config/pilot.yaml')); read(Path('config/dmpo.yaml'));"  # the latter has claims of its own
        "slow = {'torch._dynamo', 'algorithms.methods.bcq', 'rliable', 'scipy.stats'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_checked_is_completed_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from workflow.configuration import completed, load;"
        "completed(load(Path('config/pilot.yaml'))); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
