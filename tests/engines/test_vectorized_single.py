"""One run trained by the vectorised engine: the same bits as in a sweep, and a run that either engine goes on with."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from shoal.app.resume import resume
from shoal.app.start import start
from shoal.cli import train as main
from shoal.engines.vectorized.run_epoch import RunEpoch
from shoal.engines.vectorized.running import Running
from shoal.record import stack_of_one
from shoal.record.checkpoints.checkpoint_file import EXTRA, load
from shoal.rundir import RunDir, SweepDir, read_history, read_info, read_sweep, verify
from shoal.signals import Interrupted
from spread import turns

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*"),
    pytest.mark.usefixtures("undrawn"),
]

WORDS = [
    "task.n_samples=60",
    "task.batch_size=8",
    "model.hidden=[4]",
    "model.dropout=0.1",
    "scheduler=plateau",
    "scheduler.patience=0",
    "scheduler.threshold=0.5",
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=6",
    "callbacks.progress=null",
    "trainer.max_epochs=7",
]
"""48 samples to train on are 6 steps an epoch, and 7 epochs 42 steps."""


def train(path: str, *words: str, engine: str = "vectorized") -> RunDir:
    run, _ = start([*WORDS, f"engine={engine}", f"hydra.run.dir={path}", *words])
    return run


def sweep(*words: str, folder: str = "sweep") -> list[RunDir]:
    assert main(["-m", *WORDS, f"hydra.sweep.dir={folder}", "sweep.processes=0", *words]) == 0
    found = SweepDir(Path(folder))
    return [found.run(job) for job in read_sweep(found.info).jobs]


def same(one: RunDir, other: RunDir) -> None:
    """Weights, optimizer, metrics and position to the bit."""
    mine, theirs = load(one.last), load(other.last)
    assert read_history(one.history).rows == read_history(other.history).rows
    for name in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "sums"):
        equal(mine[name], theirs[name])
    assert mine[EXTRA]["position"] == theirs[EXTRA]["position"]
    assert read_info(one.info).best == read_info(other.info).best


def equal(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            equal(one[key], other[key])
    elif isinstance(one, list):
        for mine, theirs in zip(one, other, strict=True):
            equal(mine, theirs)
    else:
        assert one == other


def close(one: RunDir, other: RunDir) -> None:
    """The same steps, weights and metrics but for rounding in float64."""
    mine, theirs = load(one.last), load(other.last)
    assert (mine["epoch"], mine["global_step"]) == (theirs["epoch"], theirs["global_step"])
    assert mine[EXTRA]["position"] == theirs[EXTRA]["position"]
    for name, value in theirs["state_dict"].items():
        torch.testing.assert_close(mine["state_dict"][name], value, rtol=1e-10, atol=1e-12)
    rows, expected = read_history(one.history).rows, read_history(other.history).rows
    assert rows == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in expected]


def test_a_run_is_the_same_alone_and_in_a_sweep_to_the_bit(workdir: Path) -> None:
    alone = train("alone", "seed=2")

    among = sweep("seed=0,1,2")[2]

    same(alone, among)
    info = read_info(alone.info)
    assert (info.engine, info.status, info.sweep) == ("vectorized", "completed", None)
    assert verify(alone.path, info.artifacts) == {}


def test_a_run_that_cannot_be_stacked_trains_under_lightning_and_says_why(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("run", "trainer.detect_anomaly=true")

    assert read_info(run.info).engine == "lightning"
    assert (
        "trained by the Lightning engine instead: a stack cannot follow trainer.detect_anomaly"
        in capsys.readouterr().err
    )


def test_a_run_that_diverges_is_recorded_as_diverged(workdir: Path) -> None:
    assert main([*WORDS, "engine=vectorized", "optimizer=sgd", "optimizer.lr=1e9", "hydra.run.dir=run"]) == 1

    info = read_info(RunDir(Path("run")).info)
    assert (info.engine, info.status) == ("vectorized", "diverged")


def test_a_run_that_was_interrupted_goes_on_to_the_bit(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train("whole")
    before = stack_of_one._Telling.epoch_ended

    def signaled(self: Any, epochs: Sequence[RunEpoch], running: Running) -> None:
        before(self, epochs, running)
        if running.epoch == 3:
            self.interruption.received = signal.SIGTERM

    with monkeypatch.context() as patched:
        patched.setattr(stack_of_one._Telling, "epoch_ended", signaled)
        with pytest.raises(Interrupted, match=r"at step 18 \(epoch 3\)"):
            train("stopped")
    run, _ = resume(workdir / "stopped")

    same(run, whole)


@pytest.mark.parametrize("steps", [15, 18, 3])
def test_a_training_made_longer_equals_one_that_was_long_from_the_start(workdir: Path, steps: int) -> None:
    whole = train("whole")
    short = train("short", f"trainer.max_steps={steps}")
    assert load(short.last)[EXTRA]["position"] == [steps // 6, steps % 6, steps]

    resume(workdir / "short", ["trainer.max_steps=-1"])

    same(short, whole)


@pytest.mark.parametrize(
    ("first", "then", "steps"), turns([("vectorized", "lightning"), ("lightning", "vectorized")], [15, 18])
)
def test_either_engine_goes_on_from_a_checkpoint_of_the_other(
    workdir: Path, first: str, then: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = "trainer.precision=64-true"
    whole = train("whole", exact, engine=first)
    train("short", exact, f"trainer.max_steps={steps}", engine=first)
    capsys.readouterr()

    run, info = resume(workdir / "short", ["trainer.max_steps=-1", f"engine={then}"])

    close(run, whole)
    assert info.engine == then
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize(("engine", "steps"), turns(["lightning", "vectorized"], [15, 18]))
def test_a_run_of_a_sweep_goes_on_in_either_engine(
    workdir: Path, engine: str, steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    exact = "trainer.precision=64-true"
    [_, whole] = sweep("seed=0,1", exact, folder="whole")
    [_, short] = sweep("seed=0,1", exact, f"trainer.max_steps={steps}", folder="short")
    assert load(short.last)[EXTRA]["position"] == [steps // 6, steps % 6, steps]
    capsys.readouterr()

    run, _ = resume(short.path, ["trainer.max_steps=-1", f"engine={engine}"])

    close(run, whole)
    assert "damaged" not in capsys.readouterr().err
    if engine == "vectorized":
        same(run, whole)


def test_a_run_of_a_sweep_goes_on_from_its_best_state(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimizer.lr=0.3", "callbacks.early_stopping=null", "trainer.precision=64-true"]
    [_, whole] = sweep("seed=0,1", *words, folder="whole")
    [_, run] = sweep("seed=0,1", *words, folder="again")
    best = read_info(run.info).best
    assert best is not None
    assert best.epoch < 6
    capsys.readouterr()

    resume(run.path, ["trainer.max_epochs=8"], which="best")

    rows = read_history(run.history).rows
    assert rows[:-1] == [pytest.approx(row, rel=1e-9, abs=1e-12) for row in read_history(whole.history).rows]
    assert "damaged" not in capsys.readouterr().err
