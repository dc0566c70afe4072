"""A training that would take no step, or validate never, is refused before it begins, in any engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from own_runs import LOADERS, write_task
from shoal.app.start import start
from shoal.cli import train as main
from shoal.errors import ConfigError

SMALL = ["task=parabola", "task.n_samples=64", "task.batch_size=16", "trainer.max_epochs=4"]
"""4 batches an epoch to train on, and 1 to validate on."""
REFUSED = {
    "trainer.limit_train_batches=0.01": "leaves none of the 4 training batches of an epoch\n  at least 0.25",
    "trainer.limit_val_batches=0.5": "leaves none of the 1 validation batches of an epoch",
    "trainer.overfit_batches=0.2": "leaves none of the 4 training batches of an epoch",
    "trainer.overfit_batches=0.9": "leaves none of the 1 validation batches of an epoch",
    "trainer.min_epochs=5": "is above trainer.max_epochs=4",
    "trainer.min_steps=20 trainer.max_steps=10": "is above trainer.max_steps=10",
    "trainer.check_val_every_n_epoch=5": "validates nothing: the run has 4 epochs",
    "trainer.check_val_every_n_epoch=3 trainer.max_steps=8": "validates nothing: the run has 2 epochs",
    "trainer.val_check_interval=5": "is more than the 4 batches of an epoch",
    "trainer.max_epochs=-1": "would never end",
    "scheduler=cosine trainer.max_epochs=-1 trainer.max_time=00:00:01:00": "nothing says how many epochs this one has",
    "scheduler=onecycle trainer.max_epochs=-1 trainer.max_time=00:00:01:00": "nothing says how many steps",
}


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
@pytest.mark.parametrize("words", REFUSED)
def test_what_leaves_nothing_to_do_is_refused(words: str, engine: str, workdir: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        start([*SMALL, f"engine={engine}", *words.split()])

    assert REFUSED[words] in str(raised.value)
    assert not Path("outputs").exists()


def test_a_sweep_of_such_jobs_is_refused_as_well(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["-m", *SMALL, "trainer.limit_train_batches=0.01,1.0"])

    assert code == 2
    assert "leaves none of the 4 training batches" in capsys.readouterr().err


def test_a_share_of_the_batches_of_a_loader_is_counted_too(workdir: Path) -> None:
    write_task("wave", "Wave", LOADERS, dropout=0.1, lr=0.01)

    with pytest.raises(ConfigError, match="leaves none of the 4 training batches of an epoch"):
        start(["task=wave", "trainer.limit_train_batches=0.1"])


def test_without_validation_the_training_loss_is_monitored(workdir: Path, undrawn: None) -> None:
    _, info = start([*SMALL, "trainer.limit_val_batches=0", "trainer.max_epochs=1"])

    assert info.best is not None
    assert info.best.metric == "train/loss"
