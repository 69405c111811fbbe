"""Learning from images: gradients beside float64 references, options, independence, handing agents on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from algorithms.methods import cal_ql, cql, iql, off2on
from algorithms.methods.awac import AWAC, AWACConfig
from algorithms.methods.bcq import BCQ, BCQConfig
from algorithms.methods.interface import Method, Metrics, OfflineStart, Start
from algorithms.methods.rlpd import RLPD, RLPDConfig
from algorithms.population.agents import ActorCritics, load_members, one_agent
from algorithms.population.augmentation import crop, draw_offsets
from algorithms.population.encoders import CONVOLUTIONS
from algorithms.population.encoding import EncoderConfig, ObservationEncoding
from algorithms.population.networks import mixture_policy
from algorithms.population.passes import Norm
from algorithms.population.streams import Streams
from algorithms.replay.batch import Batch, combined
from algorithms.replay.extras import ONLINE
from algorithms.replay.stores import OfflineData, OnlineBuffer
from offline_data.image_episodes import PRIOR, RANDOM, TASK
from storage import UserError
from tests.algorithms import slow_reference as slow
from tests.algorithms.bits import assert_same_bits, row_of
from tests.algorithms.image_task import ACTION, HORIZON, SHAPES, record

SEEDS, ROWS = [11, 12], 6
SIZES: dict[str, Any] = {"hidden_widths": (7, 6), "policy_hidden_widths": (6, 5), "batch_size": ROWS}
COG: dict[str, Any] = {"conservative_weight": 1.0, "sampled_actions": 1, "log_std_range": (-5.0, 2.0)}
OWN_EYES, SHARED_EYES = EncoderConfig(networks="own"), EncoderConfig(networks="shared")
SHARED = cql.CQLConfig(encoder=SHARED_EYES, cloning_updates=2, **COG, **SIZES)
OWN = replace(SHARED, encoder=OWN_EYES)
TAUGHT = EncoderConfig(networks="shared", cloning_teaches=True)
SMALL_BUDGET: dict[str, Any] = {
    "discount": 0.95,
    "clip_targets": True,
    "conservative_weight": 0.1,
    "log_std_range": (-5.0, 0.5),
    "cloning_data": "scripted",
    "cloning_weight": 0.2,
    "averaging_rate": 0.25,
}
DENSITY: dict[str, Any] = {"density_hidden_widths": (6, 5), "density_batch_size": ROWS}
Parameters = Mapping[str, Tensor]


def ensemble(encoder: EncoderConfig, **settings: Any) -> off2on.Off2OnConfig:
    own = {"ensemble_size": 2, "conservative_weight": 0.0}
    return off2on.Off2OnConfig(encoder=encoder, **{**COG, **SIZES, **DENSITY, **own, **settings})


def random_images(rows: int, seed: int, runs: int = len(SEEDS)) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def shown() -> dict[str, Tensor]:
        shape = (runs, rows, *SHAPES["image"])
        image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return {"image": image, "state": torch.randn(runs, rows, *SHAPES["state"], generator=generator)}

    def uniform(*shape: int) -> Tensor:
        return torch.rand(runs, rows, *shape, generator=generator)

    kinds = torch.tensor([PRIOR, TASK, RANDOM, ONLINE], dtype=torch.int8)
    source = kinds[torch.randint(4, (runs, rows), generator=generator)]
    rewards, masks = uniform().round(), (uniform() > 0.3).float()
    return Batch(shown(), 1.8 * uniform(ACTION) - 0.9, rewards, masks, shown(), {"source": source})


def make_agents(config: Any, members: int = 1, seeds: list[int] = SEEDS, opened: Any = None) -> Any:
    """Fresh agents of CQL, or ensembles of Off2On, that see."""
    kind = opened or (off2on.Off2OnAgents if isinstance(config, off2on.Off2OnConfig) else ActorCritics)
    encoding = ObservationEncoding(SHAPES, config.encoder)
    agents = kind(seeds, encoding.feature_size, ACTION, config, members)
    encoding.attach(agents)
    agents.initialise()
    return agents


def stirred(config: Any, members: int) -> Any:
    """Agents whose every term counts: no fresh head, targets unlike critics."""
    agents = make_agents(config, members)
    slow.randomise(agents, seed=3, scale=0.2)
    with torch.no_grad():
        agents.log_entropy_coefficient.copy_(torch.tensor([-1.0, 0.5]))
    return agents


def update(agents: Any, batch: Batch, config: Any, step: int) -> Metrics:
    """One update of agents of CQL, or of ensembles."""
    if isinstance(config, off2on.Off2OnConfig):
        return off2on.actor_critic_update(agents, batch, config)
    return cql.update(agents, agents.encode(batch), config, step)


def exploit(agents: Any, images: Any) -> Tensor:
    """Actions as the agents are evaluated."""
    return Method(agents, None).exploit(images)


def test_under_encoders_of_their_own_fresh_layers_begin_as_cogs() -> None:
    """Within 1e-4, biases too; a policy's after its CNN's three as rlkit's perceptron."""
    agents = make_agents(replace(OWN, policy_hidden_widths=(6, 5, 4, 4, 4, 4)))
    policy, critics = agents.policy.net.affine_maps(), agents.q.net.affine_maps()
    for layer in (*policy[:3], *critics):
        for parameter in layer.parameters():
            assert 0 < parameter.abs().max() <= 1e-4
    for layer, bound in zip(policy[3:], [0.5, 0.5, 0.5, 1e-3], strict=True):
        assert 0.5 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()


# --- the whole loss once more, in float64 ---------------------------------------------------------------


def features(p: Parameters, prefix: str, copy: int, kind: Any, images: Tensor) -> Tensor:
    maps = images.permute(0, 3, 1, 2).double() / 255
    for layer, (_, stride, pooled) in enumerate(CONVOLUTIONS[kind]):
        weight, bias = p[f"{prefix}weights.{layer}"][copy], p[f"{prefix}biases.{layer}"][copy]
        maps = functional.conv2d(maps, weight, bias, stride, 1)
        maps = torch.relu(functional.max_pool2d(maps, 2) if pooled else maps)
    return maps.permute(0, 2, 3, 1).reshape(len(images), -1)


class Reference:
    """The losses of one run of `members` agents, from `agents`' parameters and a copy of their streams."""

    def __init__(self, agents: Any, config: Any) -> None:
        self.p = slow.float64_parameters(agents)
        self.constants = slow.constant(self.p)
        self.config, self.members = config, agents.members
        self.streams = slow.same_streams(agents)

    def encode(self, shown: Any, critics: str) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Features of each agent's policy, and of each agent's twins."""
        eyes, count = self.config.encoder, len(SEEDS) * self.members
        kind, padding = eyes.networks, eyes.padding
        pictures, states = shown["image"], shown["state"].double()
        if not eyes.state:
            states = states[..., :0]

        def seen(prefix: str, viewers: int) -> list[Tensor]:
            """The features of `viewers` encoders an agent, and the state, for each of them."""
            views = viewers * self.members
            shown = crop(pictures, draw_offsets(self.streams, views, ROWS, padding), padding)
            return [
                torch.cat([features(self.p, prefix, viewer, kind, rows), states[viewer // views]], dim=-1)
                for viewer, rows in enumerate(shown)
            ]

        if kind == "shared":
            each = seen("image_encoder.", 1)
            return [row.detach() for row in each], [[row, row] for row in each]
        for_policy = seen("policy.image_encoder.", 1)
        twins = seen(f"{critics}.image_encoder.", 2)
        return for_policy, [twins[2 * a : 2 * a + 2] for a in range(count)]

    def gaussian(self, run: int, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Moments of the mixture of a run's members."""
        low, high = self.config.log_std_range
        means, squares = [], []
        for agent in range(run * self.members, (run + 1) * self.members):
            mean, log_std = slow.network(self.p, "policy", agent, seen[agent]).chunk(2, dim=-1)
            means.append(mean)
            squares.append(mean**2 + log_std.clamp(low, high).exp() ** 2)
        mean = torch.stack(means).mean(dim=0)
        return mean, (torch.stack(squares).mean(dim=0) - mean**2).sqrt()

    @staticmethod
    def log_density(mean: Tensor, std: Tensor, pre_tanh: Tensor) -> Tensor:
        normal = -0.5 * ((pre_tanh - mean) / std) ** 2 - std.log() - 0.5 * math.log(2 * math.pi)
        return (normal - (1 - torch.tanh(pre_tanh) ** 2).log()).sum(dim=-1)

    def loss(self, images: Batch, step: int) -> Tensor:
        """Everything that is minimised, summed over runs."""
        config, sources = self.config, images.extras["source"]
        critics, online = config.conservative_weight > 0, isinstance(config, off2on.Off2OnConfig)
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
                return slow.network(p, name, 2 * agent + twin, torch.cat([rows, taken], dim=-1))[:, 0]

            next_pre = next_mean + next_std * noise["target"][run]
            next_log = self.log_density(next_mean, next_std, next_pre)
            for agent in own:
                seen_next, taken = [rows.detach() for rows in next_q[agent]], torch.tanh(next_pre)
                both = (q(self.constants, "target_q", agent, t, seen_next[t], taken) for t in (0, 1))
                value = torch.minimum(*both)
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
            cloning = not online and step < config.cloning_updates
            if not cloning:
                for agent in own:
                    both = [
                        q(self.constants, "q", agent, t, seen_q[agent][t].detach(), torch.tanh(pre))
                        for t in (0, 1)
                    ]
                    total = total - torch.minimum(*both).mean() / self.members
            weight = 1.0 if cloning else config.cloning_weight
            if config.encoder.cloning_teaches and config.encoder.networks == "shared":
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
    "shared, an ensemble": (ensemble(SHARED_EYES, **{**SMALL_BUDGET, "conservative_weight": 0.0}), 2, 5),
    "shared, an ensemble, penalty": (ensemble(SHARED_EYES, conservative_weight=1.0, sampled_actions=2), 2, 5),
    "shared, taught by cloning": (ensemble(TAUGHT, **SMALL_BUDGET), 2, 5),
    "shared, taught by cloning, cloning": (replace(SHARED, encoder=TAUGHT), 1, 1),
    "own, nothing more to teach": (replace(OWN, encoder=replace(OWN_EYES, cloning_teaches=True)), 1, 1),
    "shared, a state": (
        replace(SHARED, encoder=replace(SHARED_EYES, state=True, padding=1), **SMALL_BUDGET),
        1,
        5,
    ),
    "shared, an ensemble, a state": (ensemble(replace(SHARED_EYES, state=True)), 2, 5),
    "own, an ensemble, a state": (
        ensemble(replace(OWN_EYES, state=True, padding=0), conservative_weight=1.0),
        2,
        5,
    ),
    "own": (OWN, 1, 5),
    "own, an ensemble": (ensemble(OWN_EYES), 2, 5),
    "own, an ensemble, penalty": (ensemble(OWN_EYES, conservative_weight=1.0), 2, 5),
}


@pytest.mark.parametrize("case", CASES)
def test_an_update_descends_the_float64_gradient_of_the_losses(case: str) -> None:
    config, members, step = CASES[case]
    agents, images = stirred(config, members), random_images(ROWS, 1)
    reference = Reference(agents, config)
    learned = {name for name in reference.p if not name.startswith(("target_q.", "averaged.", "density."))}
    names = sorted(learned)
    expected = torch.autograd.grad(
        reference.loss(images, step), [reference.p[name] for name in names], allow_unused=True
    )
    update(agents, images, config, step)
    found = dict(agents.named_parameters())
    for name, gradient in zip(names, expected, strict=True):
        own = found[name].grad
        assert own is not None and gradient is not None, name
        torch.testing.assert_close(own.double(), gradient, rtol=2e-3, atol=2e-5, msg=name)
    for name, parameter in found.items():
        assert name in learned or parameter.grad is None, name


@pytest.mark.parametrize("norm", ["none", "before", "after"])
@pytest.mark.parametrize("name", ["cql", "cal_ql", "off2on"])
def test_features_read_once_teach_what_features_read_each_time_do(
    name: str, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {**COG, **SIZES, "critic_norm": norm, "encoder": TAUGHT}
    config: Any = {"cql": cql.CQLConfig, "cal_ql": cal_ql.CalQLConfig, "off2on": off2on.Off2OnConfig}[name](
        **settings
    )
    gradients = []
    for together in (True, False):
        agents = make_agents(config, opened={"cal_ql": cal_ql.CalQLAgents}.get(name))
        slow.randomise(agents, seed=3, scale=0.2)
        monkeypatch.setattr(type(agents), "steps_together", together)
        batch = random_images(ROWS, 1)
        if name == "cal_ql":
            batch.extras["returns_to_go"] = torch.zeros_like(batch.rewards)
            cal_ql.update(agents, agents.encode(batch), config)
        else:
            update(agents, batch, config, 5)
        gradients.append({name: p.grad for name, p in agents.named_parameters() if p.grad is not None})
    once, each_time = gradients
    assert once.keys() == each_time.keys()
    for parameter, gradient in once.items():
        torch.testing.assert_close(gradient, each_time[parameter], rtol=1e-3, atol=1e-5, msg=parameter)


def test_a_fresh_policy_learns_every_deviation() -> None:
    agents = make_agents(SHARED)
    update(agents, random_images(ROWS, 1), SHARED, step=0)
    heads = agents.policy.net.affine_maps()[-1]
    assert heads.bias.grad is not None
    assert (heads.bias.grad[:, :, ACTION:] != 0).all()


# --- acting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eyes", [SHARED_EYES, OWN_EYES], ids=["shared", "own"])
def test_acting_sees_whole_images_and_draws_nothing(eyes: EncoderConfig) -> None:
    config = ensemble(eyes)
    agents = stirred(config, 2)
    before = agents.streams.state()
    images = random_images(3, 5).observations
    found = exploit(agents, images)
    assert torch.equal(agents.streams.state(), before)
    reference = Reference(agents, config)
    prefix = "image_encoder." if eyes.networks == "shared" else "policy.image_encoder."
    for run in range(len(SEEDS)):
        seen = [features(reference.p, prefix, a, eyes.networks, images["image"][a // 2]) for a in range(4)]
        mean, _ = reference.gaussian(run, seen)
        torch.testing.assert_close(found[run].double(), torch.tanh(mean), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [SHARED, OWN], ids=["shared", "own"])
def test_evaluation_is_on_averaged_weights_and_collection_is_not(config: cql.CQLConfig) -> None:
    config = replace(config, averaging_rate=0.25)
    agents = make_agents(config)
    names = [name for name, _ in agents.named_parameters() if name.startswith(("policy.", "image_encoder."))]
    expected = {name: agents.get_parameter(name).detach().clone() for name in names}
    for number in range(4):
        update(agents, random_images(ROWS, number), config, number)
        for name in names:
            expected[name] = 0.75 * expected[name] + 0.25 * agents.get_parameter(name).detach()
    for name in names:
        torch.testing.assert_close(agents.get_parameter(f"averaged.{name}").detach(), expected[name])
    images = random_images(3, 5).observations
    averaged, live = exploit(agents, images), agents.distribution(agents.acting_features(images)).mode()
    assert not torch.equal(averaged, live)
    with torch.no_grad():
        for name, tensor in expected.items():
            agents.get_parameter(name).copy_(tensor)
    torch.testing.assert_close(averaged, agents.distribution(agents.acting_features(images)).mode())


@pytest.mark.parametrize("eyes", [SHARED_EYES, OWN_EYES], ids=["shared", "own"])
def test_agents_handed_on_are_evaluated_by_their_averages_where_asked(eyes: EncoderConfig) -> None:
    config = ensemble(eyes, averaging_rate=0.25)
    agents, images = make_agents(config, 2), random_images(3, 4).observations
    for number in range(3):
        update(agents, random_images(ROWS, number), config, number)
    handed_on = [one_agent(agents, index) for index in range(4)]
    again = make_agents(config, 2, [0, 1])
    load_members(again, handed_on)
    expected = agents.distribution(agents.acting_features(images)).mode()
    torch.testing.assert_close(exploit(again, images), expected)
    again.load_averages(handed_on)
    torch.testing.assert_close(exploit(again, images), exploit(agents, images))
    assert not torch.equal(exploit(agents, images), expected)


# --- independence ---------------------------------------------------------------------------------------

INDEPENDENCE = {
    "shared": replace(SHARED, **SMALL_BUDGET),
    "own": OWN,
    "ensemble": ensemble(SHARED_EYES, **SMALL_BUDGET),
}


def train(kind: str, rows: tuple[int, ...], neighbour: int = 0) -> dict[str, Tensor]:
    """State after some updates; `neighbour` changes what row 0 of the population sees."""
    config: Any = INDEPENDENCE[kind]
    several = isinstance(config, off2on.Off2OnConfig)
    agents = make_agents(config, 2 if several else 1, [SEEDS[0] + row for row in rows])
    if several:
        agents.density.initialise(agents.streams)
    for number in range(4):
        parts = [
            random_images(ROWS, 10 * row + number + (100 + neighbour if neighbour and not row else 0), 1)
            for row in rows
        ]
        images = combined(parts, lambda *fields: torch.cat(fields))
        if several:
            off2on.update(agents, images, images, images, config)
        else:
            update(agents, images, config, number)
    state: dict[str, Tensor] = agents.training_state()
    return state


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


# --- any method -----------------------------------------------------------------------------------------

METHODS: dict[str, tuple[type[Method], Any]] = {
    "awac": (AWAC, AWACConfig(ensemble_size=2, **SIZES)),
    "iql": (iql.IQL, iql.IQLConfig(hidden_widths=(7, 6), batch_size=ROWS)),
    "cql with three layer-normed critics": (
        cql.CQL,
        cql.CQLConfig(critics=3, critic_norm="before", sampled_actions=1, **SIZES),
    ),
}


@pytest.mark.parametrize(
    ("name", "eyes"),
    [
        *((name, SHARED_EYES) for name in METHODS),
        *((name, OWN_EYES) for name in METHODS if name != "iql"),
    ],
)
def test_other_methods_learn_from_images_and_teach_every_encoder(name: str, eyes: EncoderConfig) -> None:
    method, config = METHODS[name]
    start = OfflineStart(SEEDS, SHAPES, ACTION, ())
    learner = method.begin_offline(start, replace(config, encoder=eyes))
    agents = learner.agents
    # From images whose every convolution counts; a policy's fresh layers under COG's encoder are near zero.
    slow.randomise(agents, seed=3, scale=0.2)
    before = {n: p.detach().clone() for n, p in agents.named_parameters() if "image_encoder" in n}
    copies = {n.rpartition("image_encoder")[0] for n in before}
    own = {f"{viewer}." for viewer in agents.feature_networks} | {"target_q."}
    assert copies == ({""} if eyes.networks == "shared" else own)
    for number in range(3):
        metrics = learner.update(agents.encode(random_images(ROWS, number)), number)
    assert all(value.isfinite().all() for value in metrics.values())
    for parameter, old in before.items():
        assert not torch.equal(agents.get_parameter(parameter), old), parameter
    images = random_images(3, 5).observations
    assert learner.exploit(images).shape == learner.explore(images).shape == (2, 3, ACTION)


def test_a_policy_s_loss_teaches_a_shared_encoder_nothing() -> None:
    start = OfflineStart(SEEDS, SHAPES, ACTION, ())
    agents = AWAC.begin_offline(start, AWACConfig(encoder=SHARED_EYES, **SIZES)).agents
    batch = agents.encode(random_images(ROWS, 1))
    agents.step(-agents.policy(batch.observations).log_density(batch.actions).mean(dim=-1))
    assert agents.policy.net.affine_maps()[0].weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in agents.image_encoder.parameters())


@pytest.mark.parametrize(
    ("method", "config", "sentence"),
    [
        (cql.CQL, cql.CQLConfig(), "CQL is shown image, state and its settings have no encoder"),
        (
            BCQ,
            BCQConfig(),
            "BCQ is shown image, state and its settings have no encoder, expected observations",
        ),
        (iql.IQL, iql.IQLConfig(encoder=OWN_EYES), "networks is own, expected shared: IQLAgents learn one"),
        (RLPD, RLPDConfig(encoder=OWN_EYES), "agents of RLPD have no encoder for images, expected a vector"),
    ],
)
def test_images_are_refused_by_agents_that_cannot_see(
    method: type[Method], config: Any, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        method.population(OfflineStart(SEEDS, SHAPES, ACTION, ()), config, 1)


def test_an_encoder_without_an_image_is_refused() -> None:
    with pytest.raises(UserError, match="encoder is for images, expected none where observations"):
        cql.CQL.begin_offline(OfflineStart(SEEDS, 3, ACTION, ()), SHARED)
    with pytest.raises(UserError, match="the encoder reads image, expected one of state"):
        ObservationEncoding({"state": (3,)}, OWN_EYES)
    with pytest.raises(UserError, match="the encoder reads state, expected one of image"):
        ObservationEncoding({"image": (3, 3, 3)}, replace(OWN_EYES, state=True))
    with pytest.raises(UserError, match="agents without an encoder were shown image"):
        blind = ActorCritics(SEEDS, 3, ACTION, cql.CQLConfig(**SIZES))
        blind.acting_features({"image": torch.zeros(2, 1, 3, 3, 3)})


# --- fine-tuning ----------------------------------------------------------------------------------------


def begin(members: int = 4, eyes: EncoderConfig = SHARED_EYES, **settings: Any) -> off2on.Off2On:
    config = ensemble(eyes, **settings)
    pretrained = make_agents(replace(SHARED, encoder=eyes), seeds=list(range(members)))
    start = Start(
        SEEDS,
        Streams(SEEDS),
        SHAPES,
        ACTION,
        OfflineData.from_transitions(record(6)),
        OnlineBuffer(len(SEEDS), 2 * HORIZON, SHAPES, ACTION, horizon=HORIZON),
        [one_agent(pretrained, index) for index in range(members)],
        2 * HORIZON,
    )
    return off2on.Off2On.begin(start, config)


def collected(episodes: int, seed: int) -> Batch:
    frames = random_images(episodes * (HORIZON + 1), seed).observations
    rest = random_images(episodes * HORIZON, seed + 1)
    each = {name: rows.unflatten(1, (episodes, HORIZON + 1)) for name, rows in frames.items()}
    before, after = (
        {name: rows[:, :, part].flatten(1, 2) for name, rows in each.items()}
        for part in (slice(-1), slice(1, None))
    )
    return rest._replace(observations=before, next_observations=after)


@pytest.mark.parametrize("eyes", [SHARED_EYES, OWN_EYES], ids=["shared", "own"])
def test_fine_tuning_starts_from_the_agents_it_is_given(eyes: EncoderConfig) -> None:
    learner = begin(eyes=eyes)
    pretrained = make_agents(replace(SHARED, encoder=eyes), seeds=list(range(4)))
    for index in range(4):
        assert_same_bits(one_agent(learner.agents, index), one_agent(pretrained, index))
    assert_same_bits(learner.agents.target_q.state_dict(), learner.agents.q.state_dict())
    images = random_images(3, 5).observations
    for_members = {name: rows.repeat_interleave(2, dim=0) for name, rows in images.items()}
    members = pretrained.distribution(pretrained.acting_features(for_members))
    torch.testing.assert_close(learner.exploit(images), mixture_policy(members, 2).mode())


def test_agents_of_another_number_or_encoder_are_refused() -> None:
    with pytest.raises(UserError, match="3 pre-trained agents were given, expected 4"):
        begin(members=3)
    own, shared = make_agents(OWN), make_agents(SHARED)
    with pytest.raises(UserError, match="expected agents of a method with the same networks"):
        load_members(shared, [one_agent(own, index) for index in range(2)])


def test_exploration_uses_its_share_of_the_deviation() -> None:
    images = random_images(200, 5).observations
    modes, spreads = [], []
    for scale in (0.0, 0.4, 1.0):
        learner = begin(exploration_scale=scale, log_std_range=(-5.0, 0.5))
        modes.append(learner.exploit(images))
        spreads.append((torch.atanh(learner.explore(images)) - torch.atanh(modes[-1])).std())
    assert spreads[0] < 1e-6
    torch.testing.assert_close(spreads[1] / spreads[2], torch.tensor(0.4), rtol=1e-3, atol=0)


@pytest.mark.parametrize("replay", ["online_only", "balanced"])
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_every_ablation_learns_from_the_data_and_by_the_losses_it_names(
    weight: float, size: int, replay: str
) -> None:
    settings: dict[str, Any] = {"ensemble_size": size, "replay": replay, "conservative_weight": weight}
    learner = begin(len(SEEDS) * size, **settings)
    learner.replay.add(collected(2, 0))
    metrics = learner.learn()
    assert ("conservative_penalty" in metrics) == (weight > 0)
    assert ("priority_mean" in metrics) == (replay == "balanced")
    share = metrics["online_share"] + metrics["random_share"]
    assert (metrics["online_share"] == 1).all() == (replay == "online_only")
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


def test_a_fresh_density_ratio_of_images_is_near_one() -> None:
    agents = begin().agents
    batch = random_images(40, 3)
    weights = agents.density(batch.observations, batch.actions).detach()
    assert weights.shape == (2, 40) and (weights - 1).abs().max() < 0.1
