"""What a sweep says while it trains, and how long it thinks it will take."""

from __future__ import annotations

import contextlib
import io
import os
import pty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from shoal.cli import train as main
from shoal.engines.job import Job
from shoal.engines.stack.halving import Halving
from shoal.optimizers import Adam, LevenbergMarquardt
from shoal.rundir import Best, RunInfo, Status
from shoal.sweeps.block import Advanced, Assignment, Block, Report, RunEnded, Unstacked
from shoal.sweeps.costs import END_SECONDS, START_SECONDS, STORED_SECONDS
from shoal.sweeps.estimate import Estimate, estimated
from shoal.sweeps.execution import Execution
from shoal.sweeps.executor import InProcess
from shoal.sweeps.ledger import Ledger
from shoal.sweeps.pace import Pace
from shoal.sweeps.serving import Finished
from shoal.sweeps.sweep_progress import SweepProgress
from shoal.sweeps.tried_blocks import BlockTime, TriedRuns
from shoal.sweeps.tried_blocks import _measured as measured

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=2"]


def info(number: int, status: Status = Status.COMPLETED) -> RunInfo:
    best = Best("val/loss", "min", 0.5 + number, 1, 10)
    differs = {"model.hidden": [8], "seed": number}
    return RunInfo(
        id=str(number), task="parabola", status=status, engine="lightning", seed=0, best=best, differs=differs
    )


def block(numbers: Sequence[int], *, epochs: int = 100, stacked: bool = True) -> Block:
    config = {"trainer": {"max_epochs": epochs}}
    assignments = tuple(Assignment(number, Path(f"{number:04d}"), config, info(number)) for number in numbers)
    return Block(assignments, stacked=stacked)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_no_time_is_said_before_it_means_something(clock: Clock) -> None:
    pace, one = Pace(clock), block(range(256))
    pace.expect([one])

    clock.now = 40  # composing, importing, and a run that diverged at once
    pace.run_ended(0)
    first = pace.seconds_left()
    clock.now = 41
    pace.advanced(one, 0.2)

    assert first is None
    assert pace.seconds_left() is None


def test_the_time_left_follows_the_epochs_of_all_blocks(clock: Clock) -> None:
    pace, blocks = Pace(clock), [block(range(128)), block(range(128, 256))]
    pace.expect(blocks)
    for second in range(1, 6):
        clock.now = second
        for each in blocks:
            pace.advanced(each, second / 10)

    assert pace.seconds_left() == pytest.approx(5, rel=0.25)


def test_runs_that_ended_are_not_counted_again_with_their_block(clock: Clock) -> None:
    pace, blocks = Pace(clock), [block(range(128)), block(range(128, 256))]
    pace.expect(blocks)
    pace.advanced(blocks[0], 0.0)
    clock.now = 10
    for each in blocks:
        pace.advanced(each, 1.0)
    for number in range(129):
        pace.run_ended(number)

    left = pace.seconds_left()

    assert left is not None
    assert 0.3 < left < 3


def test_a_long_block_takes_its_time_when_the_others_are_done(clock: Clock) -> None:
    pace, short, long = Pace(clock), block(range(2), epochs=10), block(range(2, 4), epochs=100)
    pace.expect([short, long])
    pace.advanced(short, 0.0)
    pace.advanced(long, 0.0)
    clock.now = 10
    pace.advanced(short, 1.0)
    pace.advanced(long, 0.1)

    left = pace.seconds_left()

    assert left is not None
    assert left > 80


def test_a_run_that_must_train_again_counts_as_not_begun(clock: Clock) -> None:
    pace, stack = Pace(clock), block(range(4))
    pace.expect([stack])
    pace.advanced(stack, 0.0)
    clock.now = 10
    pace.advanced(stack, 0.5)
    before = pace.seconds_left()

    pace.expect([block([number], stacked=False) for number in range(4)])

    assert before is not None
    assert (pace.seconds_left() or before + 1) > before


def test_nothing_is_left_to_say_when_all_is_done(clock: Clock) -> None:
    pace, stack = Pace(clock), block(range(2))
    pace.expect([stack])
    pace.advanced(stack, 0.5)
    clock.now = 10
    for number in range(2):
        pace.run_ended(number)

    assert pace.seconds_left() is None


def test_a_reason_that_keeps_a_whole_block_apart_is_told_once_for_its_group() -> None:
    stacks = [replace(block(numbers), group="a") for numbers in ([0, 1], [2, 3], [4, 5])]
    told: list[str] = []
    alone: list[Block] = []

    def run(take: Callable[[], Block | None], *_: Any) -> Iterator[Any]:
        first, second = take(), take()
        for each in (first, second):
            assert each is not None
            yield each, Unstacked(dict.fromkeys(each.numbers, "it cannot"))
        while (each := take()) is not None:
            alone.append(each)

    executor, progress = Mock(spec=InProcess, run=run), Mock(spec=SweepProgress, tell=told.append)
    execution = Execution(executor, Mock(spec=Ledger, jobs={}), progress, begin=lambda _: None)

    execution.run(stacks)

    assert told == ["alone  jobs 0-5: it cannot"]
    assert sorted(number for each in alone for number in each.numbers) == list(range(6))
    assert not any(each.stacked for each in alone)


def test_what_can_wait_is_done_once_while_a_block_trains() -> None:
    done: list[str] = []

    def run(take: Callable[[], Block | None], watch: Callable[[Block, Advanced], None], *_: Any) -> Iterator[Any]:
        each = take()
        assert each is not None
        done.append("begun")
        watch(each, Advanced(0.1))
        watch(each, Advanced(0.9))
        done.append("over")
        yield each, Finished()

    executor, progress = Mock(spec=InProcess, run=run), Mock(spec=SweepProgress)
    execution = Execution(
        executor, Mock(spec=Ledger, jobs={}), progress, begin=lambda _: None, meanwhile=lambda: done.append("meanwhile")
    )

    execution.run([block([0])])

    assert done == ["begun", "meanwhile", "over"]


def test_an_estimate_tells_of_what_breaks_instead_of_breaking() -> None:
    alone = [block([number], stacked=False) for number in range(2)]

    found = estimated(alone, 2)

    assert (found.seconds, found.unknown) == (0.0, 2)
    assert found.in_words(2).startswith("how long it takes could not be measured: ")


def test_of_blocks_of_a_group_that_differ_by_a_run_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measured(block: Block) -> list[TriedRuns]:
        tried.append(len(block.assignments))
        return [TriedRuns((0, 1, 2), BlockTime(begins=0.0, epoch=1.5, runs=3))]

    monkeypatch.setattr("shoal.sweeps.estimate.try_block", measured)
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 4}))
    alike = [replace(block(numbers), group="a") for numbers in (range(3), range(3, 5))]

    found = estimated(alike, 1)

    assert tried == [3]
    assert found.seconds == pytest.approx(6.0 + 4.0 + 5 * STORED_SECONDS + START_SECONDS + END_SECONDS)


def test_where_what_is_tried_breaks_the_next_of_its_kind_is(monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[BlockTime | str] = ["it breaks", BlockTime(begins=1.0, epoch=0.0)]
    monkeypatch.setattr("shoal.sweeps.estimate.try_block", lambda block: [TriedRuns((0,), times.pop(0))])
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 4}))

    found = estimated([block([number], stacked=False) for number in range(3)], 1)

    assert (found.unknown, found.problems, times) == (1, ["it breaks"], [])
    assert found.seconds == pytest.approx(2 * (1 + STORED_SECONDS) + START_SECONDS + END_SECONDS)


def test_an_estimate_counts_what_the_command_took_until_it_could_train(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [TriedRuns((0,), BlockTime(begins=1.0, epoch=0.0))]
    monkeypatch.setattr("shoal.sweeps.estimate.try_block", lambda block: parts)
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 4}))

    usual, slow = (estimated([block([0], stacked=False)], 1, *begins) for begins in ([], [9.0]))

    assert slow.seconds - usual.seconds == pytest.approx(9.0 - START_SECONDS)


def test_of_runs_alone_that_differ_in_seeds_and_rates_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def measured(block: Block) -> list[TriedRuns]:
        tried.append(block.numbers[0])
        return [TriedRuns((0,), BlockTime(begins=0.0, epoch=1.5))]

    monkeypatch.setattr("shoal.sweeps.estimate.try_block", measured)
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 4}))
    configs = [
        {"seed": seed, "task": {"seed": seed, "module": {"lr": lr, "width": width}}}
        for seed, lr, width in ((0, 0.1, 8), (1, 0.1, 8), (0, 0.2, 8), (0, 0.1, 16))
    ]
    alone = [Block((replace(block([number]).assignments[0], config=config),)) for number, config in enumerate(configs)]

    estimated(alone, 1)

    assert tried == [0, 3]


def test_an_estimate_counts_the_seconds_alone_of_runs_that_leave_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [TriedRuns((1,), BlockTime(1.0, 2.0), "it prints"), TriedRuns((0, 2, 3), BlockTime(3.0, 0.5, runs=3))]
    monkeypatch.setattr("shoal.sweeps.estimate.try_block", lambda block: parts)
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 4}))
    alike = [replace(block(numbers), group="a") for numbers in (range(4), range(4, 8))]

    one, both = (estimated(alike, n) for n in (1, 2))

    each = 1 + 4 * 2 + 3 + 4 * 0.5 + 4 * STORED_SECONDS
    assert one.seconds == pytest.approx(2 * each + START_SECONDS + END_SECONDS)
    assert both.seconds == pytest.approx(each + START_SECONDS + END_SECONDS)
    assert one.apart == {"it prints": [1]}


def test_an_estimate_counts_fewer_epochs_where_the_worse_runs_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.sweeps.tried_blocks.build", lambda config: Mock(spec=Job, trainer={"max_epochs": 10}))
    whole = block(range(8))
    halved = replace(whole, halving=Halving(factor=2, min_epochs=2))
    time = BlockTime(begins=1.0, epoch=0.5, runs=8)

    # Two epochs of all, two of half of them, four of a quarter, two of an eighth.
    assert time.of(8, whole) - time.of(8, halved) == pytest.approx(0.5 * (10 - 4.25))


def test_a_fit_that_has_ended_by_a_tolerance_is_estimated_as_measured() -> None:
    job = Mock(spec=Job, optimizer=LevenbergMarquardt())

    assert measured(Mock(ends=[5.0, 5.1, 7.0], over=True), 1.0, job) == BlockTime(begins=6.0, epoch=0.0)


def test_an_estimate_says_that_runs_may_stop_early() -> None:
    found = Estimate(60.0, 1, {}, ["ValueError: no"], early=True)

    assert (
        found.in_words(2) == "about 1:00 with 2 processes, less where runs stop early, without 1 runs: ValueError: no"
    )


def test_what_happens_within_one_epoch_is_estimated_once() -> None:
    job = Mock(
        spec=Job, optimizer=Adam(), trainer={"limit_train_batches": 0.5}, why_without_sources="they are streamed"
    )

    times = Mock(ends=[5.0, 5.1, 7.0, 7.1])  # before the first, and within the third

    found = measured(times, 0.0, job)

    assert (found.begins, found.epoch) == (pytest.approx(6.7), pytest.approx(0.1))


def test_the_line_says_what_may_be_long_last() -> None:
    progress = SweepProgress(3)
    progress.expect([block(range(3))])

    progress.run_ended(0, info(0))
    progress.run_ended(1, info(1, Status.DIVERGED))

    assert progress.line() == "runs 2/3  1 diverged  best val/loss 0.5 (model.hidden=[8] seed=0)"


def read(terminal: int) -> str:
    """What is left to read of a terminal that nobody writes to any more; nothing at its end."""
    try:
        return os.read(terminal, 10_000).decode()
    except OSError:
        return ""


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_the_line_is_one_line_on_a_terminal_of_any_width(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stderr(terminal), SweepProgress(2) as progress:
        stack = block(range(2))
        progress.expect([stack])
        progress.run_ended(0, info(0))
        progress._shown = 0.0
        progress.advanced(stack, Advanced(0.5))
    said = "".join(iter(lambda: read(ours), ""))
    os.close(ours)

    lines = [line for line in said.splitlines() if "runs 1/2" in line]
    whole = "runs 1/2  best val/loss 0.5 (model.hidden=[8] seed=0)"
    assert lines
    assert all((whole if len(whole) <= columns else whole[: columns - 1] + "…") in line for line in lines)


def test_what_fails_in_a_stack_and_alone_is_told_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no more epochs")

    monkeypatch.setattr("shoal.rundir.history.History.add", fail)  # in a stack and alone
    monkeypatch.chdir(tmp_path)
    complained, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(complained), contextlib.redirect_stdout(said):
        code = main(["-m", *SMALL, "seed=0,1", "sweep.processes=0", "hydra.sweep.dir=sweep"])

    assert code == 1
    assert complained.getvalue().count("failed  job 0") == 1
    assert complained.getvalue().count("failed  job 1") == 1
    assert "2 failed" in said.getvalue()


def test_how_far_a_block_of_this_process_is_is_told_while_it_trains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[Any] = []

    def train(one: Block, report: Report, known: object) -> None:
        for event in (Advanced(0.5), RunEnded(0, info(0))):
            report(event)
        happened.append("trained")

    monkeypatch.setattr("shoal.sweeps.block_training.train_block", train)
    blocks = [block([0])]
    executor = InProcess()

    happened += executor.run(
        lambda: blocks.pop() if blocks else None, lambda _, event: happened.append(event), lambda: len(blocks)
    )

    assert happened[:2] == [Advanced(0.5), "trained"]
    assert [type(each[1]) for each in happened[2:] if isinstance(each, tuple)] == [RunEnded, Finished]


def test_of_very_many_runs_that_are_lost_the_first_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lost = [replace(info(number), status=Status.DIVERGED, reason="no number") for number in range(64)]
    with SweepProgress(64) as progress:
        execution = Execution(Mock(spec=InProcess), Mock(spec=Ledger), progress, begin=lambda block: None)
        for number, each in enumerate(lost):
            execution._ended(number, each)

    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("diverged")] == lines[:10]
    assert lines[10:] == ["and more: they are counted as they come, and told with their reasons at the end"]
    assert progress.bad == {Status.DIVERGED: 64}


def test_what_the_records_of_runs_agree_in_is_kept_once() -> None:
    records = [replace(info(number), versions={"torch": "2.13.0"}, command=["train.py", "-m"]) for number in range(3)]
    with SweepProgress(3) as progress:
        execution = Execution(Mock(spec=InProcess), Mock(spec=Ledger), progress, begin=lambda block: None)
        for number, each in enumerate(records):
            execution._ended(number, each)

    kept = list(execution.results.values())
    assert kept == records
    assert len({id(each.versions) for each in kept}) == len({id(each.command) for each in kept}) == 1
    assert len({id(each.differs) for each in kept}) == 3


def test_equal_settings_of_another_type_are_told_apart() -> None:
    as_typed = [replace(info(0), differs={"optimizer.lr": value}) for value in (1, 1.0, True)]

    kept = [each.sharing(as_typed[0]).differs["optimizer.lr"] for each in as_typed]

    assert [type(value) for value in kept] == [int, float, bool]
