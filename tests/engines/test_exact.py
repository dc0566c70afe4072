"""A run has the same bits in its stack as alone, whatever the kernels do: what differs is found, named and mended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import broken
from layers import Network, Part
from neighbors import Case
from shoal.engines.stack.clipping import GradientLimits
from shoal.engines.stack.epoch import Training
from shoal.engines.stack.stack import Stack
from shoal.engines.stack.steady import steady
from shoal.engines.stack.update import Update
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from shoal.step.clock import Clock
from shoal.step.compiled import kernel, operations
from shoal.step.exact import remembered
from shoal.step.exact.guard import Guard, InexactError
from shoal.step.exact.resized import resized
from shoal.step.exact.rows import repeated, same_bits, same_numbers
from shoal.step.lowering import lowered
from shoal.step.mapped import Mapped
from shoal.step.stepped import Outcome, Stepped
from stacks import OPTIMIZERS, columns, mlp, samples, squared_error, stacked

aten = torch.ops.aten

RESIZED = ["linear", "layer norm", "softmax", "dropout", "outer"]
"""Kinds of layers whose traces for two sizes of the stack differ in shapes alone."""
NAME = "0123456789abcdef" * 4
"""A digest of no program."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with steady():
        yield


def stack_of(seeds: list[int], build: Callable[[int], nn.Module] = mlp, optimizer: str = "adam") -> Stack:
    optimizers = [OPTIMIZERS[optimizer](seed) for seed in seeds]
    rule = optimizers[0].stacked()
    return Stack.of([build(seed) for seed in seeds], rule, rule.columns(optimizers))


def stepped(mapped: Mapped, seeds: list[int], build: Callable[[int], nn.Module] = mlp) -> Stepped:
    """A step of a stack, with a run alone as a stack of two of it."""
    mapped.guard.on = len(seeds) > 1
    stack = stack_of(seeds, build)
    [batch] = stacked([samples(seed, 1) for seed in [*seeds, *seeds[-1:] * (len(stack) - len(seeds))]])
    return mapped(stack.views(), stack.buffers, batch, Clock())


def everything(result: Stepped, row: int) -> list[Tensor]:
    return [each[row] for each in (result.losses, *result.buffers.values(), *result.grads)]


def alike(mapped: Mapped, seeds: list[int], build: Callable[[int], nn.Module] = mlp) -> bool:
    """Whether each run of the stack has the bits that it has alone."""
    result = stepped(mapped, seeds, build)
    alone = [stepped(mapped, [seed], build) for seed in seeds]
    pairs = [(everything(result, row), everything(own, 0)) for row, own in enumerate(alone)]
    return all(same_bits(*both) for mine, theirs in pairs for both in zip(mine, theirs, strict=True))


def case_of(kind: str) -> Case:
    """Runs of a network with a layer of this kind."""
    network = Network(parts=(Part(kind, 5, 2, "tanh"),))
    return Case(network, 3, 2, batch_size=4, n_samples=8, optimizer="adam", loss="mse", precision="32-true", clip=None)


def mapped(*, traced: bool = True, exact: bool = True, build: Callable[[int], nn.Module] = mlp) -> Mapped:
    return Mapped(squared_error(build(0)), traced=traced, guard=Guard(exact=exact))


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "mapped"])
@pytest.mark.parametrize("n", [3, 8, 33])
def test_a_kernel_that_depends_on_the_size_of_the_stack_is_given_two_runs(n: int, traced: bool) -> None:
    step = mapped(traced=traced)

    with broken.broken("bmm", broken.by_size):
        assert alike(step, list(range(n)))

    [note] = step.guard.notes(n)
    assert note.startswith(
        f"in a stack of {n} bmm gives a run other bits than alone in the training step: "
        f"it is computed for two runs at a time ({n}x24x"
    )


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "mapped"])
@pytest.mark.parametrize("n", [2, 3, 9])
def test_a_kernel_that_depends_on_the_place_is_given_each_run_by_itself(n: int, traced: bool) -> None:
    step = mapped(traced=traced)

    with broken.broken("bmm", broken.by_place):
        assert alike(step, list(range(n)))

    [note] = step.guard.notes(n)
    assert "it is computed for each run by itself" in note


def chances(flags: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy(torch.full_like(flags, 0.3), flags, reduction="none")


def root(given: Tensor) -> Tensor:
    return torch.linalg.cholesky(given - 1e3 * (given - given.round()).abs())


@pytest.mark.parametrize("function", [chances, root])
def test_numbers_that_an_operation_refuses_are_not_tried(function: Callable[[Tensor], Tensor]) -> None:
    given, guard = torch.eye(3).repeat(5, 1, 1), Guard(on=True)

    guard.function("it", function, given)

    assert guard.notes(5) == []


def test_what_keeps_its_bits_is_left_as_it_is() -> None:
    step = mapped()

    assert alike(step, list(range(5)))

    assert step.guard.notes(5) == []


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "mapped"])
def test_a_kernel_whose_bits_come_and_go_is_refused_by_its_name(traced: bool) -> None:
    step = mapped(traced=traced)

    with (
        broken.broken("bmm", broken.by_time),
        pytest.raises(
            InexactError,
            match="in a stack of 3 the training step gives a run other bits than alone: bmm gives other bits each time",
        ),
    ):
        stepped(step, [0, 1, 2])


def in_place(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))


def test_an_operation_that_overwrites_its_input_is_refused_by_name() -> None:
    step = mapped(traced=False, build=in_place)

    with (
        broken.broken("relu_", broken.relu_by_size),
        pytest.raises(InexactError, match="relu_ does, and writes over what it is given"),
    ):
        stepped(step, [0, 1, 2], in_place)


def test_runs_that_are_to_train_together_all_the_same_do_so_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    step = mapped(exact=False)

    with broken.broken("bmm", broken.by_time), caplog.at_level(logging.INFO, logger="shoal"):
        stepped(step, [0, 1, 2])

    [note] = step.guard.notes(3)
    assert note.endswith("bmm gives other bits each time; the bits of its runs hold for this stack only")
    assert note in caplog.text


def test_a_step_that_computes_otherwise_later_is_compared_again() -> None:
    plain = squared_error(mlp(0))

    def later(params: Any, buffers: Any, batch: Any, clock: Clock) -> Outcome:
        loss, *rest = plain(params, buffers, batch, clock)
        weights = next(iter(params.values())).flatten()
        return Outcome(loss * torch.linalg.vector_norm(weights) if clock.epoch else loss, *rest)

    step = Mapped(later, guard=Guard(on=True))
    stack, [batch] = stack_of([0, 1, 2]), stacked([samples(seed, 1) for seed in range(3)])
    small, own = stack.select([2, 2]), tuple(each[[2, 2]] for each in batch)
    with broken.broken("linalg_vector_norm", broken.norm_by_size):
        step(stack.views(), stack.buffers, batch, Clock())
        before = step.guard.notes(3)

        mine = step(stack.views(), stack.buffers, batch, Clock(1))
        theirs = step(small.views(), small.buffers, own, Clock(1))

    assert before == []
    assert ["linalg_vector_norm gives a run other" in note for note in step.guard.notes(3)] == [True]
    assert all(map(same_bits, everything(mine, 2), everything(theirs, 0)))


def updated(seeds: list[int], guard: Guard, limit: float | None = None, optimizer: str = "adam") -> Stack:
    """A stack after a step."""
    guard.on = len(seeds) > 1
    stack = stack_of(seeds, optimizer=optimizer)
    stack.limits = GradientLimits.of([limit] * len(stack), [None] * len(stack))
    [batch] = stacked([samples(seed, 1) for seed in [*seeds, *seeds[-1:] * (len(stack) - len(seeds))]])
    training = Training(stack, mapped(), Update(guard=guard))
    training.epoch([batch], [columns([1e-3] * len(stack))], Clock(), n_batches=1)
    return stack


def test_the_optimizers_update_is_compared_too() -> None:
    guard = Guard()

    with (
        broken.broken("sqrt", broken.root_by_size),
        broken.broken("sqrt_", lambda x: x.copy_(broken.root_by_size(x))),
    ):
        stack, alone = updated([3, 4, 5], guard), updated([4], guard)

    assert same_bits(stack.params[1], alone.params[0])
    assert ["sqrt gives a run other bits" in note and "optimizer's update" in note for note in guard.notes(3)] == [True]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_runs_with_and_without_a_setting_share_a_stack(optimizer: str) -> None:
    guard = Guard()

    stack, alone = updated([0, 1, 2, 3], guard, optimizer=optimizer), updated([2], guard, optimizer=optimizer)

    assert same_bits(stack.params[2], alone.params[0])
    assert guard.notes(4) == []


def test_the_norm_of_the_gradient_is_compared_too() -> None:
    guard = Guard()

    with broken.broken("linalg_vector_norm", broken.norm_by_size):
        stack, alone = updated([3, 4, 5], guard, limit=0.01), updated([4], guard, limit=0.01)

    assert same_bits(stack.params[1], alone.params[0])
    assert ["linalg_vector_norm gives a run other" in note for note in guard.notes(3)] == [True]


def convolutional(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(1, 64),
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 2, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(2, 3, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48, 1),
        )


def test_what_lies_otherwise_in_a_stack_is_taken_as_it_lies() -> None:
    assert alike(mapped(build=convolutional), [0, 1, 2], convolutional)


def test_runs_that_stand_still_keep_their_numbers_and_spare_the_others() -> None:
    stack, frozen, guard = stack_of([3, 4, 5]), stack_of([3, 4, 5]), Guard(on=True)
    frozen.active[1] = False
    [batch] = stacked([samples(seed, 1) for seed in (3, 4, 5)])

    for each in (stack, frozen):
        Training(each, mapped(), Update(guard=guard)).epoch([batch], [columns([1e-3] * 3)], Clock(), n_batches=1)

    assert same_bits(frozen.params[1], stack_of([4]).params[0])
    assert same_bits(frozen.params[[0, 2]], stack.params[[0, 2]])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compared from here on."""
    found: list[str] = []
    real = Guard._compare

    def compare(self: Guard, subject: Any, inputs: Any, quickly: Any) -> bool:
        found.append(subject.what)
        return real(self, subject, inputs, quickly)

    monkeypatch.setattr(Guard, "_compare", compare)
    return found


def test_what_was_found_exact_is_not_compared_again_by_the_next_process(counted: list[str]) -> None:
    for _ in range(2):
        stepped(mapped(), [0, 1, 2])

    assert counted == ["training step"]


def test_a_process_that_asks_meanwhile_is_told_what_another_finds() -> None:
    told: list[bool] = []

    def ask() -> None:
        with remembered.looked_up(NAME) as known:
            told.append(known)

    asking = threading.Thread(target=ask)
    with remembered.looked_up(NAME) as known:
        asking.start()
        asking.join(0.1)
        before = list(told)
        remembered.keep(NAME)
    asking.join()

    assert not known
    assert before == []
    assert told == [True]


@pytest.mark.parametrize("kind", ["linear", *(pytest.param(each, marks=pytest.mark.long) for each in RESIZED[1:])])
def test_a_program_made_for_another_size_is_the_trace_of_that_size(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, str]] = []

    def settle(self: Guard, subject: Any, inputs: Any, *given: Any, **named: Any) -> None:
        if named:  # it is a step
            alone = [repeated(value, 0) for value in inputs]
            made = lowered(resized(subject.program.graph(inputs), len(inputs[0]), alone))
            found.append((made.code, subject._small(alone).text))

    monkeypatch.setattr(Guard, "settle", settle)

    rehearse(Running([Member.of(case_of(kind).job(seed)) for seed in range(7)]))

    assert len(found) == 2
    assert all(made == traced for made, traced in found)


def test_a_stack_of_another_size_is_compared(counted: list[str]) -> None:
    for n in (3, 4):
        stepped(mapped(), list(range(n)))

    assert len(counted) == 2


def test_other_settings_of_the_libraries_are_compared(counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stepped(mapped(), [0, 1, 2])
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    stepped(mapped(), [0, 1, 2])
    monkeypatch.setattr(remembered, "in_use", lambda: {"mkl": "another"})
    stepped(mapped(), [0, 1, 2])

    assert len(counted) == 3


def test_what_was_mended_once_is_not_taken_for_exact(counted: list[str]) -> None:
    for _ in range(2):
        step = mapped()
        with broken.broken("bmm", broken.by_size):
            assert alike(step, [0, 1, 2])

    assert len(counted) == 2
    assert len(step.guard.notes(3)) == 1


@pytest.mark.parametrize("damage", [b"", b"0", bytes(64)])
def test_a_damaged_file_costs_no_more_than_another_comparison(
    damage: bytes, counted: list[str], tmp_path: Path
) -> None:
    stepped(mapped(), [0, 1, 2])
    [kept] = (tmp_path / "shoal" / "exact").iterdir()
    kept.write_bytes(damage)

    for _ in range(2):
        stepped(mapped(), [0, 1, 2])

    assert len(counted) == 2


def test_where_nothing_can_be_kept_every_process_compares(
    counted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    for _ in range(2):
        stepped(mapped(), [0, 1, 2])

    assert len(counted) == 2


def test_kernels_that_make_other_bits_as_a_whole_are_left_to_torch(
    compiled_at_once: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel.Kernel, "agrees", lambda *_: True)
    monkeypatch.setitem(operations._EXPRESSIONS, aten.threshold_backward.default, "{a}")
    step = mapped()

    with caplog.at_level(logging.INFO, logger="shoal"):
        assert alike(step, [0, 1, 2])

    assert "The training step is not compiled: other bits would come of it as a whole" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([torch.inf, 1.0], [torch.finfo(torch.float32).max, 1.0], False),
        ([-torch.inf], [torch.inf], False),
        ([torch.nan, torch.inf], [torch.nan, torch.inf], True),
        ([torch.nan], [0.0], False),
        ([0.0], [-0.0], True),
    ],
)
def test_equal_numbers_are_told_where_some_are_not_finite(one: list[float], other: list[float], same: bool) -> None:
    assert same_numbers(torch.tensor(one), torch.tensor(other)) is same
