"""Learning from images: gradients beside float64 references, options, independence, handing agents on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from algorithms.methods import off2on
from algorithms.methods.interface import OfflineStart, Start
from algorithms.methods.pixels import (
    VARIANTS,
    PixelAgents,
    PixelConfig,
    PixelFineTuning,
    PixelFineTuningConfig,
    PixelOff2OnAgents,
    PixelPretraining,
    update,
)
from algorithms.population.agents import load_members, one_agent
from algorithms.population.encoders import CONVOLUTIONS
from algorithms.population.networks import mixture_policy
from algorithms.population.streams import Streams
from algorithms.replay.augmentation import crop, draw_offsets
from algorithms.replay.batch import Batch, combined
from algorithms.replay.image_replay import ONLINE, PRIOR, RANDOM, TASK, ImageBuffer, ImageData
from storage import UserError
from tests.algorithms import slow_reference as slow
from tests.algorithms.bits import assert_same_bits, row_of
from tests.algorithms.pixel_task import ACTION, HORIZON, SHAPE, record

SEEDS, ROWS = [11, 12], 6
SIZES: dict[str, Any] = {"hidden_widths": (7, 6), "policy_hidden_widths": (6, 5), "batch_size": ROWS}
SHARED = PixelConfig(encoder="shared", cloning_updates=2, **SIZES)
ORIGINAL = replace(SHARED, encoder="original")
SMALL_BUDGET: dict[str, Any] = {
    "discount": 0.95,
    "clip_targets": True,
    "conservative_weight": 0.1,
    "log_std_range": (-5.0, 0.5),
    "cloning_data": "scripted",
    "cloning_weight": 0.2,
    "averaging_rate": 0.25,
}
Parameters = Mapping[str, Tensor]


def random_images(rows: int, seed: int, runs: int = len(SEEDS)) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def picture() -> Tensor:
        return torch.randint(0, 256, (runs, rows, *SHAPE), dtype=torch.uint8, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(runs, rows, *shape, generator=generator)

    rewards, masks = uniform().round(), (uniform() > 0.3).float()
    return Batch(picture(), 1.8 * uniform(ACTION) - 0.9, rewards, masks, picture())


def random_sources(seed: int, runs: int = len(SEEDS)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([PRIOR, TASK, RANDOM, ONLINE], dtype=torch.int8)
    return kinds[torch.randint(4, (runs, ROWS), generator=generator)]


def with_states(images: Batch, size: int, seed: int) -> Batch:
    """The same images, each with a row more that begins with the bytes of `size` numbers."""
    generator = np.random.default_rng(seed)

    def carrying(pictures: Tensor) -> Tensor:
        row = np.zeros((*pictures.shape[:2], 1, SHAPE[1] * SHAPE[2]), np.uint8)
        numbers = generator.standard_normal((*pictures.shape[:2], 1, size)).astype(np.float32)
        row[..., : 4 * size] = numbers.view(np.uint8)
        return torch.cat([pictures, torch.from_numpy(row).view(*pictures.shape[:2], 1, *SHAPE[1:])], dim=2)

    return images._replace(
        observations=carrying(images.observations), next_observations=carrying(images.next_observations)
    )


def states_apart(images: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pictures, and the states [S, B, size] that they carry."""
    if not size:
        return images, torch.zeros(*images.shape[:2], 0, dtype=torch.float64)
    raw = images[:, :, -1].flatten(2)[..., : 4 * size].numpy().tobytes()
    numbers = np.frombuffer(raw, np.float32).reshape(*images.shape[:2], size)
    return images[:, :, :-1], torch.from_numpy(numbers.astype(np.float64))


def make_agents(config: PixelConfig, members: int = 1, seeds: list[int] = SEEDS) -> PixelAgents:
    shape = (SHAPE[0] + (config.state_size > 0), *SHAPE[1:])
    agents = PixelAgents(seeds, shape, ACTION, config, members)
    agents.initialise()
    return agents


def stirred(config: PixelConfig, members: int) -> PixelAgents:
    """Agents whose every term counts: no fresh head, targets unlike critics."""
    agents = make_agents(config, members)
    slow.randomise(agents, seed=3, scale=0.2)
    with torch.no_grad():
        agents.log_entropy_coefficient.copy_(torch.tensor([-1.0, 0.5]))
    return agents


# --- the whole loss once more, in float64 ---------------------------------------------------------------


def features(p: Parameters, prefix: str, copy: int, kind: Any, images: Tensor) -> Tensor:
    maps = images.permute(0, 3, 1, 2).double() / 255
    for layer, (_, stride, pooled) in enumerate(CONVOLUTIONS[kind]):
        weight, bias = p[f"{prefix}weights.{layer}"][copy], p[f"{prefix}biases.{layer}"][copy]
        maps = functional.conv2d(maps, weight, bias, stride, 1)
        maps = torch.relu(functional.max_pool2d(maps, 2) if pooled else maps)
    return maps.permute(0, 2, 3, 1).reshape(len(images), -1)


def perceptron(p: Parameters, prefix: str, copy: int, rows: Tensor) -> Tensor:
    depth = sum(name.startswith(f"{prefix}net.layers.") and "weight" in name for name in p)
    for layer in range(depth):
        rows = rows @ p[f"{prefix}net.layers.{layer}.weight"][copy]
        rows = rows + p[f"{prefix}net.layers.{layer}.bias"][copy]
        rows = torch.relu(rows) if layer < depth - 1 else rows
    return rows


class Reference:
    """The losses of one run of `members` agents, from `agents`' parameters and a copy of their streams."""

    def __init__(self, agents: PixelAgents, config: PixelConfig) -> None:
        self.p = slow.float64_parameters(agents)
        self.constants = slow.constant(self.p)
        self.config, self.members = config, agents.members
        self.streams = Streams(SEEDS)
        self.streams.restore(agents.streams.state())

    def encode(self, images: Tensor, critics: str) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Features of each agent's policy, and of each agent's twins."""
        kind, count, padding = self.config.encoder, len(SEEDS) * self.members, self.config.padding
        pictures, states = states_apart(images, self.config.state_size)

        def seen(prefix: str, viewers: int) -> list[Tensor]:
            """The features of `viewers` encoders an agent, and the state, for each of them."""
            views = viewers * self.members
            shown = crop(pictures, draw_offsets(self.streams, views, ROWS, padding), padding)
            return [
                torch.cat([features(self.p, prefix, viewer, kind, rows), states[viewer // views]], dim=-1)
                for viewer, rows in enumerate(shown)
            ]

        if kind == "shared":
            each = seen("encoder.", 1)
            return [row.detach() for row in each], [[row, row] for row in each]
        for_policy = seen("policy.encoder.", 1)
        twins = seen(f"{critics}.encoder.", 2)
        return for_policy, [twins[2 * a : 2 * a + 2] for a in range(count)]

    def gaussian(self, run: int, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Moments of the mixture of a run's members."""
        low, high = self.config.log_std_range
        means, squares = [], []
        for agent in range(run * self.members, (run + 1) * self.members):
            mean, log_std = perceptron(self.p, "policy.", agent, seen[agent]).chunk(2, dim=-1)
            means.append(mean)
            squares.append(mean**2 + log_std.clamp(low, high).exp() ** 2)
        mean = torch.stack(means).mean(dim=0)
        return mean, (torch.stack(squares).mean(dim=0) - mean**2).sqrt()

    @staticmethod
    def log_density(mean: Tensor, std: Tensor, pre_tanh: Tensor) -> Tensor:
        normal = -0.5 * ((pre_tanh - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
        return (normal - (1 - torch.tanh(pre_tanh) ** 2).log()).sum(dim=-1)

    def loss(self, images: Batch, sources: Tensor, step: int) -> Tensor:
        """Everything that is minimised, summed over runs."""
        config, critics = self.config, self.config.objective == "cql"
        seen, seen_q = self.encode(images.observations, "q")
        next_seen, next_q = self.encode(images.next_observations, "target_q")
        noise = {"target": self.streams.normal(ROWS, ACTION).double()}
        n = config.sampled_actions
        if critics:
            noise["uniform"] = self.streams.uniform(ROWS, n, ACTION).double()
            noise["here"] = self.streams.normal(ROWS, n, ACTION).double()
            noise["next"] = self.streams.normal(ROWS, n, ACTION).double()
        noise["actor"] = self.streams.normal(ROWS, ACTION).double()
        alpha = self.constants["log_entropy_coefficient"].exp()
        total = torch.zeros((), dtype=torch.float64)
        for run in range(len(SEEDS)):
            own = range(run * self.members, (run + 1) * self.members)
            actions, rewards = images.actions[run].double(), images.rewards[run].double()
            mean, std = self.gaussian(run, seen)
            next_mean, next_std = (part.detach() for part in self.gaussian(run, next_seen))

            def q(p: Parameters, name: str, agent: int, twin: int, rows: Tensor, taken: Tensor) -> Tensor:
                return perceptron(p, f"{name}.", 2 * agent + twin, torch.cat([rows, taken], dim=-1))[:, 0]

            next_pre = next_mean + next_std * noise["target"][run]
            next_log = self.log_density(next_mean, next_std, next_pre)
            for agent in own:
                value = torch.minimum(
                    *(
                        q(
                            self.constants,
                            "target_q",
                            agent,
                            t,
                            next_q[agent][t].detach(),
                            torch.tanh(next_pre),
                        )
                        for t in (0, 1)
                    )
                )
                if not (critics and config.deterministic_backup):
                    value = value - alpha[run] * next_log
                target = rewards + config.discount * images.masks[run].double() * value
                if config.clip_targets:
                    target = target.clamp(0, 1 / (1 - config.discount))
                for twin in (0, 1):
                    error = q(self.p, "q", agent, twin, seen_q[agent][twin], actions) - target
                    total = total + (error**2).mean()
            if critics:
                candidates = [(2 * noise["uniform"][run] - 1, torch.full((ROWS, n), -ACTION * math.log(2)))]
                for key, m, s in (("here", mean.detach(), std.detach()), ("next", next_mean, next_std)):
                    pre = m.unsqueeze(1) + s.unsqueeze(1) * noise[key][run]
                    candidates.append(
                        (torch.tanh(pre), self.log_density(m.unsqueeze(1), s.unsqueeze(1), pre))
                    )
                tried, densities = (torch.cat(part, dim=1) for part in zip(*candidates, strict=True))
                for agent in own:
                    for twin in (0, 1):
                        rows = seen_q[agent][twin]
                        logits = torch.stack(
                            [q(self.p, "q", agent, twin, rows, tried[:, j]) for j in range(3 * n)], dim=1
                        )
                        soft = torch.logsumexp(logits - densities, dim=1)
                        excess = soft - q(self.p, "q", agent, twin, rows, actions)
                        total = total + config.conservative_weight * excess.mean()
            pre = mean + std * noise["actor"][run]
            log_density = self.log_density(mean, std, pre)
            total = total + (alpha[run] * log_density).mean()
            cloning = step < config.cloning_updates
            if not cloning:
                for agent in own:
                    both = [
                        q(self.constants, "q", agent, t, seen_q[agent][t].detach(), torch.tanh(pre))
                        for t in (0, 1)
                    ]
                    total = total - torch.minimum(*both).mean() / self.members
            weight = 1.0 if cloning else config.cloning_weight
            if config.cloning_teaches and config.encoder == "shared":
                mean, std = self.gaussian(run, [row[0] for row in seen_q])
            rows_cloned = [
                row
                for row in range(ROWS)
                if config.cloning_data == "all" or int(sources[run, row]) in (PRIOR, TASK)
            ]
            for row in rows_cloned:
                taken = self.log_density(mean[row], std[row], torch.atanh(actions[row]))
                total = total - weight * taken / len(rows_cloned)
            excess = (log_density.detach() - ACTION).mean()
            total = total - self.p["log_entropy_coefficient"][run] * excess
        return total


CASES = {
    "shared": (SHARED, 1, 5),
    "shared, cloning": (SHARED, 1, 0),
    "shared, small budget": (replace(SHARED, **SMALL_BUDGET), 1, 5),
    "shared, small budget, cloning": (replace(SHARED, **SMALL_BUDGET), 1, 1),
    "shared, an ensemble by SAC": (replace(SHARED, objective="sac", **SMALL_BUDGET), 2, 5),
    "shared, an ensemble by CQL": (replace(SHARED, sampled_actions=2), 2, 5),
    "shared, taught by cloning": (replace(SHARED, cloning_teaches=True, **SMALL_BUDGET), 2, 5),
    "shared, taught by cloning, cloning": (replace(SHARED, cloning_teaches=True), 1, 1),
    "original, nothing more to teach": (replace(ORIGINAL, cloning_teaches=True), 1, 1),
    "shared, a state": (replace(SHARED, state_size=3, padding=1, **SMALL_BUDGET), 1, 5),
    "shared, an ensemble, a state": (replace(SHARED, state_size=3, objective="sac"), 2, 5),
    "original, an ensemble, a state": (replace(ORIGINAL, state_size=3, padding=0), 2, 5),
    "original": (ORIGINAL, 1, 5),
    "original, an ensemble by SAC": (replace(ORIGINAL, objective="sac"), 2, 5),
    "original, an ensemble by CQL": (ORIGINAL, 2, 5),
}


@pytest.mark.parametrize("case", CASES)
def test_an_update_descends_the_float64_gradient_of_the_losses(case: str) -> None:
    config, members, step = CASES[case]
    agents = stirred(config, members)
    images, sources = random_images(ROWS, 1), random_sources(2)
    if config.state_size:
        images = with_states(images, config.state_size, seed=4)
    reference = Reference(agents, config)
    learned = {name for name in reference.p if not name.startswith(("target_q.", "averaged."))}
    names = sorted(learned)
    expected = torch.autograd.grad(
        reference.loss(images, sources, step), [reference.p[name] for name in names], allow_unused=True
    )
    update(agents, images, sources, config, step)
    found = dict(agents.named_parameters())
    for name, gradient in zip(names, expected, strict=True):
        own = found[name].grad
        assert own is not None and gradient is not None, name
        torch.testing.assert_close(own.double(), gradient, rtol=2e-3, atol=2e-5, msg=name)
    for name, parameter in found.items():
        assert name in learned or parameter.grad is None, name


@pytest.mark.parametrize("settings", [{"critics": 3}, {"critic_norm": "before"}])
def test_other_critics_than_plain_twins_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected 2 and none: agents that see images have plain twins"):
        PixelConfig(**settings)


def test_a_fresh_policy_learns_every_deviation() -> None:
    agents = make_agents(SHARED)
    update(agents, random_images(ROWS, 1), random_sources(2), SHARED, step=0)
    heads = agents.policy.net.affine_maps()[-1]
    assert heads.bias.grad is not None
    assert (heads.bias.grad[:, :, ACTION:] != 0).all()


# --- acting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SHARED, ORIGINAL], ids=["shared", "original"])
def test_acting_sees_whole_images_and_draws_nothing(config: PixelConfig) -> None:
    agents = stirred(config, 2)
    learner = PixelPretraining(agents, config)
    before = agents.streams.state()
    images = random_images(3, 5).observations
    found = learner.exploit(images)
    assert torch.equal(agents.streams.state(), before)
    reference = Reference(agents, config)
    prefix = "encoder." if config.encoder == "shared" else "policy.encoder."
    for run in range(len(SEEDS)):
        seen = [features(reference.p, prefix, a, config.encoder, images[a // 2]) for a in range(4)]
        mean, _ = reference.gaussian(run, seen)
        torch.testing.assert_close(found[run].double(), torch.tanh(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [SHARED, ORIGINAL])
def test_evaluation_is_on_averaged_weights_and_collection_is_not(config: PixelConfig) -> None:
    config = replace(config, averaging_rate=0.25)
    agents = make_agents(config)
    names = [name for name, _ in agents.named_parameters() if name.startswith(("policy.", "encoder."))]
    expected = {name: agents.get_parameter(name).detach().clone() for name in names}
    for number in range(4):
        update(agents, random_images(ROWS, number), random_sources(number), config, number)
        for name in names:
            expected[name] = 0.75 * expected[name] + 0.25 * agents.get_parameter(name).detach()
    for name in names:
        torch.testing.assert_close(agents.get_parameter(f"averaged.{name}").detach(), expected[name])
    images = random_images(3, 5).observations
    averaged = PixelPretraining(agents, config).exploit(images)
    assert not torch.equal(averaged, agents.acting(images).mode())
    agents.policy.load_state_dict(
        {n.removeprefix("policy."): t for n, t in expected.items() if "policy" in n}
    )
    agents.encoder.load_state_dict(
        {n.removeprefix("encoder."): t for n, t in expected.items() if n.startswith("encoder.")}
    )
    torch.testing.assert_close(averaged, agents.acting(images).mode())


@pytest.mark.parametrize("config", [SHARED, ORIGINAL, replace(SHARED, averaging_rate=0.25)])
def test_an_actor_on_its_own_acts_as_its_ensemble_is_evaluated(config: PixelConfig) -> None:
    agents = stirred(config, members=2)
    images = random_images(3, 4).observations
    expected = PixelPretraining(agents, config).exploit(images)
    for run in range(len(SEEDS)):
        alone = make_agents(replace(config, averaging_rate=None), 2, [0])
        alone.load_actor(agents.actor(run))
        torch.testing.assert_close(alone.acting(images[run : run + 1]).mode(), expected[run : run + 1])
    with pytest.raises(UserError, match=r"policy\.net.* has shape \(2, .*, expected \(1, "):
        make_agents(config, 1, [0]).load_actor(agents.actor(0))


# --- independence ---------------------------------------------------------------------------------------

INDEPENDENCE = {
    "shared": replace(SHARED, **SMALL_BUDGET),
    "original": ORIGINAL,
    "ensemble": PixelFineTuningConfig(
        encoder="shared", ensemble_size=2, density_hidden_widths=(6, 5), **{**SIZES, **SMALL_BUDGET}
    ),
}


def train(kind: str, rows: tuple[int, ...], neighbour: int = 0) -> dict[str, Tensor]:
    """State after some updates; `neighbour` changes what row 0 of the population sees."""
    config = INDEPENDENCE[kind]
    seeds = [SEEDS[0] + row for row in rows]
    if isinstance(config, PixelFineTuningConfig):
        agents: PixelAgents = PixelOff2OnAgents(seeds, SHAPE, ACTION, config)
        agents.initialise()
        assert isinstance(agents, PixelOff2OnAgents)
        agents.density.initialise(agents.streams)
    else:
        agents = make_agents(config, seeds=seeds)
    for number in range(4):
        parts = [
            random_images(ROWS, 10 * row + number + (100 + neighbour if neighbour and not row else 0), 1)
            for row in rows
        ]
        images = combined(parts, lambda *fields: torch.cat(fields))
        sources = torch.cat([random_sources(10 * row + number, 1) for row in rows])
        others = []
        if isinstance(agents, PixelOff2OnAgents) and isinstance(config, PixelFineTuningConfig):
            loss, _, _ = off2on.density_update(agents.density, images, images, images, config)
            others.append(loss)
        update(agents, images, sources, config, number, *others)
    return agents.training_state()


@pytest.mark.parametrize("kind", INDEPENDENCE)
def test_beside_any_neighbour_an_agent_stays_bit_identical(kind: str) -> None:
    state, changed = train(kind, (0, 1, 2)), train(kind, (0, 1, 2), neighbour=1)
    assert not torch.equal(
        row_of(state, 0, 3)["networks.policy.net.layers.0.weight"],
        row_of(changed, 0, 3)["networks.policy.net.layers.0.weight"],
    )
    for row in (1, 2):
        assert_same_bits(row_of(changed, row, 3), row_of(state, row, 3))


@pytest.mark.parametrize("kind", INDEPENDENCE)
def test_alone_an_agent_learns_the_same_to_rounding(kind: str) -> None:
    together, alone = train(kind, (0, 1, 2)), train(kind, (1,))
    for name, tensor in row_of(together, 1, 3).items():
        torch.testing.assert_close(alone[name], tensor, rtol=1e-4, atol=2e-6, msg=name)


# --- fine-tuning ----------------------------------------------------------------------------------------


def begin(members: int = 4, **settings: Any) -> PixelFineTuning:
    config = PixelFineTuningConfig(
        **{"encoder": "shared", "ensemble_size": 2, "density_hidden_widths": (6, 5), **SIZES, **settings}
    )
    pretrained = make_agents(replace(SHARED, encoder=config.encoder), seeds=list(range(members)))
    start = Start(
        seeds=SEEDS,
        draws=Streams(SEEDS),
        observation_size=0,
        action_size=ACTION,
        offline=ImageData(record(6)),
        buffer=ImageBuffer(len(SEEDS), 2, HORIZON, SHAPE, ACTION),
        members=[one_agent(pretrained, index) for index in range(members)],
        block_size=2 * HORIZON,
        image_shape=SHAPE,
    )
    return PixelFineTuning.begin(start, config)


def collected(episodes: int, seed: int) -> Batch:
    frames = random_images(episodes * (HORIZON + 1), seed).observations
    frames = frames.view(len(SEEDS), episodes, HORIZON + 1, *SHAPE)
    rest = random_images(episodes * HORIZON, seed + 1)
    before, after = frames[:, :, :-1].flatten(1, 2), frames[:, :, 1:].flatten(1, 2)
    return rest._replace(observations=before, next_observations=after)


@pytest.mark.parametrize("encoder", ["shared", "original"])
def test_fine_tuning_starts_from_the_agents_it_is_given(encoder: Any) -> None:
    learner = begin(encoder=encoder)
    pretrained = make_agents(replace(SHARED, encoder=encoder), seeds=list(range(4)))
    for index in range(4):
        assert_same_bits(one_agent(learner.agents, index), one_agent(pretrained, index))
    assert_same_bits(learner.agents.target_q.state_dict(), learner.agents.q.state_dict())
    images = random_images(3, 5).observations
    members = pretrained.acting(images.repeat_interleave(2, dim=0))
    expected = mixture_policy(members, 2).mode()
    torch.testing.assert_close(learner.exploit(images), expected)


def test_agents_of_another_number_or_encoder_are_refused() -> None:
    with pytest.raises(UserError, match="3 pre-trained agents were given, expected 4"):
        begin(members=3)
    original = make_agents(ORIGINAL)
    shared = make_agents(SHARED)
    with pytest.raises(UserError, match="its network is of another size"):
        load_members(shared, [one_agent(original, index) for index in range(2)])
    with pytest.raises(UserError, match="observations that are no images"):
        PixelPretraining.begin_offline(OfflineStart(SEEDS, 3, ACTION, ()), SHARED)


def test_exploration_uses_its_share_of_the_deviation() -> None:
    images = random_images(200, 5).observations
    modes, spreads = [], []
    for scale in (0.0, 0.4, 1.0):
        learner = begin(exploration_scale=scale, log_std_range=(-5.0, 0.5))
        modes.append(learner.exploit(images))
        spreads.append((torch.atanh(learner.explore(images)) - torch.atanh(modes[-1])).std())
    assert spreads[0] < 1e-6
    torch.testing.assert_close(spreads[1] / spreads[2], torch.tensor(0.4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_from_the_data_and_by_the_objective_it_names(variant: str) -> None:
    settings = VARIANTS[variant]
    size = settings["ensemble_size"]
    learner = begin(len(SEEDS) * size, **settings)
    learner.replay.add(collected(2, 0))
    metrics = learner.learn()
    assert ("conservative_penalty" in metrics) == (settings["objective"] == "cql")
    assert ("priority_mean" in metrics) == (settings["replay"] == "balanced")
    share = metrics["online_share"] + metrics["random_share"]
    assert (metrics["online_share"] == 1).all() == (settings["replay"] == "online_only")
    assert (share <= 1).all()
    assert all(torch.isfinite(value).all() and value.shape == (2,) for value in metrics.values())


def test_a_run_ignores_what_the_others_collect_and_draw() -> None:
    def learn(neighbour: int) -> dict[str, Tensor]:
        learner = begin(averaging_rate=0.1)
        learner.draws = Streams([neighbour, 6])
        block = collected(2, 0)
        block.rewards[0] += neighbour
        learner.replay.add(block)
        for _ in range(4):
            learner.learn()
        return {**learner.agents.training_state(), "units": learner.replay.state()["priority_units"]}

    state, changed = learn(0), learn(1)
    assert not torch.equal(state["units"][0], changed["units"][0])
    assert_same_bits(row_of(changed, 1, 2), row_of(state, 1, 2))
