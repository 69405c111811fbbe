"""Defaults are the published numbers, written down a second time: an edit of one is an edit of a method."""

from __future__ import annotations

from typing import Any

import pytest

from algorithms.methods import (
    behaviour_cloning,
    brac,
    cal_ql,
    dmpo,
    edac,
    iql,
    latent_awac,
    lbrac,
    mixture_awac,
    multi_source,
    normalised_awac,
    pex,
    rebrac,
    reds,
    rlpd,
    so2,
    wsrl,
)

SAC = {"discount": 0.99, "target_update_rate": 5e-3, "hidden_widths": (256, 256), "batch_size": 256}
ADAM = {"policy_learning_rate": 3e-4, "value_learning_rate": 3e-4}
ESTIMATE = {
    "hidden_widths": (300, 300, 300),
    "policy_hidden_widths": (200, 200, 200),
    "policies": 10,
    "embedding_size": 8,
    "commitment_weight": 0.1,
    "batch_size": 256,
    "discount": 0.99,
    "target_update_rate": 1e-3,
    "policy_learning_rate": 5e-5,
    "value_learning_rate": 1e-4,
}
IQL = SAC | ADAM | {"log_std_range": (-5.0, 2.0), "largest_weight": 100.0}
TD3 = {
    "hidden_widths": (256, 256, 256),
    "critic_norm": "after",
    "policy_norm": "none",
    "discount": 0.99,
    "target_update_rate": 5e-3,
    "policy_delay": 2,
    "target_noise": 0.2,
    "target_noise_limit": 0.5,
    "exploration_noise": 0.0,
    "normalise_q": True,
}
PUBLISHED: list[tuple[type[Any], dict[str, Any]]] = [
    (
        rlpd.RLPDConfig,
        SAC
        | ADAM
        | {
            "initial_entropy_coefficient": 1.0,
            "critics": 10,
            "critic_norm": "before",
            "target_critics": 2,
            "drawn_with_replacement": False,
            "updates_per_step": 20,
            "warm_up_steps": 5000,
            "entropy_backup": True,
            "target_entropy_per_dimension": -0.5,
            "offline_fraction": 0.5,
        },
    ),
    (
        wsrl.WSRLConfig,
        SAC
        | {
            "policy_learning_rate": 1e-4,
            "value_learning_rate": 3e-4,
            "initial_entropy_coefficient": 1.0,
            "critics": 10,
            "critic_norm": "before",
            "policy_norm": "before",
            "target_critics": 2,
            "drawn_with_replacement": True,
            "updates_per_step": 4,
            "warm_up_steps": 5000,
            "entropy_backup": False,
            "target_entropy_per_dimension": -1.0,
            "conservative_weight": 5.0,
            "sampled_actions": 10,
            "importance_sampling": True,
        },
    ),
    (
        cal_ql.CalQLConfig,
        SAC
        | {
            "policy_learning_rate": 1e-4,
            "value_learning_rate": 3e-4,
            "initial_entropy_coefficient": 1.0,
            "critics": 2,
            "critic_norm": "none",
            "conservative_weight": 5.0,
            "sampled_actions": 10,
            "importance_sampling": True,
            "penalty_gradient_actions": None,
            "reduced_precision_penalty": False,
            "offline_fraction": 0.5,
        },
    ),
    (
        iql.IQLConfig,
        IQL | {"expectile": 0.7, "inverse_temperature": 3.0, "policy_decay_updates": 1_000_000},
    ),
    (
        iql.IQLFineTuningConfig,
        IQL | {"expectile": 0.7, "inverse_temperature": 3.0, "policy_decay_updates": 0},
    ),
    (
        pex.PEXConfig,
        IQL
        | {
            "expectile": 0.9,
            "inverse_temperature": 10.0,
            "acting_inverse_temperature": 10.0,
            "offline_fraction": 0.5,
            "warm_up_steps": 5000,
            "policy_decay_updates": 0,
        },
    ),
    (
        rebrac.ReBRACConfig,
        TD3 | {"batch_size": 1024, "policy_learning_rate": 1e-3, "value_learning_rate": 1e-3},
    ),
    (
        rebrac.ReBRACFineTuningConfig,
        TD3
        | ADAM
        | {"batch_size": 256, "offline_fraction": 0.5, "smallest_decay": 0.5, "decay_updates": 1_000_000},
    ),
    (
        rebrac.TD3BCConfig,
        TD3
        | ADAM
        | {
            "hidden_widths": (256, 256),
            "critic_norm": "none",
            "batch_size": 256,
            "actor_penalty": 1 / 2.5,
        },
    ),
    (
        edac.EDACConfig,
        SAC
        | ADAM
        | {
            "hidden_widths": (256, 256, 256),
            "critics": 10,
            "critic_norm": "none",
            "log_std_range": (-5.0, 2.0),
            "diversity_weight": 1.0,
            "initial_entropy_coefficient": 1.0,
        },
    ),
    (
        so2.SO2Config,
        {
            "hidden_widths": (256, 256, 256),
            "critics": 10,
            "discount": 0.99,
            "target_update_rate": 5e-3,
            "batch_size": 2560,
            "policy_learning_rate": 1e-3,
            "value_learning_rate": 1e-3,
            "initial_entropy_coefficient": 0.2,
            "target_noise": 0.3,
            "target_noise_limit": 0.6,
            "updates_per_step": 10,
            "online_fraction": 0.1,
            "warm_up_steps": 5000,
        },
    ),
    (
        dmpo.DMPOConfig,
        SAC
        | ADAM
        | {
            "sub_policies": 8,
            "policy_delay": 2,
            "target_noise": 0.2,
            "target_noise_limit": 0.5,
            "advantage_scale": 10.0,
            "advantage_weighting": "range",
            "divergence_weight": 1.0,
            "encoder_temperature": 0.67,
            "information": "none",
            "information_learning_rate": 5e-7,
            "minimum_weight": 1.0,
            "learns_values": False,
            "value_range": None,
        },
    ),
    (
        normalised_awac.NormalisedAWACConfig,
        SAC
        | ADAM
        | {"policy_delay": 2, "log_std_range": (-5.0, 0.0), "advantage_scale": 10.0, "value_actions": 5},
    ),
    (
        mixture_awac.MixtureAWACConfig,
        SAC
        | ADAM
        | {"policy_delay": 2, "log_std_range": (-5.0, 0.0), "advantage_scale": 10.0, "sub_policies": 8},
    ),
    (
        latent_awac.LatentAWACConfig,
        SAC
        | ADAM
        | {"advantage_scale": 5.0, "latent_limit": 2.0, "latent_noise": 0.1, "latent_noise_limit": 0.2},
    ),
    (
        brac.BRACConfig,
        {
            "hidden_widths": (300, 300),
            "policy_hidden_widths": (200, 200),
            "behaviour_hidden_widths": (200, 200),
            "batch_size": 256,
            "discount": 0.99,
            "target_update_rate": 5e-3,
            "policy_learning_rate": 3e-5,
            "value_learning_rate": 1e-3,
            "weight_learning_rate": 1e-5,
            "divergence": "kl",
            "divergence_actions": 4,
            "rectified_divergence": False,
            "kernel_width": 20.0,
            "divergence_weight": 1.0,
            "target_divergence": None,
            "warm_start_updates": 20_000,
        },
    ),
    (
        behaviour_cloning.CloningConfig,
        {"behaviour_hidden_widths": (200, 200), "policy_learning_rate": 5e-4, "batch_size": 256},
    ),
    (multi_source.MultiSourceConfig, ESTIMATE),
    (lbrac.LBRACConfig, ESTIMATE | {"divergence_weight": 1.0, "divergence_actions": 10}),
    (
        reds.REDSConfig,
        SAC
        | ADAM
        | {
            "critics": 2,
            "sampled_actions": 10,
            "importance_sampling": True,
            "deterministic_backup": True,
            "mixture": "joint",
        },
    ),
]


@pytest.mark.parametrize(("config", "numbers"), PUBLISHED, ids=lambda each: getattr(each, "__name__", ""))
def test_defaults_are_the_published_numbers(config: type[Any], numbers: dict[str, Any]) -> None:
    found = vars(config())
    assert {name: found[name] for name in numbers} == numbers
