"""One update of each method and of the code it is usually run with, to be timed by a worker.

One agent (for Off2On one ensemble of five) of HalfCheetah's sizes; AWAC and BCQ with the batches and networks
of their own configurations. Peers are restated in `benchmarks.peers`; d3rlpy's are `peers.d3rlpy_agents`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from algorithms.methods import (
    awac,
    bcq,
    cal_ql,
    cql,
    dmpo,
    edac,
    iql,
    lbrac,
    off2on,
    pex,
    rebrac,
    rlpd,
    sac,
    so2,
    wsrl,
)
from algorithms.population.agents import ActorCritics
from algorithms.population.encoding import EncoderConfig, ObservationEncoding
from algorithms.replay.batch import Batch
from algorithms.training import trial
from benchmarks.peers import plain
from benchmarks.peers.authors_bcq import AuthorsBCQ
from benchmarks.peers.authors_off2on import AuthorsOff2On
from benchmarks.peers.corl_awac import CorlAWAC
from benchmarks.peers.corl_cql import CorlCQL
from benchmarks.peers.plain_heterogeneous import PlainDMPO, PlainLBRAC
from benchmarks.peers.plain_images import PlainCQLFromImages
from benchmarks.peers.plain_rlpd import PlainRLPD
from benchmarks.peers.rlkit_sac import RlkitSAC
from benchmarks.workers import ACTION_SIZE, OBSERVATION_SIZE, SEED, Update, random_batch, serve

PRODUCT_SIZE = 2048


def our_cql(gradient_actions: int | None = None, reduced_precision: bool = False) -> Update:
    """`algorithms.methods.cql.update` past every warm start."""
    config = cql.CQLConfig(
        penalty_gradient_actions=gradient_actions, reduced_precision_penalty=reduced_precision
    )
    agents = ActorCritics([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = random_batch(SEED)
    return lambda: cql.update(agents, batch, config, step=1_000_000)


def our_sac() -> Update:
    """`algorithms.methods.sac.update`."""
    config = sac.SACConfig()
    agents = ActorCritics([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = random_batch(SEED)
    return lambda: sac.update(agents, batch, config)


def our_off2on() -> Update:
    """`algorithms.methods.off2on.update` of one ensemble of five, without the replay."""
    config = off2on.Off2OnConfig()
    agents = off2on.Off2OnAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, config.ensemble_size)
    agents.initialise()
    agents.density.initialise(agents.streams)
    batch, offline, online = (random_batch(SEED + i) for i in range(3))
    return lambda: off2on.update(agents, batch, offline, online, config)


def our_awac(members: int = 1) -> Update:
    """`algorithms.methods.awac.update` of one ensemble."""
    config = awac.AWACConfig()
    agents = awac.AWACAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, members)
    agents.initialise()
    batch = random_batch(SEED, config.batch_size)
    return lambda: awac.update(agents, batch, config)


def our_bcq(members: int = 1) -> Update:
    """`algorithms.methods.bcq.update` of one ensemble."""
    config = bcq.BCQConfig()
    agents = bcq.BCQAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, members)
    agents.initialise()
    batch = random_batch(SEED, config.batch_size)
    return lambda: bcq.update(agents, batch, config)


def our_rlpd() -> Update:
    """`algorithms.methods.rlpd.update` of an environment step, twenty of the critics and one of the actor."""
    config = rlpd.RLPDConfig()
    agents = rlpd.RLPDAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = random_batch(SEED, config.updates_per_step * config.batch_size)
    return lambda: rlpd.update(agents, batch, config)


WSRL = wsrl.WSRLConfig(shared_critic_output=False, idle_adam_steps=False)
"""As its plain statement."""
BASELINES: dict[str, tuple[Any, Any, Any]] = {
    "wsrl": (WSRL, wsrl.WSRLAgents, wsrl.fine_tune),
    "wsrl, offline": (WSRL, wsrl.WSRLAgents, wsrl.pretrain),
    "cal_ql": (cal_ql.CalQLConfig(), cal_ql.CalQLAgents, cal_ql.update),
    "pex": (pex.PEXConfig(), pex.PEXAgents, pex.update),
    "rebrac": (rebrac.ReBRACConfig(), rebrac.ReBRACAgents, None),
    "edac": (edac.EDACConfig(), edac.EDACAgents, edac.update),
    "so2": (so2.SO2Config(), edac.EDACAgents, so2.update),
    "iql": (iql.IQLConfig(), iql.IQLAgents, iql.update),
}
"""Settings, agents and update of those that `peers.plain` states too; ReBRAC's update is its method's."""


def rows_of(name: str) -> Batch:
    """An update's batch of one of `BASELINES`, or an environment step's where it makes several."""
    config = BASELINES[name][0]
    count = getattr(config, "updates_per_step", 1) if name != "wsrl, offline" else 1
    batch = random_batch(SEED, count * config.batch_size)
    returns, following = batch.rewards, batch.actions.flip(1)
    extras = {"returns_to_go": returns, "next_actions": following, "continues": torch.ones_like(returns)}
    return batch._replace(extras=extras)


def our_baseline(name: str) -> Update:
    """One of `BASELINES`, as the suite has it."""
    config, kind, update = BASELINES[name]
    agents = kind([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    batch = rows_of(name)
    if name == "pex":
        agents.start_from([{name: tensor for name, tensor in agents.state_dict().items()}])
    if name == "rebrac":
        learner = rebrac.ReBRAC(agents, config)
        return lambda: learner.update(batch, 0)
    return lambda: update(agents, batch, config)


def plain_baseline(name: str) -> Update:
    """One of `BASELINES` in plain PyTorch."""
    config, batch = BASELINES[name][0], rows_of(name)
    sizes, rows = (OBSERVATION_SIZE, ACTION_SIZE, config), _columns(batch)
    if name == "wsrl":
        return partial(plain.PlainWSRL(*sizes).fine_tune, *rows)
    if name == "wsrl, offline":
        return partial(plain.PlainWSRL(*sizes).pretrain, *rows)
    if name == "cal_ql":
        return partial(plain.PlainCalQL(*sizes).update, batch.extras["returns_to_go"][0, :, None], *rows)
    if name == "rebrac":
        return partial(plain.PlainReBRAC(*sizes).update, batch.extras["next_actions"][0], *rows)
    kinds = {"pex": plain.PlainPEX, "edac": plain.PlainEDAC, "so2": plain.PlainSO2, "iql": plain.PlainIQL}
    return partial(kinds[name](*sizes).update, *rows)


SHAPES = {"image": (48, 48, 3), "state": (10,)}  # the robot's tasks
FROM_IMAGES = cql.CQLConfig(
    encoder=EncoderConfig("shared", state=True, padding=0, cloning_teaches=True),
    hidden_widths=(128, 128),
    log_std_range=(-5.0, 1.0),
    batch_size=64,
    discount=0.95,
    conservative_weight=0.1,
    sampled_actions=1,
    clip_targets=True,
    cloning_weight=0.5,
    averaging_rate=0.005,
)
"""config/manipulation_pilot.yaml's, with cloning of all actions."""


def image_batch(seed: int) -> Batch:
    """A batch of one run of the robot's tasks, of random pixels."""
    rows = trial.made_up(seed, trial.Sizes(SHAPES, 4), FROM_IMAGES.batch_size)
    return rows.map(lambda tensor: tensor.unsqueeze(0))


def our_cql_from_images() -> Update:
    """`algorithms.methods.cql.update` with what encodes its images."""
    encoding = ObservationEncoding(SHAPES, FROM_IMAGES.encoder)  # type: ignore[arg-type]
    agents = ActorCritics([SEED], encoding.feature_size, 4, FROM_IMAGES)
    encoding.attach(agents)
    agents.initialise()
    batch = image_batch(SEED)
    return lambda: cql.update(agents, agents.encode(batch), FROM_IMAGES, step=1_000_000)


def plain_cql_from_images() -> Update:
    """The same in plain PyTorch."""
    agent = PlainCQLFromImages(SHAPES["image"], 10, 4, FROM_IMAGES)
    shown, actions, rewards, masks, following = image_batch(SEED)[:5]
    seen = [(each["image"][0], each["state"][0]) for each in (shown, following)]
    numbers = actions[0], rewards[0].unsqueeze(-1), masks[0].unsqueeze(-1)
    return lambda: agent.update(seen[0], *numbers, seen[1])


def corl_cql() -> Update:
    """CORL's, with the suite's two hidden layers and weight."""
    agent = CorlCQL(OBSERVATION_SIZE, ACTION_SIZE)
    rows = [field[0] for field in random_batch(SEED)[:5]]
    return lambda: agent.update(*rows)


def rlkit_sac() -> Update:
    """The SAC of the authors' code base."""
    agent = RlkitSAC(OBSERVATION_SIZE, ACTION_SIZE)
    rows = _columns(random_batch(SEED))
    return lambda: agent.update(*rows)


def authors_off2on() -> Update:
    """The authors' Off2On with five members, without the replay."""
    agent = AuthorsOff2On(OBSERVATION_SIZE, ACTION_SIZE)
    batch, offline, online = (_columns(random_batch(SEED + i)) for i in range(3))
    return lambda: agent.update(*batch[:5], (offline[0], offline[1]), (online[0], online[1]))


def corl_awac() -> Update:
    """CORL's, with the sizes of AWAC's authors."""
    agent = CorlAWAC(OBSERVATION_SIZE, ACTION_SIZE)
    rows = [field[0] for field in random_batch(SEED, awac.AWACConfig().batch_size)[:5]]
    return lambda: agent.update(*rows)


def authors_bcq() -> Update:
    """The BCQ of its authors."""
    agent = AuthorsBCQ(OBSERVATION_SIZE, ACTION_SIZE)
    rows = _columns(random_batch(SEED, bcq.BCQConfig().batch_size))
    return lambda: agent.update(*rows)


def plain_rlpd() -> Update:
    """RLPD a module a critic."""
    config = rlpd.RLPDConfig()
    agent = PlainRLPD(OBSERVATION_SIZE, ACTION_SIZE)
    rows = _columns(random_batch(SEED, config.updates_per_step * config.batch_size))
    return lambda: agent.update(*rows)


def _columns(batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A run's rows, with rewards and masks [B, 1]."""
    observations, actions, rewards, masks, next_observations = (field[0] for field in batch[:5])
    return observations, actions, rewards.unsqueeze(-1), masks.unsqueeze(-1), next_observations


def our_dmpo() -> Update:
    """`algorithms.methods.dmpo.DMPO.update` until sub-policies and encoder have learned once: two updates."""
    config = dmpo.DMPOConfig()
    agents = dmpo.DMPOAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config)
    agents.initialise()
    learner, batch = dmpo.DMPO(agents, config), random_batch(SEED, config.batch_size)
    return lambda: [learner.update(batch, 0) for _ in range(config.policy_delay)]


def plain_dmpo() -> Update:
    """DMPO a module a network, as many updates."""
    config = dmpo.DMPOConfig()
    agent = PlainDMPO(OBSERVATION_SIZE, ACTION_SIZE, config)
    rows = _columns(random_batch(SEED, config.batch_size))
    return lambda: [agent.update(*rows) for _ in range(config.policy_delay)]


TRAJECTORIES = 200
"""As many as halfcheetah-medium-replay has, D4RL's."""


def _of_trajectories(config: lbrac.LBRACConfig) -> Batch:
    generator = torch.Generator().manual_seed(SEED)
    numbers = torch.randint(TRAJECTORIES, (1, config.batch_size), generator=generator)
    return random_batch(SEED, config.batch_size)._replace(extras={"trajectory": numbers})


def our_lbrac() -> Update:
    """`algorithms.methods.lbrac.LBRACV.update`."""
    config = lbrac.LBRACConfig()
    percentiles = torch.ones(TRAJECTORIES)
    agents = lbrac.LearnedAgents([SEED], OBSERVATION_SIZE, ACTION_SIZE, config, percentiles)
    agents.initialise()
    learner, batch = lbrac.LBRACV(agents, config), _of_trajectories(config)
    return lambda: learner.update(batch, 0)


def plain_lbrac() -> Update:
    """LBRAC-v a module a network."""
    config = lbrac.LBRACConfig()
    agent, batch = PlainLBRAC(OBSERVATION_SIZE, ACTION_SIZE, config, TRAJECTORIES), _of_trajectories(config)
    return partial(agent.update, batch.extras["trajectory"][0], *_columns(batch))


def product() -> Update:
    """A square float32 product: what this machine's matrix products can do."""
    left, right = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE) for _ in range(2))
    return lambda: left @ right


CONTENDERS: dict[str, Callable[[], Update]] = {
    "product": product,
    "cql": our_cql,
    "cql, 6 gradient actions": lambda: our_cql(gradient_actions=6),
    "cql, bfloat16 penalty": lambda: our_cql(reduced_precision=True),
    "cql, both": lambda: our_cql(gradient_actions=6, reduced_precision=True),
    "corl cql": corl_cql,
    "sac": our_sac,
    "rlkit sac": rlkit_sac,
    "off2on": our_off2on,
    "authors' off2on": authors_off2on,
    "awac": our_awac,
    "awac, N = 5": lambda: our_awac(members=5),
    "corl awac": corl_awac,
    "bcq": our_bcq,
    "bcq, N = 5": lambda: our_bcq(members=5),
    "authors' bcq": authors_bcq,
    "cql from images": our_cql_from_images,
    "plain cql from images": plain_cql_from_images,
    "rlpd": our_rlpd,
    "plain rlpd": plain_rlpd,
    "dmpo": our_dmpo,
    "plain dmpo": plain_dmpo,
    "lbrac_v": our_lbrac,
    "plain lbrac_v": plain_lbrac,
    **{name: partial(our_baseline, name) for name in BASELINES},
    **{f"plain {name}": partial(plain_baseline, name) for name in BASELINES},
}

if __name__ == "__main__":
    serve(sys.argv[1], CONTENDERS)
