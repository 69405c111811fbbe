"""Multi-source estimation and LBRAC-v: losses and updates equal slow float64 statements to 1e-9."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from algorithms.methods.interface import OfflineStart
from algorithms.methods.lbrac import LBRACV, LBRACConfig, LearnedAgents
from algorithms.methods.multi_source import MultiSource, MultiSourceConfig
from algorithms.population.agents import one_agent
from algorithms.replay.batch import Batch
from storage import UserError
from tests.algorithms import slow_reference as slow

OBSERVATION, ACTION, SIZE, SAMPLES, K = 4, 2, 6, 3, 3
SEEDS = (71, 72)
RETURNS = (5.0, -1.0, 3.0, 9.0, 2.0, 2.5, 7.0)
M = len(RETURNS)
CONFIG = LBRACConfig(
    **slow.SMALL | {"hidden_widths": (7, 6, 5)},
    policy_hidden_widths=(6, 5),
    policies=K,
    embedding_size=3,
    commitment_weight=0.3,
    batch_size=SIZE,
    divergence_weight=0.7,
    divergence_actions=SAMPLES,
)
EXACT = {"rtol": 1e-9, "atol": 1e-9}
OF_POLICIES = ("policy.", "trajectories.", "policies.")


def make(method: type[MultiSource]) -> MultiSource:
    """Agents of float64 at which every term of a loss counts."""
    agents = method.population(OfflineStart(SEEDS, OBSERVATION, ACTION, (), returns=RETURNS), CONFIG, 1)
    slow.randomise(agents.double(), seed=0)
    return method(agents, CONFIG)


def make_batch(seed: int = 1) -> Batch:
    """Transitions, one of whose actions lies at the edge of the box."""
    batch = slow.random_batch(len(SEEDS), SIZE, OBSERVATION, ACTION, seed).map(lambda field: field.double())
    generator = torch.Generator().manual_seed(seed)
    trajectories = torch.randint(M, (len(SEEDS), SIZE), generator=generator)
    batch.actions[:, 0, 0] = -1.0
    return batch._replace(extras={"trajectory": trajectories})


# --- the slow statement -----------------------------------------------------------------------------------


def direction(vector: Tensor) -> Tensor:
    return vector / (vector**2).sum().sqrt()


def outputs(parameters: slow.Parameters, prefix: str, copy: int, inputs: Tensor, vector: Tensor) -> Tensor:
    """Features: perceptron, ReLU, layer norm; then the head of features and the vector's direction."""
    named = {
        name.replace("body.", "body.net.").replace("head.", "head.net."): tensor
        for name, tensor in parameters.items()
        if name.startswith(prefix)
    }
    hidden = slow.perceptron(named, prefix + "body.", copy, inputs)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    centred = hidden - hidden.sum() / len(hidden)
    scaled = centred / torch.sqrt((centred**2).sum() / len(hidden) + 1e-3)
    gain, shift = (parameters[f"{prefix}scale.{name}"][copy, 0] for name in ("gain", "shift"))
    joined = torch.cat([scaled * gain + shift, direction(vector)])
    return slow.perceptron(named, prefix + "head.", copy, joined)


def policy(parameters: slow.Parameters, agent: int, state: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation before tanh."""
    found = outputs(parameters, "policy.", agent, state, vector)
    return found[:ACTION], found[ACTION:].clamp(-10, 10).exp()


def q_values(
    parameters: slow.Parameters, prefix: str, agent: int, state: Tensor, action: Tensor, number: int
) -> list[Tensor]:
    """Both twins' Q of the policy of that number."""
    joined, twins = torch.cat([state, action]), (2 * agent, 2 * agent + 1)
    vectors = parameters[prefix + "policies.vectors"]
    return [outputs(parameters, prefix, twin, joined, vectors[twin, number])[0] for twin in twins]


def made_by(parameters: slow.Parameters, agent: int, trajectory: int) -> int:
    """The behaviour with the largest cosine."""
    own = direction(parameters["trajectories.vectors"][agent, trajectory])
    cosines = [
        float(direction(e.detach()).dot(own.detach())) for e in parameters["policies.vectors"][agent, :K]
    ]
    return int(np.argmax(cosines))


def likelihood(distribution: tuple[Tensor, Tensor], action: Tensor) -> Tensor:
    return slow.squashed_log_density(*distribution, action.clamp(-0.999, 0.999))


def divergence(parameters: slow.Parameters, agent: int, state: Tensor, number: int, noise: Tensor) -> Tensor:
    """max(mean[log pi - log b], 0), both from one network."""
    vectors = parameters["policies.vectors"][agent]
    ours, theirs = (policy(parameters, agent, state, vectors[n]) for n in (K, number))
    terms = []
    for one in noise:
        action = slow.squash(*ours, one)[0].clamp(-0.999, 0.999)
        terms.append(slow.squashed_log_density(*ours, action) - slow.squashed_log_density(*theirs, action))
    estimate = torch.stack(terms).sum() / len(terms)
    return estimate if float(estimate.detach()) > 0 else 0 * estimate


def sampled_value(
    parameters: slow.Parameters, agent: int, state: Tensor, number: int, noise: Tensor
) -> Tensor:
    vector = parameters["policies.vectors"][agent, number]
    action, _ = slow.squash(*policy(parameters, agent, state, vector), noise)
    return torch.minimum(*q_values(parameters, "target_q.", agent, state, action, number))


def mean_over_rows(one: object) -> Tensor:
    """Mean of `one(agent, row)` over each agent's batch. [P]"""
    rows = [[one(agent, row) for row in range(SIZE)] for agent in range(len(SEEDS))]  # type: ignore[operator]
    return slow.table(rows).mean(dim=1)


def td_error(
    parameters: slow.Parameters, batch: Batch, learned: bool, noise: Tensor, apart: Tensor | None = None
) -> Tensor:
    """Of the learned policy, whose value pays for the divergence, or of each trajectory's behaviour. [P]"""

    def one(agent: int, row: int) -> Tensor:
        state, action, reward, mask, following = (field[agent, row] for field in batch[:5])
        behaviour = made_by(parameters, agent, int(batch.extras["trajectory"][agent, row]))
        number = K if learned else behaviour
        value = sampled_value(parameters, agent, following, number, noise[agent, row])
        if apart is not None:
            penalty = divergence(parameters, agent, following, behaviour, apart[agent, row])
            value = value - CONFIG.divergence_weight * penalty
        target = (reward + CONFIG.discount * mask * value).detach()
        twins = q_values(parameters, "q.", agent, state, action, number)
        return (twins[0] - target) ** 2 + (twins[1] - target) ** 2

    return mean_over_rows(one)


def imitation(parameters: slow.Parameters, batch: Batch) -> Tensor:
    """-log pi(a|s; w) - log pi(a|s; e) - commitment <w, e>. [P]"""

    def one(agent: int, row: int) -> Tensor:
        state, action = batch.observations[agent, row], batch.actions[agent, row]
        trajectory = int(batch.extras["trajectory"][agent, row])
        own = parameters["trajectories.vectors"][agent, trajectory]
        code = parameters["policies.vectors"][agent, made_by(parameters, agent, trajectory)]
        likely = sum(likelihood(policy(parameters, agent, state, vector), action) for vector in (own, code))
        return -likely - CONFIG.commitment_weight * direction(own).dot(direction(code))

    return mean_over_rows(one)


def described(parameters: slow.Parameters, batch: Batch) -> dict[str, Tensor]:
    """What both phases measure of the behaviours, before their step. [P] each"""
    found: dict[str, list[float]] = {"reconstruction_loss": [], "commitment": [], "behaviours_used": []}
    for agent, trajectories in enumerate(batch.extras["trajectory"].tolist()):
        made = [made_by(parameters, agent, trajectory) for trajectory in trajectories]
        losses, cosines = 0.0, 0.0
        for row, (trajectory, number) in enumerate(zip(trajectories, made, strict=True)):
            own = parameters["trajectories.vectors"][agent, trajectory].detach()
            code = parameters["policies.vectors"][agent, number].detach()
            state, action = batch.observations[agent, row], batch.actions[agent, row]
            for vector in (own, code):
                losses -= float(likelihood(policy(parameters, agent, state, vector), action).detach())
            cosines += float(direction(own).dot(direction(code)))
        found["reconstruction_loss"].append(losses / SIZE)
        found["commitment"].append(cosines / SIZE)
        found["behaviours_used"].append(len(set(made)))
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def mean_q(parameters: slow.Parameters, batch: Batch, learned: bool) -> Tensor:
    """Q of the data's actions, of the learned policy or of each trajectory's behaviour. [P]"""

    def one(agent: int, row: int) -> Tensor:
        made = made_by(parameters, agent, int(batch.extras["trajectory"][agent, row]))
        pair = batch.observations[agent, row], batch.actions[agent, row]
        first, second = q_values(parameters, "q.", agent, *pair, K if learned else made)
        return (first + second) / 2

    return mean_over_rows(one)


def mean_divergence(parameters: slow.Parameters, batch: Batch, noise: Tensor) -> Tensor:
    """Divergence from each trajectory's behaviour in the batch's states. [P]"""

    def one(agent: int, row: int) -> Tensor:
        made = made_by(parameters, agent, int(batch.extras["trajectory"][agent, row]))
        return divergence(parameters, agent, batch.observations[agent, row], made, noise[agent, row])

    return mean_over_rows(one)


def actor(parameters: slow.Parameters, batch: Batch, noise: Tensor, apart: Tensor) -> Tensor:
    """alpha D - min Q of the learned policy, and imitation. [P]"""
    critics = slow.constant({name: part for name, part in parameters.items() if name.startswith("q.")})

    def one(agent: int, row: int) -> Tensor:
        state = batch.observations[agent, row]
        behaviour = made_by(parameters, agent, int(batch.extras["trajectory"][agent, row]))
        vector = parameters["policies.vectors"][agent, K]
        action, _ = slow.squash(*policy(parameters, agent, state, vector), noise[agent, row])
        value = torch.minimum(*q_values(critics, "q.", agent, state, action, K))
        penalty = divergence(parameters, agent, state, behaviour, apart[agent, row])
        return CONFIG.divergence_weight * penalty - value

    return mean_over_rows(one) + imitation(parameters, batch)


# --- the guarantees ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [MultiSource, LBRACV])
def test_updates_equal_adam_steps_by_hand(method: type[MultiSource]) -> None:
    """Targets first, then critics, then policies and trajectories by the new critics."""
    learner = make(method)
    agents, by_hand = learner.agents, slow.Adam(slow.float64_parameters(learner.agents))
    for number in range(3):
        batch, start = make_batch(number), agents.streams.state()
        metrics = learner.update(batch, number)
        after = agents.streams.state()
        agents.streams.restore(start)
        by_hand.move_targets(CONFIG.target_update_rate)
        exact = by_hand.parameters
        if method is MultiSource:
            critics = td_error(exact, batch, False, agents.streams.normal(SIZE, ACTION))
        else:
            noise, apart = agents.streams.normal(SIZE, ACTION), agents.streams.normal(SIZE, SAMPLES, ACTION)
            critics = td_error(exact, batch, True, noise, apart)
            critics = critics + td_error(exact, batch, False, agents.streams.normal(SIZE, ACTION))
        expected = {"critic_loss": critics, "q_mean": mean_q(exact, batch, method is LBRACV)}
        by_hand.step(slow.gradients(critics.sum(), exact, "q."), CONFIG.value_learning_rate)
        expected |= described(exact, batch)
        if method is MultiSource:
            loss = imitation(exact, batch)
        else:
            noise, apart = agents.streams.normal(SIZE, ACTION), agents.streams.normal(SIZE, SAMPLES, ACTION)
            loss = actor(exact, batch, noise, apart)
            expected["divergence"] = mean_divergence(exact, batch, apart)
        by_hand.step(slow.gradients(loss.sum(), exact, OF_POLICIES), CONFIG.policy_learning_rate)
        assert torch.equal(agents.streams.state(), after)
        slow.assert_metrics(metrics, {**expected, "actor_loss": loss})
    slow.assert_parameters(agents, by_hand.parameters)


def test_a_trajectory_belongs_to_the_behaviour_with_the_largest_cosine() -> None:
    agents = make(MultiSource).agents
    exact = slow.float64_parameters(agents)
    expected = [[made_by(exact, agent, m) for m in range(M)] for agent in range(2)]
    assert agents.assignment().tolist() == expected
    assert one_agent(agents, 1)["assignment"].tolist() == [expected[1]]


def test_the_best_behaviour_has_the_highest_mean_percentile_and_is_never_an_unused_one() -> None:
    agents = make(MultiSource).agents
    axes = torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        agents.policies.vectors[:, :K] = axes
        # Agent 0: the first behaviour made the returns 5, 3, 9 and 7, the second the others, the third none.
        chosen = torch.tensor([[0, 1, 0, 0, 1, 1, 0], [1, 1, 2, 1, 2, 2, 1]])
        agents.trajectories.vectors.copy_(2 * axes[chosen] + 0.1)
    assert agents.assignment().tolist() == chosen.tolist()
    assert agents.best_behaviour().tolist() == [[0], [1]]
    with torch.no_grad():
        agents.trajectories.vectors.copy_((2 * axes[1] + 0.1).expand(2, M, 3))
    assert agents.best_behaviour().tolist() == [[1], [1]]


def test_percentiles_are_bins_from_1_to_100() -> None:
    agents = make(MultiSource).agents
    expected = np.digitize(RETURNS, np.quantile(RETURNS, np.arange(100) / 100))
    assert agents.percentiles.tolist() == expected.tolist() and agents.percentiles.max() == 100


def test_lbrac_begins_as_the_best_behaviour_in_the_networks_that_were_estimated() -> None:
    before = make(MultiSource).agents.float()
    members = [one_agent(before, index) for index in range(2)]
    start = OfflineStart(SEEDS, OBSERVATION, ACTION, members, returns=RETURNS)
    agents = LBRACV.begin_offline(start, CONFIG).agents
    assert isinstance(agents, LearnedAgents)
    best = before.best_behaviour()[:, 0]
    for agent in range(2):
        for table, row in ((agents.policies, agent), (agents.q.policies, 2 * agent + 1)):
            assert torch.equal(table.vectors[row, K], table.vectors[row, best[agent]])
    states = torch.randn(2, 5, OBSERVATION)
    assert torch.equal(agents.exploit(states), before.exploit(states))
    own, targets = agents.q.state_dict(), agents.target_q.state_dict()
    assert all(torch.equal(own[name], targets[name]) for name in own)


def test_fresh_networks_and_vectors_are_as_keras_makes_them() -> None:
    """Glorot's weights, a norm that scales by one, and vectors uniform within 0.05."""
    agents = MultiSource.begin_offline(
        OfflineStart(SEEDS, OBSERVATION, ACTION, (), returns=RETURNS), CONFIG
    ).agents
    for network, widths, outputs in ((agents.policy, (6, 5), 2 * ACTION), (agents.q, (7, 6, 5), 1)):
        for net, expected in ((network.body, widths[:-1]), (network.head, (widths[-1], outputs))):
            assert slow.widths(net.affine_maps()) == list(expected)
            slow.assert_glorot(net.affine_maps())
        assert (network.scale.gain == 1).all() and (network.scale.shift == 0).all()
    for table, rows in ((agents.trajectories, M), (agents.policies, K + 1), (agents.q.policies, K + 1)):
        assert table.vectors.shape[1:] == (rows, 3)
        largest = float(table.vectors.detach().abs().max())
        assert 0.035 < largest <= 0.05


def test_lbrac_acts_by_the_policy_that_it_learns_and_the_phase_before_by_its_best_behaviour() -> None:
    agents, states = make(LBRACV).agents, torch.randn(len(SEEDS), 5, OBSERVATION).double()
    exact, best = slow.float64_parameters(agents), agents.best_behaviour()[:, 0].tolist()
    acted, before = agents.exploit(states), make(MultiSource).agents.exploit(states)
    for agent in range(len(SEEDS)):
        vectors = exact["policies.vectors"][agent]
        for found, number in ((acted, K), (before, best[agent])):
            mean, _ = policy(exact, agent, states[agent, 0], vectors[number])
            torch.testing.assert_close(found[agent, 0], torch.tanh(mean), **EXACT)


def test_a_policys_log_deviation_stays_within_ten_either_way() -> None:
    agents, states = make(LBRACV).agents, torch.randn(len(SEEDS), 5, OBSERVATION).double()
    for added in (-50.0, 100.0):
        with torch.no_grad():
            agents.policy.head.affine_maps()[-1].bias[:, :, ACTION:] += added
        log_std = agents.distribution(states).log_std
        assert torch.equal(log_std, torch.full_like(log_std, math.copysign(10.0, added)))


class TestRefusals:
    def start(self, returns: tuple[float, ...]) -> OfflineStart:
        return OfflineStart(SEEDS, OBSERVATION, ACTION, (), returns=returns)

    @pytest.mark.parametrize("returns", [(), (1.0,)])
    def test_data_without_two_trajectories_are_refused(self, returns: tuple[float, ...]) -> None:
        expected = (
            f"the trajectories of the data are {len(returns)}, and the method tells them apart: expected at"
        )
        with pytest.raises(UserError, match=expected):
            MultiSource.begin_offline(self.start(returns), CONFIG)

    def test_more_policies_than_trajectories_are_refused(self) -> None:
        with pytest.raises(
            UserError, match="policies is 3, and the trajectories of the data are 2: expected at most"
        ):
            MultiSource.begin_offline(self.start((1.0, 2.0)), CONFIG)

    def test_networks_without_features_are_refused(self) -> None:
        with pytest.raises(UserError, match=r"hidden_widths is \[7\], expected at least two layers"):
            replace(CONFIG, hidden_widths=(7,))

    def test_behaviours_of_other_data_are_refused(self) -> None:
        before = make(MultiSource).agents.float()
        members = [one_agent(before, index) for index in range(2)]
        start = OfflineStart(SEEDS, OBSERVATION, ACTION, members, returns=RETURNS[:-1])
        with pytest.raises(
            UserError, match=r"trajectories.vectors has shape \(1, 7, 3\), expected \(1, 6, 3\)"
        ):
            LBRACV.begin_offline(start, CONFIG)


def test_it_finds_who_made_which_trajectory() -> None:
    """Two behaviours that act to the left and to the right: their trajectories are told apart, whole."""
    trajectories, rows = 12, 64
    truth = torch.arange(trajectories) % 2
    config = MultiSourceConfig(
        (16, 16), (16, 16), policies=4, embedding_size=4, policy_learning_rate=1e-3, value_learning_rate=1e-3
    )
    start = OfflineStart([1, 2], OBSERVATION, 1, (), returns=truth.tolist())
    learner = MultiSource.begin_offline(start, config)
    generator = torch.Generator().manual_seed(0)
    for number in range(1200):
        chosen = torch.randint(trajectories, (2, rows), generator=generator)
        actions = 0.5 * (2.0 * truth[chosen] - 1) + 0.1 * torch.randn(2, rows, generator=generator)
        states = torch.randn(2, rows, OBSERVATION, generator=generator)
        zeros = torch.zeros(2, rows)
        batch = Batch(states, actions.unsqueeze(-1), zeros, zeros, states, {"trajectory": chosen})
        learner.update(batch, number)
    for found in learner.agents.assignment():
        assert set(found[truth == 0].tolist()).isdisjoint(found[truth == 1].tolist())
    # It is the better of the two that acts.
    assert (learner.exploit(torch.zeros(2, 1, OBSERVATION)) > 0.3).all()
