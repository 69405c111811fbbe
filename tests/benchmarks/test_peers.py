"""The restated peers compute what our methods compute: a race of different computations says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from algorithms.methods import awac, bcq, conservative, cql, losses, off2on, rlpd, sac
from algorithms.population.agents import ActorCritics, Population
from algorithms.population.perceptrons import PopulationLinear, PopulationMLP
from algorithms.replay.batch import Batch
from benchmarks.peers.authors_bcq import AuthorsBCQ
from benchmarks.peers.authors_off2on import AuthorsOff2On, EnsembleCritic, EnsembleLayer
from benchmarks.peers.corl_awac import CorlAWAC
from benchmarks.peers.corl_cql import CorlCQL
from benchmarks.peers.plain_rlpd import PlainRLPD
from benchmarks.peers.rlkit_sac import Perceptron, Policy, RlkitSAC

OBSERVATION, ACTION, ROWS, WIDTHS = 5, 2, 24, (16, 16)
CERTAIN = -15.0  # log standard deviation of a policy that is as good as deterministic
NO_ENTROPY = -40.0  # log of an entropy coefficient that is as good as zero


def make_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.ones(1, ROWS)
    masks[:, ::3] = 0
    return Batch(
        torch.randn(1, ROWS, OBSERVATION, generator=generator),
        2 * torch.rand(1, ROWS, ACTION, generator=generator) - 1,
        torch.randn(1, ROWS, generator=generator),
        masks,
        torch.randn(1, ROWS, OBSERVATION, generator=generator),
    )


def columns(batch: Batch) -> tuple[Tensor, ...]:
    """One run's rows, with rewards and masks [B, 1]."""
    observations, actions, rewards, masks, next_observations = (field[0] for field in batch[:5])
    return observations, actions, rewards.unsqueeze(-1), masks.unsqueeze(-1), next_observations


@torch.no_grad()
def randomise(agents: Population) -> None:
    """Networks with opinions, fresh ones being nearly constant."""
    torch.manual_seed(0)
    for network in agents.exported:
        for parameter in agents.get_submodule(network).parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    agents.copy_targets()


@torch.no_grad()
def make_certain(agents: ActorCritics) -> None:
    """Deterministic, alike and without entropy, so that no draw matters."""
    agents.log_entropy_coefficient.fill_(NO_ENTROPY)
    for parameter in agents.policy.parameters():
        parameter.copy_(parameter[:1].expand_as(parameter))
    head = agents.policy.net.affine_maps()[-1]
    head.weight[..., ACTION:] = 0
    head.bias[..., ACTION:] = CERTAIN


def fill(linear: Iterable[nn.Module], net: PopulationMLP, index: int) -> None:
    """Copy network `index` of ours into a peer's linear layers."""
    fill_maps(linear, net.affine_maps(), index)


@torch.no_grad()
def fill_maps(linear: Iterable[nn.Module], maps: Iterable[PopulationLinear], index: int) -> None:
    for module, ours in zip(linear, maps, strict=True):
        assert isinstance(module, nn.Linear)
        module.weight.copy_(ours.weight[index].T)
        module.bias.copy_(ours.bias[index, 0])


@torch.no_grad()
def copy_network(peer: nn.Module, net: PopulationMLP, index: int) -> None:
    """Network `index` of ours into the peer's, its norms too."""
    fill(linear_layers(peer), net, index)
    norms = [module for module in peer.modules() if isinstance(module, nn.LayerNorm)]
    for norm, ours in zip(norms, getattr(net, "scales", []), strict=True):
        norm.weight.copy_(ours.gain[index, 0])
        norm.bias.copy_(ours.shift[index, 0])


def linear_layers(net: nn.Module) -> list[nn.Module]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


@torch.no_grad()
def fill_policy(policy: nn.Module, agents: ActorCritics, index: int) -> None:
    assert isinstance(policy, Policy)
    *hidden, last = agents.policy.net.affine_maps()
    fill_maps(policy.net.hidden, hidden, index)
    for head, part in ((policy.net.last, slice(ACTION)), (policy.log_std, slice(ACTION, None))):
        head.weight.copy_(last.weight[index][:, part].T)
        head.bias.copy_(last.bias[index, 0, part])


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def layers(net: Perceptron) -> list[nn.Module]:
    return [*net.hidden, net.last]


def test_corl_s_critic_loss_is_ours_on_average_over_draws() -> None:
    config = cql.CQLConfig(hidden_widths=WIDTHS)
    agents = ActorCritics([0], OBSERVATION, ACTION, config)
    randomise(agents)
    peer = CorlCQL(OBSERVATION, ACTION, WIDTHS)
    with torch.no_grad():
        peer.actor.scale.fill_(1.0)
        peer.actor.shift.fill_(0.0)
    fill(linear_layers(peer.actor.net), agents.policy.net, 0)
    for index, critic in enumerate(peer.critics):
        fill(linear_layers(critic.net), agents.q.net, index)
    peer.targets = [deepcopy(critic) for critic in peer.critics]
    batch = make_batch(1)
    rows = [field[0] for field in batch[:5]]

    def our_loss() -> Tensor:
        td_error, q = losses.critic_loss(agents, batch, cql.td_target(agents, batch, config))
        policy = agents.policy(batch.observations)
        penalty = conservative.penalty(agents, policy, batch, q, config)
        return (td_error + config.conservative_weight * penalty.sum(dim=-1)).detach()

    ours = torch.cat([our_loss() for _ in range(300)])
    theirs = torch.stack([peer.critic_loss(*rows, {}).detach() for _ in range(300)])
    error = (ours.var() / len(ours) + theirs.var() / len(theirs)).sqrt()
    assert abs(ours.mean() - theirs.mean()) < 4 * error
    assert 4 * error < 0.02 * ours.mean()


def test_rlkit_s_gradients_are_ours() -> None:
    config = sac.SACConfig(hidden_widths=WIDTHS)
    agents = ActorCritics([0], OBSERVATION, ACTION, config)
    randomise(agents)
    make_certain(agents)
    peer = RlkitSAC(OBSERVATION, ACTION, WIDTHS)
    fill_policy(peer.policy, agents, 0)
    for index, critic in enumerate(peer.critics):
        fill(layers(critic), agents.q.net, index)
    peer.targets = [deepcopy(critic) for critic in peer.critics]
    nn.init.constant_(peer.log_alpha, NO_ENTROPY)
    batch = make_batch(1)
    sac.update(agents, batch, config)
    peer.update(*columns(batch))
    for index, critic in enumerate(peer.critics):
        for module, ours in zip(layers(critic), agents.q.net.affine_maps(), strict=True):
            assert isinstance(module, nn.Linear)
            torch.testing.assert_close(gradient(module.weight).T, gradient(ours.weight)[index])
    first = agents.policy.net.affine_maps()[0]
    module = peer.policy.net.hidden[0]
    assert isinstance(module, nn.Linear)
    torch.testing.assert_close(gradient(module.weight).T, gradient(first.weight)[0], rtol=1e-4, atol=1e-6)


def test_the_plain_rlpd_learns_as_ours() -> None:
    """With all target critics drawn no draw is left: after a step's updates the parameters are the same."""
    config = rlpd.RLPDConfig(
        hidden_widths=WIDTHS, critics=3, target_critics=3, updates_per_step=4, batch_size=6
    )
    agents = rlpd.RLPDAgents([0], OBSERVATION, ACTION, config)
    randomise(agents)
    make_certain(agents)
    peer = PlainRLPD(OBSERVATION, ACTION, WIDTHS, critics=3, target_critics=3, updates=4)
    fill_policy(peer.policy, agents, 0)
    for index, critic in enumerate(peer.critics):
        copy_network(critic, agents.q.net, index)
    peer.targets = deepcopy(peer.critics)
    nn.init.constant_(peer.log_alpha, NO_ENTROPY)
    batch = make_batch(1)
    rlpd.update(agents, batch, config)
    peer.update(*columns(batch))
    for index, critic in enumerate(peer.critics):
        for module, ours in zip(linear_layers(critic), agents.q.net.affine_maps(), strict=True):
            torch.testing.assert_close(module.weight.T, ours.weight[index], rtol=1e-4, atol=1e-5)
    first = agents.policy.net.affine_maps()[0]
    module = peer.policy.net.hidden[0]
    assert isinstance(module, nn.Linear)
    torch.testing.assert_close(gradient(module.weight).T, gradient(first.weight)[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("members", [1, 3])
def test_the_authors_gradients_and_priorities_are_ours(members: int) -> None:
    config = off2on.Off2OnConfig(hidden_widths=WIDTHS, density_hidden_widths=WIDTHS, ensemble_size=members)
    agents = off2on.Off2OnAgents([0], OBSERVATION, ACTION, config, config.ensemble_size)
    randomise(agents)
    agents.density.initialise(agents.streams)
    make_certain(agents)
    peer = AuthorsOff2On(OBSERVATION, ACTION, members, WIDTHS)
    for index, policy in enumerate(peer.policy.policies):
        fill_policy(policy, agents, index)
    for twin, critic in enumerate(peer.critics):
        _fill_ensemble(critic, agents, twin)
    peer.targets = [deepcopy(critic) for critic in peer.critics]
    fill(layers(peer.density), agents.density.net, 0)
    nn.init.constant_(peer.log_alpha, NO_ENTROPY)
    batch, offline, online = (make_batch(seed) for seed in (1, 2, 3))
    priorities, _ = off2on.update(agents, batch, offline, online, config)
    others = (
        (offline.observations[0], offline.actions[0]),
        (online.observations[0], online.actions[0]),
    )
    their_priorities = peer.update(*columns(batch), *others)  # type: ignore[arg-type]
    torch.testing.assert_close(their_priorities.T, priorities)
    # The mixture's deviation is not quite zero in the authors' formula, so draws show a little.
    for twin, critic in enumerate(peer.critics):
        for module, ours in zip((*critic.hidden, critic.last), agents.q.net.affine_maps(), strict=True):
            expected = gradient(ours.weight)[twin::2]
            assert isinstance(module, EnsembleLayer)
            torch.testing.assert_close(gradient(module.weights), expected, rtol=1e-3, atol=1e-4)
    for module, ours in zip(layers(peer.density), agents.density.net.affine_maps(), strict=True):
        assert isinstance(module, nn.Linear)
        torch.testing.assert_close(gradient(module.weight).T, gradient(ours.weight)[0])


@torch.no_grad()
def _fill_ensemble(critic: EnsembleCritic, agents: ActorCritics, twin: int) -> None:
    for module, ours in zip((*critic.hidden, critic.last), agents.q.net.affine_maps(), strict=True):
        assert isinstance(module, EnsembleLayer)
        module.weights.copy_(ours.weight[twin::2])
        module.biases.copy_(ours.bias[twin::2])


def assert_same_gradients(linear: Iterable[nn.Module], net: PopulationMLP, index: int) -> None:
    for module, ours in zip(linear, net.affine_maps(), strict=True):
        assert isinstance(module, nn.Linear)
        expected = gradient(ours.weight)[index], gradient(ours.bias)[index, 0]
        found = gradient(module.weight).T, gradient(module.bias)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_corl_s_awac_gradients_are_ours() -> None:
    config = awac.AWACConfig(WIDTHS, WIDTHS, (CERTAIN, CERTAIN), advantage_weighting="exponential")
    agents = awac.AWACAgents([0], OBSERVATION, ACTION, config)
    randomise(agents)
    peer = CorlAWAC(OBSERVATION, ACTION, WIDTHS, WIDTHS)
    fill(linear_layers(peer.actor), agents.policy.net, 0)
    nn.init.constant_(peer.actor.log_std, CERTAIN)
    for index, critic in enumerate(peer.critics):
        fill(linear_layers(critic), agents.q.net, index)
    peer.targets = [deepcopy(critic) for critic in peer.critics]
    batch = make_batch(1)
    rows = [field[0] for field in batch[:5]]

    critics, q = losses.critic_loss(agents, batch, awac.td_target(agents, batch, config))
    critics.sum().backward()  # type: ignore[no-untyped-call]
    peer.critic_loss(*rows).backward()  # type: ignore[no-untyped-call]
    for index, critic in enumerate(peer.critics):
        assert_same_gradients(linear_layers(critic), agents.q.net, index)

    policy = agents.policy(batch.observations)
    weights = awac.advantage_weights(agents, policy, batch, q, config)
    ours = awac.actor_loss(policy, batch, weights).sum() * math.exp(2 * CERTAIN)
    ours.backward()  # type: ignore[no-untyped-call]
    (peer.actor_loss(*rows[:2]) * math.exp(2 * CERTAIN)).backward()
    assert weights.std() > 0.1
    assert_same_gradients(linear_layers(peer.actor), agents.policy.net, 0)


def make_bcq_pair(seed: int) -> tuple[bcq.BCQAgents, AuthorsBCQ, bcq.BCQConfig]:
    """Ours, whose stream begins at `seed`, and the authors', with the same networks."""
    config = bcq.BCQConfig(hidden_widths=WIDTHS, generator_hidden_widths=WIDTHS)
    agents = bcq.BCQAgents([seed], OBSERVATION, ACTION, config)
    randomise(agents)
    peer = AuthorsBCQ(OBSERVATION, ACTION, WIDTHS, WIDTHS)
    fill_generator(peer, agents)
    fill(layers(peer.perturbation.net), agents.perturbation.net, 0)
    for index, critic in enumerate(peer.critics):
        assert isinstance(critic, Perceptron)
        fill(layers(critic), agents.q.net, index)
    peer.target_perturbation, peer.targets = deepcopy(peer.perturbation), deepcopy(peer.critics)
    return agents, peer, config


@torch.no_grad()
def fill_generator(peer: AuthorsBCQ, agents: bcq.BCQAgents) -> None:
    *hidden, last = agents.vae.encoder.affine_maps()
    fill_maps(peer.generator.encoder.hidden, hidden, 0)
    means, log_stds = last.weight[0].T.chunk(2)
    peer.generator.encoder.last.weight.copy_(means)
    peer.generator.log_std.weight.copy_(log_stds)
    for head, bias in zip(
        (peer.generator.encoder.last, peer.generator.log_std), last.bias[0, 0].chunk(2), strict=True
    ):
        head.bias.copy_(bias)
    fill(layers(peer.generator.decoder), agents.vae.decoder, 0)


def test_the_authors_bcq_gradients_are_ours() -> None:
    """Both draw from streams of the same beginning, in the same order."""
    agents, peer, config = make_bcq_pair(seed=5)
    batch = make_batch(1)
    observations, actions, rewards, masks, next_observations = columns(batch)
    torch.manual_seed(5)
    bcq.vae_loss(agents, batch).sum().backward()  # type: ignore[no-untyped-call]
    peer.generator_loss(observations, actions).backward()  # type: ignore[no-untyped-call]
    assert_same_gradients(layers(peer.generator.decoder), agents.vae.decoder, 0)
    encoder = agents.vae.encoder.affine_maps()
    for module, ours in zip(peer.generator.encoder.hidden, encoder[:-1], strict=True):
        assert isinstance(module, nn.Linear)
        torch.testing.assert_close(gradient(module.weight).T, gradient(ours.weight)[0], rtol=1e-4, atol=1e-6)

    target = bcq.td_target(agents, batch, config)
    their_target = peer.td_target(rewards, masks, next_observations)
    torch.testing.assert_close(their_target[:, 0], target[0], rtol=1e-4, atol=1e-5)
    losses.critic_loss(agents, batch, target)[0].sum().backward()  # type: ignore[no-untyped-call]
    peer.critic_loss(observations, actions, their_target).backward()  # type: ignore[no-untyped-call]
    for index, critic in enumerate(peer.critics):
        assert isinstance(critic, Perceptron)
        assert_same_gradients(layers(critic), agents.q.net, index)

    bcq.perturbation_loss(agents, batch.observations).sum().backward()  # type: ignore[no-untyped-call]
    peer.perturbation_loss(observations).backward()  # type: ignore[no-untyped-call]
    assert_same_gradients(layers(peer.perturbation.net), agents.perturbation.net, 0)


def test_the_authors_bcq_steps_as_ours_does() -> None:
    """Networks one after the other, then targets: the same decisions after some updates."""
    agents, peer, config = make_bcq_pair(seed=5)
    torch.manual_seed(5)
    for number in range(3):
        batch = make_batch(number)
        bcq.update(agents, batch, config)
        peer.update(*columns(batch))  # type: ignore[arg-type]
    pairs = [
        (peer.perturbation.net, agents.perturbation.net, 0),
        (peer.target_perturbation.net, agents.target_perturbation.net, 0),
        (peer.generator.decoder, agents.vae.decoder, 0),
        (peer.targets[1], agents.target_q.net, 1),
    ]
    for theirs, net, index in pairs:
        assert isinstance(theirs, Perceptron)
        for module, ours in zip(layers(theirs), net.affine_maps(), strict=True):
            assert isinstance(module, nn.Linear)
            torch.testing.assert_close(module.weight.T, ours.weight[index], rtol=0, atol=2e-5)
