"""How well Q tells the actions that were taken from random ones ([P] Fig. 4b, [S] Fig. 10 and E.1).

Real pairs are all that a run has collected online, fake ones have the same states and uniform random actions;
Q is the confidence that a pair is real. The area under the ROC curve is the probability that a real pair has
the higher Q of a real and a fake one, ties counting half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from algorithms.methods.interface import Method
from algorithms.population.agents import ActorCritics
from algorithms.population.streams import Streams, derived_seed
from algorithms.replay.stores import OnlineBuffer
from algorithms.training.probes import Probe
from storage import UserError

BLOCK_STATES = 16  # whose Q values are computed at a time: 816 rows of 51 actions stay in cache


@dataclass(frozen=True)
class ActionAUROCConfig:
    """The size of the measurement, at 3.5 s a run on one core. UserError for a count below one."""

    random_actions: int = 50  # [S] E.1: fake pairs for each real one
    max_states: int = 5_000  # ours: a subsample of a run's real pairs; [S] E.1 takes all

    def __post_init__(self) -> None:
        for name in ("random_actions", "max_states"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, expected at least 1")


class ActionAUROC(Probe):
    """Measures an ensemble of Q-functions at each `interval` of steps, as the runs of `seeds`."""

    def __init__(self, interval: int, seeds: Sequence[int]) -> None:
        self._interval, self._seeds = interval, seeds

    def at(self, learner: Method, step: int) -> Mapping[str, ArrayLike]:
        """`measure` with the default numbers; nothing between two intervals and at step 0."""
        if step == 0 or step % self._interval:
            return {}
        of_step = [derived_seed(seed, "action auroc", step) for seed in self._seeds]
        streams = Streams(of_step, learner.agents.streams.device)
        found = measure(learner.agents, learner.replay.online, streams, ActionAUROCConfig())
        return {name: value.numpy() for name, value in found.items()}


@torch.no_grad()
def measure(
    agents: ActorCritics, online: OnlineBuffer, streams: Streams, config: ActionAUROCConfig
) -> dict[str, Tensor]:
    """`auroc_ensemble` and `auroc_individual` of each run, in percent. float64 [S] each

    A member's Q is the smaller of its twins; the ensemble's is the mean of that over the members: the Q that
    the actor climbs ([C]; the figure does not say). "Individual" is the mean over members of each one's own
    AUROC (ours: it estimates what one member has with less noise than the first member alone, so its
    deviation between runs is smaller than one member's). A run of one member has twice the same number.

    `streams` is for this measurement alone: it draws the subsample, without replacement, and the random
    actions, uniform on [-1, 1]. Raises UserError while nothing has been collected.
    """
    if online.size == 0:
        raise UserError("nothing has been collected online yet, expected at least one transition")
    kept = streams.uniform(online.size).argsort(dim=-1)[:, : config.max_states]
    pairs = online.gather(kept)
    fake = 2 * streams.uniform(*kept.shape[1:], config.random_actions, agents.action_size) - 1
    q = _members_q(agents, pairs.observations, torch.cat([pairs.actions.unsqueeze(2), fake], dim=2))
    return {
        "auroc_ensemble": _percentages(q.mean(dim=1, keepdim=True)),
        "auroc_individual": _percentages(q),
    }


def action_auroc(q_real: Tensor, q_fake: Tensor) -> float:
    """Probability that a real pair's Q is above a fake one's, over all pairs of both kinds; ties count half.

    `q_real` [n] and `q_fake` [n, m] of one Q-function; exact, in O(n m log(n m)).
    """
    real, fake = q_real.contiguous(), q_fake.flatten().sort().values
    below = torch.searchsorted(fake, real)
    not_above = torch.searchsorted(fake, real, right=True)
    return int((below + not_above).sum()) / (2 * len(real) * len(fake))


def _percentages(q: Tensor) -> Tensor:
    """Average the Q-functions' AUROC in percent; q [S, N, n, 1 + m] has the real pair first. [S]"""
    shares = [[action_auroc(member[:, 0], member[:, 1:]) for member in run] for run in q]
    return 100 * torch.tensor(shares, dtype=torch.float64).mean(dim=1)


def _members_q(agents: ActorCritics, observations: Tensor, actions: Tensor) -> Tensor:
    """Each member's min Q of several actions in a state: [S, n, obs], [S, n, m, A] -> [S, N, n, m]."""
    count, per_state = actions.shape[1:3]
    blocks = []
    for start in range(0, count, BLOCK_STATES):
        block = slice(start, start + BLOCK_STATES)
        states = observations[:, block].repeat_interleave(per_state, dim=1)
        q = agents.q(agents.for_members(states), agents.for_members(actions[:, block].flatten(1, 2)))
        blocks.append(agents.per_run(q.amin(dim=1)))
    return torch.cat(blocks, dim=2).reshape(len(actions), agents.members, count, per_state)
