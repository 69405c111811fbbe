"""What every method keeps to, whoever wrote it.

    python -m pytest tests/algorithms/conformance --method package.module:Class

tries one of your own; without the option it is the catalogue's. A method's own test is then its equations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from algorithms.catalogue import NOTHING
from algorithms.population.agents import COEFFICIENT, one_agent
from algorithms.population.checkpoints import section
from algorithms.training import cuda_graphs
from algorithms.training.acceleration import Compute, prepare_process
from algorithms.training.log import TrainingLog
from storage import UserError
from storage.curves import METRICS
from tests.algorithms import meta_device
from tests.algorithms.bits import assert_same_bits
from tests.algorithms.conformance.cases import SEEDS, Case, Run, through_a_file, train
from tests.algorithms.training.test_cuda_graphs import HostBlock, stopping_after

UPDATES = 4


def updated(
    case: Case, *rows: int, updates: int = UPDATES, **options: Any
) -> tuple[Run, Mapping[str, Tensor]]:
    """Rows after some updates, and the last metrics."""
    run = Run(case, rows or (0, 1, 2), **options)
    metrics = [run.update() for _ in range(updates)]
    return run, metrics[-1]


class TestIndependence:
    @pytest.mark.parametrize("diverged", [False, True], ids=["other", "diverged"])
    def test_beside_any_neighbour_a_row_is_the_same_to_the_bit(self, case: Case, diverged: bool) -> None:
        run, metrics = updated(case)
        changed, changed_metrics = updated(case, neighbour=1, diverged=diverged)
        state, other = run.state(), changed.state()
        mine, changed_mine = run.row(0, state), run.row(0, other)
        assert not all(torch.equal(tensor, changed_mine[name]) for name, tensor in mine.items())
        for row in (1, 2):
            assert_same_bits(run.row(row, other), run.row(row, state))
            assert_same_bits(run.row(row, changed_metrics), run.row(row, metrics))
            finite = run.row(row, other)
            assert all(tensor.isfinite().all() for tensor in finite.values())

    def test_alone_a_row_is_the_same_to_rounding(self, case: Case) -> None:
        together, _ = updated(case)
        for row in range(3):
            alone, _ = updated(case, row)
            state = alone.state()
            for name, tensor in together.row(row, together.state()).items():
                # float32 rounds at 6e-8; Adam's first steps are as large as its rate, whatever the gradient.
                torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5, msg=name)

    def test_at_its_own_sizes_a_row_alone_is_the_same_to_the_bit(self, case: Case) -> None:
        few = {"updates_per_step": 2}  # how many updates a step has is no size
        numbers = {**vars(case.method.Config()), **few, **case.settings}
        own = Case(case.name, case.phase, case.source, numbers)
        together, _ = updated(own, 0, 1, updates=2, sizes=(17, 6))
        alone, _ = updated(own, 1, updates=2, sizes=(17, 6))
        assert_same_bits(alone.row(0, alone.state()), together.row(1, together.state()))


class TestResume:
    def test_the_same_seeds_give_the_same_bits(self, case: Case) -> None:
        (one, first), (other, second) = updated(case), updated(case)
        assert_same_bits(one.state(), other.state())
        assert_same_bits(first, second)

    def test_a_saved_state_is_all_that_further_updates_depend_on(self, case: Case, tmp_path: Path) -> None:
        run, _ = updated(case)
        saved = through_a_file(run.state(), tmp_path)
        again = Run(case)
        again.learner.agents.restore_training_state(section(saved, "agents."))
        again.draws.restore(saved["draws"])
        again.step = run.step
        if run.online:
            again.learner.replay.restore(section(saved, "replay."))
        assert_same_bits(again.state(), saved)
        for _ in range(UPDATES):
            assert_same_bits(again.update(), run.update())
        assert_same_bits(again.state(), run.state())
        states = run.observations()
        with torch.no_grad():
            assert torch.equal(again.learner.explore(states), run.learner.explore(states))

    def test_a_job_stopped_twice_ends_with_the_same_bytes(
        self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = train(case, tmp_path / "whole")
        for updates in (12, 9):  # the second after the checkpoint that the first went on from
            with monkeypatch.context() as patch:
                patch.setattr(TrainingLog, "add", stopping_after(updates, TrainingLog.add))
                with pytest.raises(KeyboardInterrupt):
                    train(case, tmp_path / "stopped")
        curve, checkpoint = train(case, tmp_path / "stopped")
        assert curve.equals(whole[0]) and checkpoint == whole[1]


class TestCurve:
    def test_every_row_is_whole_and_its_metrics_have_names(self, case: Case, tmp_path: Path) -> None:
        curve, _ = train(case, tmp_path)
        assert set(curve.metric) <= {*METRICS, *case.method.measures} and np.isfinite(curve.value).all()
        wide = curve.pivot(index=["seed", "step"], columns="metric", values="value")
        steps = (0, 10, 20, 23) if case.phase == "offline" else (0, 20, 25)
        assert wide.index.tolist() == [(seed, step) for seed in SEEDS for step in steps]
        assert wide[wide.index.get_level_values("step") > 0].notna().all(axis=None)
        expected = {"return", "normalised_score", "episode_length"} | (
            {"q_mean"} if has_critics(case) else set()
        )
        assert expected < set(wide.columns)

    def test_each_metric_is_one_number_a_row_without_gradient(self, case: Case) -> None:
        for value in updated(case)[1].values():
            assert value.shape == (3,) and value.grad_fn is None and not value.requires_grad

    def test_measured_beside_learning_it_is_the_same(self, case: Case, tmp_path: Path) -> None:
        at_once, _ = train(case, tmp_path / "at once")
        assert train(case, tmp_path / "beside", Compute(evaluation_beside=True))[0].equals(at_once)

    def test_a_q_beyond_the_bound_stops_the_run(self, case: Case, tmp_path: Path) -> None:
        if not has_critics(case):
            pytest.skip("it has no Q")
        with pytest.raises(UserError, match=r"q_mean of seed 3 .* at update 1, expected at most 1e-09"):
            train(case, tmp_path, largest_q=1e-9)

    def test_an_enormous_learning_rate_stops_the_run_or_has_no_effect(
        self, case: Case, tmp_path: Path
    ) -> None:
        curve, _ = train(case, tmp_path / "plain")
        rates = [field.name for field in fields(case.method.Config) if field.name.endswith("learning_rate")]
        stopped = 0
        for name in rates:
            try:
                spoilt, _ = train(case, tmp_path / name, config=case.config(**{name: 1e37}))
            except UserError as refusal:
                assert re.search(r"of seed \d became .* at update", str(refusal))
                stopped += 1
            else:
                assert spoilt.equals(curve)  # nothing learns at this rate
        assert stopped


class TestActing:
    def test_actions_have_their_shape(self, case: Case) -> None:
        run = Run(case)
        with torch.no_grad():
            for act in (run.learner.explore, run.learner.exploit):
                actions = act(run.observations())
                assert actions.shape == (3, 4, 2) and actions.dtype == torch.float32

    def test_an_evaluation_depends_on_the_networks_alone_and_moves_nothing(self, case: Case) -> None:
        run, _ = updated(case)
        before = {name: tensor.clone() for name, tensor in run.state().items()}
        run.learner.exploit(run.observations())
        assert_same_bits(run.state(), before)


class TestStart:
    def test_it_goes_on_with_the_agents_it_is_given(self, case: Case) -> None:
        run, members = Run(case), case.members((0, 1, 2))
        if case.phase == "offline" and case.source != NOTHING:
            pytest.skip("what a method takes over offline from another is its own")
        if case.phase == "offline":
            before, _ = updated(case)
            members = [one_agent(before.learner.agents, index) for index in range(3)]
            run.learner.agents.start_from(members)
        agents = run.learner.agents
        # The entropy coefficient goes on only where the settings say so.
        left = set() if agents.handed_on_whole else {COEFFICIENT}
        for index, member in enumerate(members):
            networks = {name: tensor for name, tensor in member.items() if name not in left}
            taken_over = one_agent(agents, index)
            assert_same_bits({name: taken_over[name] for name in networks}, networks)
        if agents.handed_on_whole:
            return
        assert not agents.optimiser.state
        for target, network in agents.targets.items():
            assert_same_bits(
                agents.get_submodule(target).state_dict(), agents.get_submodule(network).state_dict()
            )

    def test_agents_of_another_number_are_refused(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        too_few = case.members((0, 1))
        monkeypatch.setattr(Case, "members", lambda *_: too_few or [{}])
        with pytest.raises(UserError, match="pre-trained agents were given"):
            Run(case)

    def test_agents_of_another_size_are_refused(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        if case.source == NOTHING:
            pytest.skip("it takes over no agents")
        others = case.members((0, 1, 2), (4, 2))
        monkeypatch.setattr(Case, "members", lambda *_: others)
        with pytest.raises(UserError, match="its network is of another size"):
            Run(case)


class TestCapture:
    @pytest.mark.usefixtures("_draws_without_numbers")
    def test_an_update_stays_on_its_device_and_waits_for_no_number(self, case: Case) -> None:
        run = Run(case, device=meta_device.DEVICE)
        states = run.observations()
        with meta_device.EveryTensorOn(meta_device.DEVICE) as watched:
            run.update()
            with torch.no_grad():
                run.learner.explore(states)
                run.learner.exploit(states)
        assert watched.operations.total() > 50 and watched.operations["_fused_adam_"]

    def test_an_update_repeats_itself_after_its_period_but_for_its_turning_points(self, case: Case) -> None:
        # A captured block is of whole periods, and ends where an update becomes another one.
        run, _ = updated(case)  # the optimiser's moments are made
        run.step, period = 0, run.learner.period()
        turns = () if run.online else run.learner.turning_points()
        made = [operations_of(run.update) for _ in range(UPDATES + 2 * period)]
        for step, (before, after) in enumerate(zip(made, made[period:], strict=False)):
            assert before == after or any(step < turn <= step + period for turn in turns)

    def test_in_blocks_it_ends_with_the_same_bytes(
        self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one_by_one = train(case, tmp_path / "one by one")

        def updates(update: Any, streams: Any, per_graph: int) -> cuda_graphs.Updates:
            return cuda_graphs.Updates(update, streams, 3)

        monkeypatch.setattr(cuda_graphs, "Block", HostBlock)
        monkeypatch.setattr("algorithms.training.loop.Updates", updates)
        in_blocks = train(case, tmp_path / "in blocks")
        assert in_blocks[0].equals(one_by_one[0]) and in_blocks[1] == one_by_one[1]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
    def test_captured_on_a_gpu_it_ends_with_the_same_bytes(self, case: Case, tmp_path: Path) -> None:
        prepare_process(Compute("cuda"))
        eager = train(case, tmp_path / "eager", Compute("cuda"))
        captured = train(case, tmp_path / "captured", Compute("cuda", updates_per_graph=3))
        assert captured[0].equals(eager[0]) and captured[1] == eager[1]

    def test_nothing_of_an_updates_autograd_graph_survives_it(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A node that survived would tie the next update, captured, to the stream of this one.
        run = Run(case)
        agents = run.learner.agents
        parameters = [p for group in agents.optimiser.param_groups for p in group["params"]]

        def notes() -> list[dict[str, Any]]:
            """What is noted at the node that gathers each parameter's gradient; a new node has no notes."""
            views: list[Any] = [parameter.view_as(parameter) for parameter in parameters]
            return [view.grad_fn.next_functions[0][0].metadata for view in views]

        step = agents.step

        def noting(*losses: Tensor) -> None:
            for note in notes():
                note["update"] = 1
            assert any(notes())  # while the losses' graph lives, so do its nodes
            step(*losses)

        monkeypatch.setattr(agents, "step", noting)
        run.update()
        assert not any(notes())

    def test_an_update_leaves_every_tensor_where_it_was(self, case: Case) -> None:
        # What a captured CUDA graph reads and writes is named by its address.
        run, _ = updated(case, updates=3)  # what begins later than the first update has begun

        def addresses() -> dict[str, int]:
            agents = run.learner.agents
            moments = [agents.optimiser.state[parameter] for parameter in agents.parameters()]
            parts: dict[str, Any] = {"agents": dict(agents.named_parameters()), "moments": moments}
            if run.online:
                parts["replay"] = run.learner.replay
            return {path: tensor.data_ptr() for path, tensor in tensors_in(parts, "learner", set())}

        before = addresses()
        run.update()
        assert addresses() == before
        assert len(before) > 20


class Operations(TorchDispatchMode):
    """Notes what is called, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def operations_of(work: Callable[[], object]) -> list[str]:
    """All that `work` calls."""
    with Operations() as operations:
        work()
    return operations.names


def has_critics(case: Case) -> bool:
    """Whether the method's agents judge actions, and `q_mean` is to be among its metrics."""
    return hasattr(Run(case).learner.agents, "q")


def tensors_in(thing: Any, name: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that is reached from `thing` by attributes and items."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        yield name, thing
    elif isinstance(thing, Mapping):
        for key, value in thing.items():
            yield from tensors_in(value, f"{name}.{key}", seen)
    elif isinstance(thing, list | tuple):
        for index, value in enumerate(thing):
            yield from tensors_in(value, f"{name}.{index}", seen)
    elif type(thing).__module__.startswith("algorithms."):
        yield from tensors_in(vars(thing), name, seen)
