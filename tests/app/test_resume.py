"""A resumed run equals the uninterrupted one to the bit, whatever stopped it and wherever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from faults import ended, forked
from faults.state import differences, state
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.record.interruption import Interruption
from shoal.rundir import RunDir, Status, read_info
from shoal.signals import Interrupted
from spread import one_of

pytestmark = pytest.mark.usefixtures("undrawn")

OPTIMIZERS = {
    "sgd": ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"],
    "adam": ["optimizer=adam", "optimizer.weight_decay=0.01"],
    "adamw": ["optimizer=adamw"],
    "rmsprop": ["optimizer=rmsprop", "optimizer.momentum=0.5"],
}
SCHEDULERS = {
    "none": ["scheduler=none"],
    "cosine": ["scheduler=cosine"],
    "step": ["scheduler=step", "scheduler.every=2"],
    "exponential": ["scheduler=exponential"],
    "onecycle": ["scheduler=onecycle"],
    "plateau": ["scheduler=plateau", "scheduler.patience=0", "scheduler.threshold=0.5"],
    "warmup": ["scheduler=warmup", "scheduler.steps=7", "scheduler.then=cosine"],
}
EVERYTHING = [
    "task.n_samples=50",
    "task.batch_size=8",
    "model.hidden=[6]",
    "model.dropout=0.2",
    "trainer.gradient_clip_val=0.1",
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=4",
    "callbacks.early_stopping.min_delta=0.02",
    "trainer.max_epochs=5",
]
"""40 samples to train on are 5 steps an epoch, and 5 epochs 25 steps."""


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Lets SIGTERM come before a step of that number."""
    before = Interruption.on_train_batch_start
    wanted: list[int | None] = [None]

    def noticed(self: Interruption, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if wanted[0] is not None and trainer.global_step == wanted[0]:
            self.received = signal.SIGTERM
        before(self, trainer, module, batch, batch_idx)

    monkeypatch.setattr(Interruption, "on_train_batch_start", noticed)

    def at(step: int | None) -> None:
        wanted[0] = step

    return at


def train(path: Path, words: Sequence[str]) -> None:
    start([*EVERYTHING, *words, f"hydra.run.dir={path}"])


def stop_and_resume(path: Path, words: Sequence[str], steps: Sequence[int], stop_at: Any) -> None:
    """Train with a stop before each of these steps."""
    for i, step in enumerate([*steps, None]):
        stop_at(step)
        if step is None:
            train(path, words) if i == 0 else resume(path)
        else:
            with pytest.raises(Interrupted):
                train(path, words) if i == 0 else resume(path)
            assert read_info(RunDir(path).info).status is Status.INTERRUPTED


PAIRS = [(optimizer, "onecycle") for optimizer in OPTIMIZERS] + [("adam", scheduler) for scheduler in SCHEDULERS]
"""Each optimizer and each scheduler, at least once."""


@pytest.mark.parametrize(("optimizer", "scheduler"), one_of(2, PAIRS))
def test_a_run_stopped_in_an_epoch_and_at_an_end_equals_one_never_stopped(
    optimizer: str, scheduler: str, workdir: Path, stop_at: Any
) -> None:
    words = [*OPTIMIZERS[optimizer], *SCHEDULERS[scheduler]]
    train(workdir / "whole", words)

    stop_and_resume(workdir / "stopped", words, [2, 8, 15], stop_at)

    assert differences(state(workdir / "whole"), state(workdir / "stopped")) == []


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer={_target_:torch.optim.Adagrad}", "~optimizer.beta1", "~optimizer.beta2"],
        ["trainer.accumulate_grad_batches=2"],
        ["callbacks.checkpoint.every_n_train_steps=3"],
        ["trainer.log_every_n_steps=2"],
        ["trainer.check_val_every_n_epoch=2", "~callbacks.early_stopping"],
        ["trainer.val_check_interval=2"],
        ["trainer.max_epochs=-1", "trainer.max_steps=25"],
        ["logger=none"],
        ["trainer.precision=64-true"],
    ],
    ids=lambda words: words[0],
)
def test_other_settings_resume_as_well(words: list[str], workdir: Path, stop_at: Any) -> None:
    train(workdir / "whole", words)

    stop_and_resume(workdir / "stopped", words, [2 if "accumulate" in words[0] else 7, 10], stop_at)

    assert differences(state(workdir / "whole"), state(workdir / "stopped")) == []


@pytest.mark.parametrize("steps", [8, 10, 12])
def test_a_training_made_longer_equals_one_that_was_long_from_the_start(steps: int, workdir: Path) -> None:
    train(workdir / "whole", ["trainer.max_steps=21"])

    train(workdir / "longer", [f"trainer.max_steps={steps}"])
    resume(workdir / "longer", ["trainer.max_steps=21"])

    expected, found = state(workdir / "whole"), state(workdir / "longer")
    assert differences(expected, found) == []


def test_a_run_killed_at_any_moment_equals_one_that_never_was(workdir: Path) -> None:
    words = ["callbacks.checkpoint.every_n_train_steps=1", "callbacks.checkpoint.every_seconds=0"]
    train(workdir / "whole", words)
    expected = state(workdir / "whole")

    for delay in (0.12, 0.2, 0.3):
        path = workdir / f"killed-{delay}"
        child = forked(lambda path=path: train(path, words))
        with pytest.MonkeyPatch.context():
            signal.sigtimedwait([], delay)
        os.kill(child, signal.SIGKILL)
        ended(child)
        if not RunDir(path).info.exists():
            train(path, words)
        elif read_info(RunDir(path).info).status is Status.RUNNING:
            resume(path)
        assert differences(expected, state(path)) == []
