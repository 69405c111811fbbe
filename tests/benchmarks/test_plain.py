"""The plain statements of today's baselines learn as ours do: after updates the parameters are the same."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from algorithms.methods import cal_ql, cql, dmpo, edac, iql, lbrac, pex, rebrac, so2, wsrl
from algorithms.population.agents import ActorCritics
from algorithms.population.encoding import EncoderConfig, ObservationEncoding
from algorithms.population.perceptrons import PopulationMLP
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from algorithms.training import trial
from benchmarks.peers import plain, plain_heterogeneous, plain_images
from tests.benchmarks.test_peers import (
    ACTION,
    NO_ENTROPY,
    OBSERVATION,
    WIDTHS,
    columns,
    copy_network,
    fill,
    linear_layers,
    make_batch,
    make_certain,
    randomise,
)

SIZES = (OBSERVATION, ACTION)
NEARLY = {"rtol": 1e-3, "atol": 1e-5}


def assert_same(peers: Iterable[nn.Module], net: PopulationMLP, outputs: int | None = None) -> None:
    """Each peer's linear layers as that network's of ours; of the last one so many outputs.

    Deviations that are as good as zero have gradients of rounding alone, which Adam makes steps of.
    """
    for index, peer in enumerate(peers):
        for module, ours in zip(linear_layers(peer), net.affine_maps(), strict=True):
            assert isinstance(module, nn.Linear)
            own = slice(outputs if ours is net.affine_maps()[-1] else None)
            torch.testing.assert_close(module.weight.T[:, own], ours.weight[index][:, own], **NEARLY)
            torch.testing.assert_close(module.bias[own], ours.bias[index, 0][own], **NEARLY)


def assert_same_actor_critic(peer: Any, agents: Any) -> None:
    """The same critics and means of the policy."""
    assert_same(peer.critics, agents.q.net)
    assert_same([peer.policy.net], agents.policy.net, ACTION)


def copied(peer: Any, agents: Any) -> Any:
    """The peer with the agents' networks, targets as they are."""
    copy_network(getattr(peer.policy, "net", peer.policy), agents.policy.net, 0)
    for index, critic in enumerate(peer.critics):
        copy_network(critic, agents.q.net, index)
    peer.targets = deepcopy(peer.critics)
    return peer


def actor_critic(kind: Any, peer: type[plain.ActorCritic], config: Any) -> tuple[Any, Any]:
    """Ours and a peer without entropy, whose policies are nearly deterministic."""
    agents = kind([0], *SIZES, config)
    randomise(agents)
    if not isinstance(agents, cal_ql.CalQLAgents):
        make_certain(agents)
    theirs = copied(peer(*SIZES, config), agents)  # type: ignore[call-arg]
    with torch.no_grad():
        for log_alpha in (agents.log_entropy_coefficient, theirs.log_alpha):
            log_alpha.fill_(NO_ENTROPY)
        if isinstance(agents, cal_ql.CalQLAgents):
            for offset in (agents.policy.log_std_offset, theirs.policy.offset):
                offset.fill_(-50.0)
            for scale in (agents.policy.log_std_scale, theirs.policy.scale):
                scale.fill_(1.0)
    return agents, theirs


SMALL = {"hidden_widths": WIDTHS, "batch_size": 6}
ALL = {"critics": 3, "target_critics": 3, "drawn_with_replacement": False}
CERTAIN_RANGE = {"log_std_range": (-20.0, 2.0)}
WSRL = wsrl.WSRLConfig(
    **SMALL,
    **ALL,
    **CERTAIN_RANGE,
    conservative_weight=0.0,
    shared_critic_output=False,
    idle_adam_steps=False,
)  # type: ignore[arg-type]


def test_the_plain_wsrl_learns_online_as_ours() -> None:
    config = replace(WSRL, updates_per_step=4)
    agents, peer = actor_critic(wsrl.WSRLAgents, plain.PlainWSRL, config)
    wsrl.fine_tune(agents, make_batch(1), config)
    peer.fine_tune(*columns(make_batch(1)))
    assert_same_actor_critic(peer, agents)


def test_the_plain_wsrl_learns_offline_as_ours() -> None:
    agents, peer = actor_critic(wsrl.WSRLAgents, plain.PlainWSRL, WSRL)
    wsrl.pretrain(agents, make_batch(1), WSRL)
    peer.pretrain(*columns(make_batch(1)))
    assert_same_actor_critic(peer, agents)


def test_the_plain_cal_ql_learns_as_ours() -> None:
    config = cal_ql.CalQLConfig(**SMALL, **CERTAIN_RANGE, conservative_weight=0.0)  # type: ignore[arg-type]
    agents, peer = actor_critic(cal_ql.CalQLAgents, plain.PlainCalQL, config)
    batch = with_extras(make_batch(1))
    cal_ql.update(agents, batch, config)
    peer.update(batch.extras["returns_to_go"][0, :, None], *columns(batch))
    assert_same(peer.critics, agents.q.net)


def with_extras(batch: Batch) -> Batch:
    following = make_batch(2)
    extras = {"returns_to_go": following.rewards, "next_actions": following.actions}
    return batch._replace(extras={**extras, "continues": torch.ones_like(batch.rewards)})


def test_the_plain_edac_learns_as_ours() -> None:
    config = edac.EDACConfig(**SMALL, **CERTAIN_RANGE, critics=3, diverse_critics="all")  # type: ignore[arg-type]
    agents, peer = actor_critic(edac.EDACAgents, plain.PlainEDAC, config)
    edac.update(agents, make_batch(1), config)
    peer.update(*columns(make_batch(1)))
    assert_same_actor_critic(peer, agents)


def test_the_plain_so2_learns_as_ours() -> None:
    config = so2.SO2Config(
        **{**SMALL, "batch_size": 10},
        critics=3,
        target_noise=0.0,
        updates_per_step=4,  # type: ignore[arg-type]
    )
    agents, peer = actor_critic(edac.EDACAgents, plain.PlainSO2, config)
    so2.update(agents, make_batch(1), config)
    peer.update(*columns(make_batch(1)))
    assert_same(peer.critics, agents.q.net)
    assert_same([peer.policy.net], agents.policy.net, ACTION)


@pytest.mark.parametrize("method", [iql, pex])
def test_the_plain_iql_and_pex_learn_as_ours(method: Any) -> None:
    """What PEX's new policy imitates is drawn: V and critics are compared, IQL's policy too."""
    config, kind, peer_kind = (
        (iql.IQLConfig(**SMALL), iql.IQLAgents, plain.PlainIQL)  # type: ignore[arg-type]
        if method is iql
        else (pex.PEXConfig(**SMALL), pex.PEXAgents, plain.PlainPEX)  # type: ignore[arg-type]
    )
    agents: Any = kind([0], *SIZES, config)
    randomise(agents)
    with torch.no_grad():
        agents.policy.log_std.zero_()
    peer: Any = copied(peer_kind(*SIZES, config), agents)  # type: ignore[arg-type]
    copy_network(peer.v, agents.v.net, 0)
    for number in (1, 2):
        method.update(agents, make_batch(number), config)
        peer.update(*columns(make_batch(number)))
    assert_same(peer.critics, agents.q.net)
    assert_same([peer.v], agents.v.net)
    if method is iql:
        assert_same([peer.policy], agents.policy.net)
        torch.testing.assert_close(peer.log_std, agents.policy.log_std[0, 0], **NEARLY)


def test_the_plain_rebrac_learns_as_ours() -> None:
    config = rebrac.ReBRACConfig(**SMALL, target_noise=0.0)  # type: ignore[arg-type]
    agents = rebrac.ReBRACAgents([0], *SIZES, config)
    randomise(agents)
    learner, peer = rebrac.ReBRAC(agents, config), copied(plain.PlainReBRAC(*SIZES, config), agents)
    peer.target_policy = deepcopy(peer.policy)
    for number in range(4):
        batch = with_extras(make_batch(number))
        learner.update(batch, number)
        peer.update(batch.extras["next_actions"][0], *columns(batch))
    assert_same(peer.critics, agents.q.net)
    assert_same(peer.targets, agents.target_q.net)
    assert_same([peer.policy], agents.policy.net)
    assert_same([peer.target_policy], agents.target_policy.net)


def draw_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn from now on is this number, by ours and by the plain statements."""
    number = 0.3
    for name in ("normal", "uniform"):
        monkeypatch.setattr(Streams, name, lambda streams, *shape: torch.full((len(streams), *shape), number))
    for name in ("randn_like", "rand_like"):
        monkeypatch.setattr(torch, name, lambda like: torch.full_like(like, number))
    monkeypatch.setattr(torch, "randn", lambda *shape: torch.full(shape, number))


@torch.no_grad()
def test_the_plain_dmpo_learns_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dmpo.DMPOConfig(**SMALL, sub_policies=3)  # type: ignore[arg-type]
    agents = dmpo.DMPOAgents([0], *SIZES, config)
    randomise(agents)
    learner, peer = dmpo.DMPO(agents, config), plain_heterogeneous.PlainDMPO(*SIZES, config)
    copied(peer, agents)
    copy_network(peer.encoder, agents.encoder.net, 0)
    peer.policy.embedding.weight.copy_(agents.policy.embedding.weight[0].T)
    peer.policy.embedding.bias.copy_(agents.policy.embedding.bias[0, 0])
    peer.target_policy = deepcopy(peer.policy)
    batches = [make_batch(number) for number in range(4)]
    draw_one_number(monkeypatch)
    with torch.enable_grad():
        for number, batch in enumerate(batches):
            learner.update(batch, number)
            peer.update(*columns(batch))
    assert_same(peer.critics, agents.q.net)
    assert_same(peer.targets, agents.target_q.net)
    assert_same([peer.policy.net], agents.policy.net)
    assert_same([peer.target_policy.net], agents.target_policy.net)
    assert_same([peer.encoder], agents.encoder.net)
    torch.testing.assert_close(peer.policy.embedding.weight.T, agents.policy.embedding.weight[0], **NEARLY)


@torch.no_grad()
def test_the_plain_lbrac_v_learns_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = {"hidden_widths": (8, 7, 6), "policy_hidden_widths": (7, 6, 5)}
    config = lbrac.LBRACConfig(**widths, batch_size=6, policies=3, embedding_size=4, divergence_actions=2)
    agents = lbrac.LearnedAgents([0], *SIZES, config, torch.ones(5))
    randomise(agents)
    peer = plain_heterogeneous.PlainLBRAC(*SIZES, config, 5)
    for theirs, ours, index in (
        (peer.policy, agents.policy, 0),
        *((critic, agents.q, index) for index, critic in enumerate(peer.critics)),
    ):
        assert isinstance(theirs, plain_heterogeneous.PlainDescribed)
        fill(linear_layers(theirs.body), ours.body, index)
        fill(linear_layers(theirs.head), ours.head, index)
        theirs.norm.weight.copy_(ours.scale.gain[index, 0])
        theirs.norm.bias.copy_(ours.scale.shift[index, 0])
        if isinstance(theirs, plain_heterogeneous.PlainCritic):
            theirs.policies.weight.copy_(agents.q.policies.vectors[index])
    peer.targets = deepcopy(peer.critics)
    peer.policies.weight.copy_(agents.policies.vectors[0])
    peer.trajectories.weight.copy_(agents.trajectories.vectors[0])
    learner, batches = lbrac.LBRACV(agents, config), [make_batch(number) for number in range(3)]
    trajectory = torch.arange(batches[0].rewards.shape[1]) % 5
    draw_one_number(monkeypatch)
    with torch.enable_grad():
        for number, batch in enumerate(batches):
            learner.update(batch._replace(extras={"trajectory": trajectory.unsqueeze(0)}), number)
            peer.update(trajectory, *columns(batch))
    assert_same((critic.body for critic in peer.critics), agents.q.body)
    assert_same((critic.head for critic in peer.targets), agents.target_q.head)
    assert_same([peer.policy.body], agents.policy.body)
    assert_same([peer.policy.head], agents.policy.head)
    torch.testing.assert_close(peer.policies.weight, agents.policies.vectors[0], **NEARLY)
    torch.testing.assert_close(peer.trajectories.weight, agents.trajectories.vectors[0], **NEARLY)


def test_the_penalty_of_candidates_is_ours_on_average_over_draws() -> None:
    config = cal_ql.CalQLConfig(hidden_widths=WIDTHS)
    agents = cal_ql.CalQLAgents([0], *SIZES, config)
    randomise(agents)
    peer = copied(plain.PlainCalQL(*SIZES, config), agents)
    with torch.no_grad():
        peer.policy.scale.copy_(agents.policy.log_std_scale[0, 0, 0])
        peer.policy.offset.copy_(agents.policy.log_std_offset[0, 0, 0])
    batch = with_extras(make_batch(1))
    bounds = batch.extras["returns_to_go"][0, :, None]

    def our_draw() -> torch.Tensor:
        q, policy = agents.q(batch.observations, batch.actions), agents.policy(batch.observations)
        return cal_ql.calibrated_penalty(agents, policy, batch, q, config)[0].detach()[0]

    ours = torch.stack([our_draw() for _ in range(300)])
    theirs = torch.stack([peer.gaps(bounds, *columns(batch)).detach() for _ in range(300)])
    error = (ours.var(dim=0) / len(ours) + theirs.var(dim=0) / len(theirs)).sqrt()
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() < 4 * error).all()


def test_the_plain_cql_from_images_learns_as_ours() -> None:
    """Without its random parts, penalty and cloning term: encoder, critics and policy learn as ours do."""
    config = cql.CQLConfig(
        **SMALL,  # type: ignore[arg-type]
        **CERTAIN_RANGE,
        encoder=EncoderConfig("shared", state=True, padding=0),
        conservative_weight=0.0,
        sampled_actions=1,
        clip_targets=True,
        discount=0.9,
    )
    shapes = {"image": (12, 12, 3), "state": (2,)}
    encoding = ObservationEncoding(shapes, config.encoder)  # type: ignore[arg-type]
    agents = ActorCritics([0], encoding.feature_size, ACTION, config)
    encoding.attach(agents)
    agents.initialise()
    randomise(agents)
    make_certain(agents)
    peer = copied(plain_images.PlainCQLFromImages(shapes["image"], 2, ACTION, config), agents)
    ours = list(zip(agents.image_encoder.weights, agents.image_encoder.biases, strict=True))
    convolutions = [layer for layer in peer.encoder if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        peer.log_alpha.fill_(NO_ENTROPY)
        for layer, (weight, bias) in zip(convolutions, ours, strict=True):
            layer.weight.copy_(weight[0])
            layer.bias.copy_(bias[0])
    batch = trial.made_up(1, trial.Sizes(shapes, ACTION), 6).map(lambda rows: rows.unsqueeze(0))
    cql.update(agents, agents.encode(batch), config, step=1_000_000)
    seen = [(each["image"][0], each["state"][0]) for each in (batch.observations, batch.next_observations)]
    peer.update(seen[0], batch.actions[0], batch.rewards.T, batch.masks.T, seen[1])
    for layer, (weight, bias) in zip(convolutions, ours, strict=True):
        torch.testing.assert_close(layer.weight, weight[0], **NEARLY)
        torch.testing.assert_close(layer.bias, bias[0], **NEARLY)
    assert_same_actor_critic(peer, agents)
