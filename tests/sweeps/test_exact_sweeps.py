"""A sweep whose kernels give runs other bits in a stack than alone: they keep their own, or it is said that not."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import broken
from commands import Ended, trained
from own_runs import SAMPLES, write_task
from shoal.app.multirun import sweep_command
from shoal.app.start import start
from shoal.record.stack_training import _Session
from shoal.rundir import RunDir, Status, read_info
from sweeps import runs, same, statuses, sweep

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is found of a broken kernel is nobody else's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def alone(*overrides: str) -> RunDir:
    """One run of the small sweep, by the vectorized engine."""
    settings = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=3"]
    run, _ = start([*settings, "engine=vectorized", "callbacks.progress=null", *overrides])
    return run


def test_a_kernel_that_depends_on_the_stack_gets_two_runs_and_records_say_so(
    workdir: Path,
) -> None:
    with broken.broken("bmm", broken.by_size):
        sweep("seed=range(5)", "sweep.processes=0")
        own = alone("seed=3")

    assert same(runs()[3], own)
    assert read_info(own.info).exactness == []
    for run in runs():
        notes = read_info(run.info).exactness
        assert {note.partition(":")[0] for note in notes} == {
            "in a stack of 5 bmm gives a run other bits than alone in the training step",
            "in a stack of 5 bmm gives a run other bits than alone in the validation step",
        }
        assert all("it is computed for two runs at a time" in note for note in notes)
        assert "in a stack of 5 bmm gives a run other bits than alone" in run.log.read_text()


def test_a_sweep_that_goes_on_after_a_stop_is_compared_again(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["seed=range(4)", "sweep.processes=0"]
    with broken.broken("bmm", broken.by_size):
        with monkeypatch.context() as patch:
            patch.setattr(_Session, "is_asked_to_stop", stopping)
            sweep(*words)
        stopped = statuses()
        sweep_command.resume(Path("sweep"))
        own = alone("seed=1")

    assert stopped == [Status.INTERRUPTED] * 4
    assert same(runs()[1], own)
    assert read_info(runs()[1].info).exactness


def stopping(session: _Session) -> bool:
    """Asks to stop after seven steps."""
    session.asked = getattr(session, "asked", 0) + 1  # type: ignore[attr-defined]
    if session.asked == 8:  # type: ignore[attr-defined]
        session.interruption.received = signal.SIGTERM
    return session.interruption.received is not None


def counted(*overrides: str) -> Ended:
    """A sweep over runs whose step is not traced, for it asks for its number, and writes over what it has computed."""
    write_task("counted", "Counted", SAMPLES, optimizer="adam")
    return trained(
        "-m", "task=counted", "trainer.max_epochs=3", "hydra.sweep.dir=sweep", "sweep.processes=0", *overrides
    )


REASON = "the training step gives a run other bits than alone: relu_ does, and writes over what it is given"


def test_where_nothing_helps_each_run_trains_by_itself_to_its_own_bits(
    workdir: Path,
) -> None:
    with broken.broken("relu_", broken.relu_by_size):
        said = counted("seed=range(3)", "sweep.dry_run=true")
        ended = counted("seed=range(3)")
        own, _ = start(["task=counted", "trainer.max_epochs=3", "engine=vectorized", "seed=1"])

    assert statuses() == [Status.COMPLETED] * 3
    assert same(runs()[1], own)
    assert f"3 runs, each by itself: in a stack of 3 {REASON}" in ended.stderr
    assert f"alone: 0-2: each by itself: in a stack of 3 {REASON}" in said.stdout
    for run in runs():
        assert read_info(run.info).exactness == [f"trained by itself: in a stack of 3 {REASON}"]
        assert f"trained by itself: in a stack of 3 {REASON}" in run.log.read_text()


def test_they_train_together_where_asked_to_and_every_record_says_so(
    workdir: Path,
) -> None:
    with broken.broken("relu_", broken.relu_by_size):
        counted("seed=range(3)", "sweep.exact=false")
        own, _ = start(["task=counted", "trainer.max_epochs=3", "engine=vectorized", "seed=1"])

    assert not same(runs()[1], own)
    for run in runs():
        notes = read_info(run.info).exactness
        assert f"in a stack of 3 {REASON}; the bits of its runs hold for this stack only" in notes
        assert notes[0] in run.log.read_text()


def test_a_stack_keeps_its_size_where_a_smaller_one_would_give_other_bits(workdir: Path) -> None:
    halving = ["sweep.halving.factor=2", "sweep.halving.min_epochs=1"]
    with broken.broken("relu_", broken.relu_of_four):
        counted("seed=range(8)", *halving)
        best = min(range(8), key=lambda n: (-read_info(runs()[n].info).epochs, n))
        own, _ = start(["task=counted", "trainer.max_epochs=3", "engine=vectorized", f"seed={best}"])

    assert read_info(runs()[best].info).epochs == 3
    assert same(runs()[best], own)
    assert "the stack keeps its 8 rows for the 4 runs left: in a stack of 4 the" in runs()[best].log.read_text()


def test_each_batch_of_trials_is_compared(workdir: Path) -> None:
    with broken.broken("bmm", broken.by_size):
        sweep(
            "hydra/sweeper=optuna",
            "optimizer.lr=tag(log,interval(1e-3,1e-1))",
            "sweep.n_trials=6",
            "sweep.batch=3",
            "sweep.processes=0",
        )

    assert [bool(read_info(run.info).exactness) for run in runs()] == [True] * 6
