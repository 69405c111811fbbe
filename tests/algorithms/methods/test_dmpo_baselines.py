"""What DMPO is compared with: updates of its AWACs equal slow float64 statements."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from algorithms.methods.interface import Method
from algorithms.methods.latent_awac import LatentAWAC, LatentAWACAgents, LatentAWACConfig
from algorithms.methods.mixture_awac import MixtureAWAC, MixtureAWACAgents, MixtureAWACConfig
from algorithms.methods.normalised_awac import NormalisedAWAC, NormalisedAWACAgents, NormalisedAWACConfig
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, COMPONENTS = 4, 2, 6, 3
SEEDS = (31, 32)
NUMBERS = slow.SMALL | {"batch_size": SIZE, "advantage_scale": 3.0}
RANGE = (-2.0, 0.5)
NORMALISED = NormalisedAWACConfig(**NUMBERS, log_std_range=RANGE, value_actions=4)
MIXTURE = MixtureAWACConfig(**NUMBERS, log_std_range=RANGE, sub_policies=COMPONENTS)
LATENT = LatentAWACConfig(
    **NUMBERS,
    generator_hidden_widths=(6, 4, 5),
    latent_limit=1.5,
    latent_noise=0.3,
    latent_noise_limit=0.25,
)


def make_batch(seed: int) -> Batch:
    return slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(Tensor.double)


def normalised_agents() -> NormalisedAWACAgents:
    return slow.randomise(NormalisedAWACAgents(SEEDS, OBSERVATION, ACTION, NORMALISED)).double()


def mixture_agents() -> MixtureAWACAgents:
    return slow.randomise(MixtureAWACAgents(SEEDS, OBSERVATION, ACTION, MIXTURE)).double()


def latent_agents() -> LatentAWACAgents:
    return slow.randomise(LatentAWACAgents(SEEDS, OBSERVATION, ACTION, LATENT)).double()


def nine_states() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(len(SEEDS), 9, OBSERVATION, generator=generator).double()


class Statement:
    """One agent after the other, as the paper's code does it."""

    def __init__(self, agents: NormalisedAWACAgents | MixtureAWACAgents | LatentAWACAgents) -> None:
        self.exact = slow.float64_parameters(agents)
        self.adam = slow.Adam(self.exact)

    def update(self, batch: Batch, streams: Streams, number: int) -> dict[str, Tensor]:
        raise NotImplementedError

    def twins(self, prefix: str, agent: int, states: Tensor, actions: Tensor) -> list[Tensor]:
        return slow.critics(self.exact, prefix, agent, states, actions)

    def smaller(self, prefix: str, agent: int, states: Tensor, actions: Tensor) -> Tensor:
        return torch.minimum(*self.twins(prefix, agent, states, actions))

    def v(self, agent: int, states: Tensor) -> Tensor:
        return slow.network(self.exact, "v", agent, states)[:, 0]

    def step(self, loss: Tensor, prefixes: tuple[str, ...], rate: float) -> None:
        self.adam.step(slow.gradients(loss, self.exact, prefixes), rate)

    def critics(self, batch: Batch, agent: int, value: Tensor, discount: float) -> Tensor:
        aim = (batch.rewards[agent] + discount * batch.masks[agent] * value).detach()
        twins = self.twins("q", agent, batch.observations[agent], batch.actions[agent])
        return sum((((q - aim) ** 2).mean() for q in twins), torch.zeros(()))


def by_range(advantage: Tensor, scale: float) -> Tensor:
    return torch.exp(scale * (advantage - advantage.max()) / (advantage.max() - advantage.min())).detach()


def gaussian(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of outputs [B, 2 A]; the log deviation's tanh goes through another one."""
    mean, log_std = outputs.chunk(2, dim=1)
    low, high = RANGE
    return torch.tanh(mean), (low + (high - low) * (torch.tanh(torch.tanh(log_std)) + 1) / 2).exp()


# --- a Gaussian, and a mixture of them: the policy and all targets move at every second update --------------


class Weighted(Statement):
    """What both share; which of the policies and critics judge is each one's own."""

    bootstraps_from: str

    def sampled(self, prefix: str, agent: int, states: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError

    def log_density(self, agent: int, states: Tensor, actions: Tensor) -> Tensor:
        raise NotImplementedError

    def weights(self, batch: Batch, streams: Streams) -> list[Tensor]:
        raise NotImplementedError

    def update(self, batch: Batch, streams: Streams, number: int) -> dict[str, Tensor]:
        rows, noise = range(len(SEEDS)), streams.normal(SIZE, ACTION)
        critics = []
        for agent in rows:
            following = batch.next_observations[agent]
            actions = self.sampled(self.bootstraps_from, agent, following, noise[agent])
            value = self.smaller("target_q", agent, following, actions)
            critics.append(self.critics(batch, agent, value, NORMALISED.discount))
        found = {"critic_loss": torch.stack(critics), "q_mean": slow.q_mean(self.exact, batch)}
        self.step(found["critic_loss"].sum(), ("q.",), NORMALISED.value_learning_rate)
        if number % 2 == 0:  # the first of two
            return found
        weights = self.weights(batch, streams)
        actors = [
            -(weights[p] * self.log_density(p, batch.observations[p], batch.actions[p])).mean() for p in rows
        ]
        found |= {"actor_loss": torch.stack(actors)}
        found |= {"advantage_weight_max": torch.stack([each.max() for each in weights])}
        self.step(found["actor_loss"].sum(), ("policy.",), NORMALISED.policy_learning_rate)
        self.adam.move_targets(NORMALISED.target_update_rate, "target_")
        return found


class Normalised(Weighted):
    bootstraps_from = "policy"

    def sampled(self, prefix: str, agent: int, states: Tensor, noise: Tensor) -> Tensor:
        mean, std = gaussian(slow.network(self.exact, prefix, agent, states))
        return (mean + std * noise).detach()

    def log_density(self, agent: int, states: Tensor, actions: Tensor) -> Tensor:
        parts = zip(actions, *gaussian(slow.network(self.exact, "policy", agent, states)), strict=True)
        return torch.stack([slow.normal_log_density(*row) for row in parts])

    def weights(self, batch: Batch, streams: Streams) -> list[Tensor]:
        noise, found = streams.normal(SIZE, NORMALISED.value_actions, ACTION), []
        for agent in range(len(SEEDS)):
            states = batch.observations[agent]
            own = [
                self.smaller("q", agent, states, self.sampled("target_policy", agent, states, drawn))
                for drawn in noise[agent].unbind(dim=1)
            ]
            advantage = self.smaller("q", agent, states, batch.actions[agent]) - sum(own) / len(own)
            weights = by_range(advantage, NORMALISED.advantage_scale)
            found.append(weights / weights.mean())
        return found


class Mixture(Weighted):
    bootstraps_from = "target_policy"

    def components(self, prefix: str, agent: int, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Mean and deviation [B, A] of each component."""
        found = []
        weight = self.exact[f"{prefix}.components.embedding.weight"][agent]
        bias = self.exact[f"{prefix}.components.embedding.bias"][agent]
        for z in range(COMPONENTS):
            latents = one_hot(torch.tensor([z] * len(states)), COMPONENTS).double()
            rows = torch.cat([states, torch.clip(latents @ weight + bias, min=0)], dim=1)
            found.append(gaussian(slow.network(self.exact, f"{prefix}.components", agent, rows)))
        return found

    def gate(self, prefix: str, agent: int, states: Tensor) -> Tensor:
        depth = len(MIXTURE.hidden_widths) + 1
        for layer in range(depth):
            at = f"{prefix}.gate.layers.{layer}."
            states = states @ self.exact[at + "weight"][agent] + self.exact[at + "bias"][agent]
            states = torch.clip(states, min=0) if layer < depth - 1 else states
        return torch.exp(states) / torch.exp(states).sum(dim=1, keepdim=True)

    def sampled(self, prefix: str, agent: int, states: Tensor, noise: Tensor) -> Tensor:
        chosen = self.gate(prefix, agent, states).argmax(dim=1)
        parts = self.components(prefix, agent, states)
        rows = [parts[int(z)][0][row] + parts[int(z)][1][row] * noise[row] for row, z in enumerate(chosen)]
        return torch.stack(rows).detach()

    def log_density(self, agent: int, states: Tensor, actions: Tensor) -> Tensor:
        gate, total = self.gate("policy", agent, states), torch.zeros(len(states)).double()
        for z, (mean, std) in enumerate(self.components("policy", agent, states)):
            rows = zip(actions, mean, std, strict=True)
            density = torch.stack([slow.normal_log_density(*row) for row in rows])
            total = total + gate[:, z] * density.exp()
        return torch.log(total + 1e-12)

    def weights(self, batch: Batch, streams: Streams) -> list[Tensor]:
        noise, found = streams.normal(SIZE, ACTION), []
        for agent in range(len(SEEDS)):
            states = batch.observations[agent]
            own = self.sampled("target_policy", agent, states, noise[agent])
            advantage = self.smaller("target_q", agent, states, batch.actions[agent])
            advantage = advantage - self.smaller("target_q", agent, states, own)
            found.append(by_range(advantage, MIXTURE.advantage_scale))
        return found


# --- latent actions -----------------------------------------------------------------------------------------


class Latent(Statement):
    def decoded(self, prefix: str, agent: int, states: Tensor, latents: Tensor) -> Tensor:
        return self.layers(f"{prefix}.decoder", agent, torch.cat([states, latents], dim=1))

    def layers(self, prefix: str, agent: int, rows: Tensor) -> Tensor:
        depth = len(LATENT.generator_hidden_widths) + 1
        for layer in range(depth):
            at = f"{prefix}.layers.{layer}."
            rows = rows @ self.exact[at + "weight"][agent] + self.exact[at + "bias"][agent]
            rows = torch.clip(rows, min=0) if layer < depth - 1 else rows
        return rows

    def latents(self, prefix: str, agent: int, states: Tensor) -> Tensor:
        return 1.5 * torch.tanh(slow.network(self.exact, prefix, agent, states))

    def target_value(self, agent: int, states: Tensor, near: Tensor) -> Tensor:
        latents = self.latents("target_policy", agent, states) + near
        return self.smaller("target_q", agent, states, self.decoded("target_vae", agent, states, latents))

    def vae(self, batch: Batch, agent: int, noise: Tensor, weights: Tensor) -> Tensor:
        states, actions = batch.observations[agent], batch.actions[agent]
        outputs = self.layers("vae.encoder", agent, torch.cat([states, actions], dim=1))
        mean, log_variance = outputs.chunk(2, dim=1)
        std = log_variance.exp().sqrt()
        error = ((self.decoded("vae", agent, states, mean + std * noise) - actions) ** 2).sum(dim=1)
        divergence = (-torch.log(std) + (std**2 + mean**2 - 1) / 2).sum(dim=1)
        return (weights * (error + divergence)).mean()

    def update(self, batch: Batch, streams: Streams, number: int) -> dict[str, Tensor]:
        rows = range(len(SEEDS))
        of_v, of_vae = (streams.normal(SIZE, 2 * ACTION) for _ in range(2))
        critics, values = [], []
        for agent in rows:
            states, following = batch.observations[agent], batch.next_observations[agent]
            critics.append(self.critics(batch, agent, self.v(agent, following), LATENT.discount))
            near = torch.clip((LATENT.latent_noise * of_v[agent]).double(), -0.25, 0.25)
            target = self.target_value(agent, states, near).detach()
            values.append(((self.v(agent, states) - target) ** 2).mean())
        found = {"critic_loss": torch.stack(critics), "q_mean": slow.q_mean(self.exact, batch)}
        self.step(found["critic_loss"].sum() + sum(values), ("q.", "v."), LATENT.value_learning_rate)
        generators, largest = [], []
        for agent in rows:
            states, following = batch.observations[agent], batch.next_observations[agent]
            value = self.target_value(agent, following, torch.zeros(()))
            advantage = batch.rewards[agent] + LATENT.discount * batch.masks[agent] * value
            weights = by_range(advantage - self.v(agent, states), LATENT.advantage_scale)
            weights = weights / weights.mean()
            largest.append(weights.max())
            generators.append(self.vae(batch, agent, of_vae[agent], weights))
        found |= {"vae_loss": torch.stack(generators), "advantage_weight_max": torch.stack(largest)}
        self.step(found["vae_loss"].sum(), ("vae.",), LATENT.policy_learning_rate)
        actors = []
        for agent in rows:
            states = batch.observations[agent]
            actions = self.decoded("target_vae", agent, states, self.latents("policy", agent, states))
            actors.append(-self.twins("q", agent, states, actions)[0].mean())
        found["actor_loss"] = torch.stack(actors)
        self.step(found["actor_loss"].sum(), ("policy.",), LATENT.policy_learning_rate)
        self.adam.move_targets(LATENT.target_update_rate, "target_")
        return found


def check_updates(learner: Method, statement: Statement) -> None:
    agents = learner.agents
    for number in range(4):
        batch, streams = make_batch(number), slow.same_streams(agents)
        metrics, expected = learner.update(batch, number), statement.update(batch, streams, number)
        slow.assert_metrics(metrics, expected)
        slow.assert_parameters(agents, statement.exact)
        assert torch.equal(streams.state(), agents.streams.state())


def test_updates_of_awac_with_normalised_advantages_equal_a_slow_float64_statement() -> None:
    agents = normalised_agents()
    check_updates(NormalisedAWAC(agents, NORMALISED), Normalised(agents))


def test_updates_of_mixture_awac_equal_a_slow_float64_statement() -> None:
    agents = mixture_agents()
    check_updates(MixtureAWAC(agents, MIXTURE), Mixture(agents))


def test_updates_of_latent_policy_awac_equal_a_slow_float64_statement() -> None:
    agents = latent_agents()
    check_updates(LatentAWAC(agents, LATENT), Latent(agents))


def test_awac_with_normalised_advantages_acts_by_its_policys_mean() -> None:
    agents, states = normalised_agents(), nine_states()
    statement, acted = Normalised(agents), agents.exploit(states).detach()
    for agent in range(len(SEEDS)):
        expected = statement.sampled("policy", agent, states[agent], torch.zeros(9, ACTION))
        torch.testing.assert_close(acted[agent], expected)


def test_a_mixture_acts_by_the_mean_of_its_likeliest_component() -> None:
    agents, states = mixture_agents(), nine_states()
    statement, acted = Mixture(agents), agents.exploit(states).detach()
    for agent in range(len(SEEDS)):
        expected = statement.sampled("policy", agent, states[agent], torch.zeros(9, ACTION))
        torch.testing.assert_close(acted[agent], expected)


def test_latent_policy_awac_acts_by_its_own_decoders_action_of_its_own_latents() -> None:
    agents, states = latent_agents(), nine_states()
    statement, acted = Latent(agents), agents.exploit(states)
    for agent in range(len(SEEDS)):
        latents = statement.latents("policy", agent, states[agent])
        torch.testing.assert_close(acted[agent], statement.decoded("vae", agent, states[agent], latents))
    assert torch.equal(agents.explore(states), acted.clamp(-1, 1))


def test_an_action_far_from_all_components_has_the_floors_density_and_no_gradient() -> None:
    agents = MixtureAWACAgents(SEEDS, OBSERVATION, ACTION, MixtureAWACConfig(**NUMBERS))
    agents.initialise()
    with torch.no_grad():
        agents.policy.components.net.affine_maps()[-1].bias.fill_(-9.0)  # deviations of e^-5
    states = torch.ones(len(SEEDS), 1, OBSERVATION)
    density = agents.policy(states).log_density(torch.ones(len(SEEDS), 1, ACTION))
    density.sum().backward()
    torch.testing.assert_close(density, torch.full_like(density, 1e-12).log())
    assert not any(parameter.grad.any() for parameter in agents.policy.parameters())


def test_fresh_networks_have_their_own_widths_and_begin_as_pytorchs() -> None:
    one = NormalisedAWACAgents(SEEDS, OBSERVATION, ACTION, NORMALISED)
    mixture, latent = MixtureAWACAgents(SEEDS, OBSERVATION, ACTION, MIXTURE), latent_agents().float()
    for agents in (one, mixture, latent):
        agents.initialise()
    components, vae, wide = mixture.policy.components, latent.vae, [7, 5]
    for layers, widths in (
        ([components.embedding], [OBSERVATION]),
        (components.net.affine_maps(), [*wide, 2 * ACTION]),
        (mixture.policy.gate.affine_maps(), [*wide, COMPONENTS]),
        (mixture.q.net.affine_maps(), [*wide, 1]),
        (one.policy.net.affine_maps(), [*wide, 2 * ACTION]),
        (one.q.net.affine_maps(), [*wide, 1]),
        (vae.encoder.affine_maps(), [6, 4, 5, 4 * ACTION]),
        (vae.decoder.affine_maps(), [6, 4, 5, ACTION]),
        (latent.policy.net.affine_maps(), [*wide, 2 * ACTION]),
        (latent.v.net.affine_maps(), [*wide, 1]),
        (latent.q.net.affine_maps(), [*wide, 1]),
    ):
        assert slow.widths(layers) == widths
        slow.assert_pytorchs(layers)
    for agents in (one, mixture, latent):
        for target, network in agents.targets.items():
            followed = agents.get_submodule(network).state_dict()
            own = agents.get_submodule(target).state_dict()
            assert all(torch.equal(own[name], tensor) for name, tensor in followed.items())
