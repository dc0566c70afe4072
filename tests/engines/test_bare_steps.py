"""Steps without what Lightning does around each: the same run to the bit, and nobody misses a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch

import shoal
from shoal.engines.bare_steps import BareSteps
from shoal.errors import brief
from shoal.record import LearningRate
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, read_history, read_info
from shoal.tasks import Supervised

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=50", "task.batch_size=8", "model.hidden=[4]", "callbacks=quiet", "trainer.max_epochs=3"]
"""40 samples to train on, in 5 batches an epoch."""
CASES = [
    "trainer.accumulate_grad_batches=2 trainer.gradient_clip_val=0.1 model.dropout=0.2",
    "trainer.max_steps=8 optimizer=sgd scheduler=cosine task.val_batch_size=3 trainer.num_sanity_val_steps=1",
    "trainer.precision=64-true optimizer=adamw scheduler=onecycle callbacks.checkpoint.every_n_train_steps=3",
    "optimizer=lbfgs task.batch_size=null scheduler=plateau trainer.val_check_interval=1",
    "trainer.val_check_interval=2 trainer.limit_train_batches=4 callbacks.checkpoint.every_seconds=0",
]


@contextmanager
def by_lightning() -> Iterator[None]:
    """Within this trainings take Lightning's own steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shoal.engines.position.suffice", lambda *_: False)
        patch.setattr("shoal.engines.bare_steps.suffice", lambda *_: False)
        yield


def left(path: str) -> dict[str, Any]:
    """All that a training has left in a directory, whose name is four letters long: event files hold it."""
    run = RunDir(Path(path))
    info = read_info(run.info)
    kept = [load(each) for each in (run.last, run.best) if each.exists()]
    for each in kept:
        each["shoal"]["config"] = None  # with the directory
        each["shoal"]["generators"]["python"] = None  # from which beartype draws, in tests
    said = [info.status, info.reason, info.epochs, info.steps, info.best]
    return {"rows": run.history.read_bytes(), "said": said, "states": kept}


def differing(one: Any, other: Any, at: str = "") -> list[str]:
    """The places where they are not the same to the bit."""
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [at]
    if isinstance(one, dict):
        return [each for key in {**one, **other} for each in differing(one.get(key), other.get(key), f"{at}.{key}")]
    if isinstance(one, list | tuple):
        pairs = zip_longest(one, other)
        return [each for i, pair in enumerate(pairs) for each in differing(*pair, f"{at}[{i}]")]
    return [] if one == other else [at]


def listening(hook: str) -> str:
    return f"+callbacks.mine={{_target_: hooked.AtBatches, hook: {hook}}}"


def failing(path: str) -> str:
    """What is told of a run whose seventh loss cannot be computed."""
    measured, calls = Supervised.measured, iter(range(100))

    def measure(self: Supervised, *given: Any) -> torch.Tensor:
        if next(calls) == 6:
            raise ValueError("too warm")
        return measured(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Supervised, "measured", measure)
        with pytest.raises(ValueError, match="too warm") as raised:
            shoal.train([*WORDS, f"hydra.run.dir={path}"])
    return brief(raised.value)


@pytest.mark.parametrize("words", CASES)
def test_bare_steps_leave_what_the_steps_of_lightning_leave(
    words: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with by_lightning():
        shoal.train([*WORDS, *words.split(), "hydra.run.dir=full"])
    taken = Mock(side_effect=BareSteps.advance, autospec=True)
    monkeypatch.setattr(BareSteps, "advance", lambda *given: taken(*given))

    shoal.train([*WORDS, *words.split(), "hydra.run.dir=bare"])

    assert taken.called
    assert differing(left("full"), left("bare")) == []


def test_an_error_in_a_bare_step_ends_a_run_as_one_in_a_step_of_lightning(workdir: Path) -> None:
    with by_lightning():
        told = failing("full")

    assert failing("bare") == told == "ValueError: too warm"
    assert differing(left("full"), left("bare")) == []


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_before_zero_grad", "on_validation_batch_start"])
def test_a_callback_is_called_at_every_batch_and_may_log_there(hook: str, workdir: Path) -> None:
    run = RunDir(shoal.train([*WORDS, "task.val_batch_size=5", listening(hook)]).path)

    n = 2 if "validation" in hook else 5
    assert [row["mine"] for row in read_history(run.history).rows] == [n, 2 * n, 3 * n]


def test_a_function_is_called_at_every_batch(workdir: Path) -> None:
    given = "{_target_: hooked.noted, _partial_: true, _args_: [batch]}"
    node = f"{{_target_: lightning.pytorch.callbacks.LambdaCallback, on_train_batch_end: {given}}}"

    shoal.train([*WORDS, f"+callbacks.mine={node}"])

    assert len(Path("noted").read_text().splitlines()) == 3 * 5


@pytest.mark.parametrize("name", ["backward", "optimizer_step"])
def test_a_hook_that_a_module_is_given_is_called_at_every_batch(
    name: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = Mock()

    def give(_: Any, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        real = getattr(module, name)
        setattr(module, name, lambda *given, **named: (called(), real(*given, **named))[1])

    monkeypatch.setattr(LearningRate, "on_train_start", give)

    shoal.train(WORDS)

    assert called.call_count == 3 * 5
