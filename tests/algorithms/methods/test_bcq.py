"""BCQ: losses equal slow float64 loops, networks step in the paper's order, members learn each for itself."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from algorithms.methods import bcq
from algorithms.methods.bcq import BCQAgents, BCQConfig
from algorithms.population.action_vae import ActionVAE, divergence_from_prior
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE = 4, 2, 3
LATENT = 2 * ACTION
SEEDS = (61, 62)
MEMBERS = 2
CONFIG = BCQConfig(
    ensemble_size=MEMBERS,
    hidden_widths=(7, 5),
    generator_hidden_widths=(6, 8),
    learning_rate=3e-3,
    batch_size=SIZE,
    discount=0.9,
    target_update_rate=0.05,
    perturbation_limit=0.2,
    target_candidates=4,
    acting_candidates=6,
)
POPULATION = len(SEEDS) * MEMBERS


def make_agents(config: BCQConfig = CONFIG) -> BCQAgents:
    return slow.randomise(BCQAgents(SEEDS, OBSERVATION, ACTION, config, MEMBERS))


def make_batch(seed: int = 1, rows: int = POPULATION) -> Batch:
    return slow.random_batch(rows, SIZE, OBSERVATION, ACTION, seed)


def member_noise(streams: Streams, rows: int) -> Tensor:
    """A run's draws, one after the other for each of its members. [P, rows, LATENT]"""
    return streams.normal(MEMBERS, rows, LATENT).reshape(-1, rows, LATENT)


def half_clipped(noise: Tensor) -> Tensor:
    return torch.where(noise.abs() > 0.5, 0.5 * noise.sign(), noise)


def network(parameters: slow.Parameters, prefix: str, agent: int, *inputs: Tensor) -> Tensor:
    """One of an agent's networks applied to one joined input vector."""
    named = {name.replace("coder.layers", "coder.net.layers"): tensor for name, tensor in parameters.items()}
    return slow.perceptron(named, prefix, agent, torch.cat([part.double() for part in inputs]))


def slow_decode(parameters: slow.Parameters, agent: int, state: Tensor, latent: Tensor) -> Tensor:
    return torch.tanh(network(parameters, "vae.decoder.", agent, state, latent))


def slow_perturbed(
    parameters: slow.Parameters, prefix: str, agent: int, state: Tensor, latent: Tensor
) -> Tensor:
    """clip(a + Phi tanh(xi(s, a))), a decoded from the latent; the generator is a constant."""
    action = slow_decode(slow.constant(parameters), agent, state, latent)
    move = CONFIG.perturbation_limit * torch.tanh(network(parameters, prefix, agent, state, action))
    return torch.minimum(torch.maximum(action + move, -torch.ones_like(action)), torch.ones_like(action))


def slow_vae_loss(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """Mean squared error of the reconstruction + half the mean divergence from the prior. [P]"""
    losses = []
    for agent in range(POPULATION):
        error = divergence = torch.zeros((), dtype=torch.float64)
        for row in range(SIZE):
            state, action = batch.observations[agent, row], batch.actions[agent, row]
            outputs = network(parameters, "vae.encoder.", agent, state, action)
            mean, std = outputs[:LATENT], outputs[LATENT:].clamp(-4, 15).exp()
            latent = mean + std * noise[agent, row].double()
            error = error + (slow_decode(parameters, agent, state, latent) - action.double()).pow(2).sum()
            divergence = divergence + kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum()
        losses.append(error / (SIZE * ACTION) + 0.5 * divergence / (SIZE * LATENT))
    return torch.stack(losses)


def slow_target(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """r + discount mask max_i[lambda min + (1 - lambda) max]; the noise is [P, B, n, LATENT]. [P, B]"""

    def value(agent: int, state: Tensor, latent: Tensor) -> Tensor:
        action = slow_perturbed(parameters, "target_perturbation.", agent, state, latent)
        twins = [slow.q_value(parameters, "target_q.", agent, twin, state, action) for twin in (0, 1)]
        return 0.75 * min(twins) + 0.25 * max(twins)

    def one(agent: int, row: int) -> Tensor:
        state = batch.next_observations[agent, row]
        best = max(value(agent, state, half_clipped(latent)) for latent in noise[agent, row])
        return batch.rewards[agent, row].double() + CONFIG.discount * batch.masks[agent, row].double() * best

    return slow.table((one(agent, row) for row in range(SIZE)) for agent in range(POPULATION)).detach()


def slow_perturbation_loss(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """-Q1 of perturbed samples, averaged over the batch; critics and generator are constants. [P]"""
    critics = slow.constant(parameters)

    def one(agent: int, row: int) -> Tensor:
        state, latent = batch.observations[agent, row], half_clipped(noise[agent, row])
        action = slow_perturbed(parameters, "perturbation.", agent, state, latent)
        return -slow.q_value(critics, "q.", agent, 0, state, action)

    return slow.table((one(agent, row) for row in range(SIZE)) for agent in range(POPULATION)).mean(dim=1)


def slow_best(parameters: slow.Parameters, run: int, state: Tensor, latents: Tensor) -> Tensor:
    """The candidate, whoever's, of the highest Q1 in the mean of the members; latents [N, n, LATENT]."""

    parameters = slow.constant(parameters)

    def judged(action: Tensor) -> float:
        members = range(run * MEMBERS, (run + 1) * MEMBERS)
        return sum(float(slow.q_value(parameters, "q.", agent, 0, state, action)) for agent in members)

    candidates = [
        slow_perturbed(parameters, "perturbation.", run * MEMBERS + member, state, latent)
        for member in range(MEMBERS)
        for latent in latents[member]
    ]
    return max(candidates, key=judged)


def step(optimiser: slow.Adam, losses: Tensor, prefix: str) -> None:
    found = slow.gradients(losses.sum(), optimiser.parameters, prefix)
    optimiser.step(found, CONFIG.learning_rate)


class TestNetworks:
    def test_the_divergence_is_the_integral_of_the_log_ratio(self) -> None:
        mean = torch.tensor([0.0, -1.5, 2.0, 0.3, 4.0])
        log_std = torch.tensor([0.0, -4.0, 1.2, -1.0, 0.5])
        found = divergence_from_prior(mean, log_std)
        for index in range(len(mean)):
            density = Normal(mean[index].double(), log_std[index].double().exp())
            points = density.mean + density.stddev * torch.linspace(-12, 12, 20_001, dtype=torch.float64)
            log_ratio = density.log_prob(points) - Normal(0.0, 1.0).log_prob(points)
            expected = torch.trapezoid(density.log_prob(points).exp() * log_ratio, points)
            torch.testing.assert_close(found[index].double(), expected, rtol=1e-5, atol=1e-6)

    def test_the_latents_deviations_are_held_in_their_range(self) -> None:
        vae = ActionVAE(1, OBSERVATION, ACTION, (6,))
        slow.randomise(vae, seed=0, scale=30.0)
        batch = make_batch(rows=1)
        log_std = vae.encode(batch.observations, batch.actions)[1].detach()
        assert float(log_std.min()) == -4.0
        assert float(log_std.max()) == 15.0

    @pytest.mark.parametrize("scale", [0.5, 20.0])
    def test_perturbed_actions_stay_near_the_generated_ones_and_in_the_box(self, scale: float) -> None:
        agents = make_agents()
        slow.randomise(agents, seed=1, scale=scale)
        states = torch.randn(POPULATION, 200, OBSERVATION)
        generated = agents.generate(states)
        generated[:, :20] = generated[:, :20].sign()  # the edges of the box
        perturbed = agents.perturbation(states, generated)
        assert perturbed.shape == (POPULATION, 200, ACTION)
        assert perturbed.abs().max() <= 1
        distance = (perturbed - generated).abs().max()
        assert 0 < distance <= CONFIG.perturbation_limit + 1e-6

    def test_fresh_networks_fill_pytorchs_range_and_targets_equal_them(self) -> None:
        config = dataclasses.replace(CONFIG, hidden_widths=(400, 300))
        agents = BCQAgents(SEEDS, OBSERVATION, ACTION, config, MEMBERS)
        agents.initialise()
        for layer in agents.q.net.affine_maps():
            bound = layer.weight.shape[1] ** -0.5
            for tensor in (layer.weight, layer.bias) if layer.bias.numel() > 1000 else (layer.weight,):
                assert 0.97 * bound < tensor.abs().max() <= bound
                assert tensor.mean().abs() < 0.1 * bound
        state = agents.state_dict()
        for name in state:
            if name.startswith("target_"):
                assert torch.equal(state[name], state[name.removeprefix("target_")])
        first, second = agents.per_run(agents.vae.decoder.affine_maps()[0].weight)[0]
        assert not torch.equal(first, second)


class TestLosses:
    def test_the_vae_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = member_noise(slow.same_streams(agents), SIZE)
        loss = bcq.vae_loss(agents, batch)
        exact = slow.float64_parameters(agents)
        expected = slow_vae_loss(exact, batch, noise)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "vae."))

    def test_the_target_equals_the_formula_candidate_by_candidate(self) -> None:
        agents, batch = make_agents(), make_batch()
        n = CONFIG.target_candidates
        noise = member_noise(slow.same_streams(agents), SIZE * n).reshape(POPULATION, SIZE, n, LATENT)
        target = bcq.td_target(agents, batch, CONFIG)
        assert not target.requires_grad
        expected = slow_target(slow.float64_parameters(agents), batch, noise)
        torch.testing.assert_close(target.double(), expected, rtol=1e-5, atol=1e-5)

    def test_the_perturbation_loss_and_its_gradient_equal_slow_loops(self) -> None:
        agents, batch = make_agents(), make_batch()
        noise = member_noise(slow.same_streams(agents), SIZE)
        loss = bcq.perturbation_loss(agents, batch.observations)
        exact = slow.float64_parameters(agents)
        expected = slow_perturbation_loss(exact, batch, noise)
        torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)
        slow.assert_gradients(agents, loss.sum(), slow.gradients(expected.sum(), exact, "perturbation."))


class TestUpdate:
    def test_updates_equal_adam_steps_by_hand_one_network_after_the_other(self) -> None:
        agents = make_agents()
        optimiser = slow.Adam(slow.float64_parameters(agents))
        n = CONFIG.target_candidates
        for number in range(3):
            shared, streams = make_batch(seed=number, rows=len(SEEDS)), slow.same_streams(agents)
            encoding, bootstrap, acting = (member_noise(streams, rows) for rows in (SIZE, SIZE * n, SIZE))

            metrics = bcq.update(agents, shared, CONFIG)

            batch = shared.map(lambda rows: torch.stack([rows[p // MEMBERS] for p in range(POPULATION)]))
            generator = slow_vae_loss(optimiser.parameters, batch, encoding)
            step(optimiser, generator, "vae.")
            target = slow_target(optimiser.parameters, batch, bootstrap.reshape(POPULATION, SIZE, n, LATENT))
            critics = slow.critic_loss(optimiser.parameters, batch, target)
            step(optimiser, critics, "q.")
            actor = slow_perturbation_loss(optimiser.parameters, batch, acting)
            step(optimiser, actor, "perturbation.")
            optimiser.move_targets(CONFIG.target_update_rate, "target_")

            expected = {"vae_loss": generator, "critic_loss": critics, "actor_loss": actor}
            per_run = {name: value.reshape(-1, MEMBERS).mean(dim=1) for name, value in expected.items()}
            slow.assert_metrics(metrics, per_run, rtol=1e-4, atol=1e-5)
        slow.assert_parameters(agents, optimiser.parameters, rtol=1e-4, atol=1e-5)

    def test_members_of_a_run_learn_each_for_itself(self) -> None:
        def train(factor: float) -> dict[str, Tensor]:
            agents = make_agents()
            with torch.no_grad():
                for parameter in agents.parameters():
                    parameter[: len(parameter) // POPULATION] *= factor
            for number in range(3):
                bcq.update(agents, make_batch(number, len(SEEDS)), CONFIG)
            return agents.training_state()

        state, changed = train(1.0), train(torch.nan)
        for agent in range(1, POPULATION):
            for name, tensor in state.items():
                if tensor.ndim and name.startswith(("networks.", "adam.")):
                    mine = tensor.chunk(POPULATION)[agent]
                    assert torch.equal(changed[name].chunk(POPULATION)[agent], mine), name


class TestActing:
    def test_it_explores_by_the_best_of_fresh_candidates_of_all_members(self) -> None:
        agents, states = make_agents(), torch.randn(len(SEEDS), 3, OBSERVATION)
        each = CONFIG.acting_candidates // MEMBERS
        noise = member_noise(slow.same_streams(agents), 3 * each)
        latents = half_clipped(noise).reshape(len(SEEDS), MEMBERS, 3, each, LATENT)
        explored = agents.explore(states)
        exact = slow.float64_parameters(agents)
        for run in range(len(SEEDS)):
            for row in range(3):
                expected = slow_best(exact, run, states[run, row], latents[run, :, row])
                torch.testing.assert_close(explored[run, row].double(), expected, rtol=1e-4, atol=1e-5)

    def test_it_exploits_by_the_best_of_the_same_candidates_in_every_state(self) -> None:
        agents, states = make_agents(), torch.randn(len(SEEDS), 3, OBSERVATION)
        each = CONFIG.acting_candidates // MEMBERS
        assert agents.fixed_latents.shape == (POPULATION, each, LATENT)
        assert 0.2 < float(agents.fixed_latents.abs().mean()) < float(agents.fixed_latents.abs().max()) == 0.5
        latents = agents.fixed_latents.reshape(len(SEEDS), MEMBERS, each, LATENT)
        exploited = agents.exploit(states)
        exact = slow.float64_parameters(agents)
        for run in range(len(SEEDS)):
            for row in range(3):
                expected = slow_best(exact, run, states[run, row], latents[run])
                torch.testing.assert_close(exploited[run, row].double(), expected, rtol=1e-4, atol=1e-5)

    def test_members_that_cannot_propose_equal_shares_are_refused(self) -> None:
        with pytest.raises(UserError, match="acting_candidates is 6, expected a multiple of the 4 members"):
            BCQAgents(SEEDS, OBSERVATION, ACTION, CONFIG, members=4)

    def test_of_a_good_and_a_bad_kind_of_action_it_picks_the_good_one(self) -> None:
        """Both are in the data of every state; which is good depends on the state's sign."""
        config = BCQConfig(
            (32, 32), (32, 32), learning_rate=4e-3, batch_size=64, target_candidates=5, acting_candidates=20
        )
        agents = BCQAgents(SEEDS, 1, 1, config, MEMBERS)
        agents.initialise()
        random = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(len(SEEDS), *shape, generator=random)

        for _ in range(100):
            states, kinds = draw(64, 1).sign(), draw(64, 1).sign()
            rewards = (states == kinds).float().squeeze(-1)
            actions = 0.6 * kinds + 0.05 * draw(64, 1)
            bcq.update(agents, Batch(states, actions, rewards, torch.zeros_like(rewards), states), config)
        states = torch.tensor([[1.0], [-1.0]]).expand(len(SEEDS), 2, 1)
        for actions in (agents.exploit(states), agents.explore(states)):
            torch.testing.assert_close(actions, 0.6 * states, rtol=0, atol=0.3)
