"""Loggers beside the run's own record: each gets a row a step, and none can end a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars
import pytest
from pytorch_lightning.loggers import CSVLogger

import shoal
from shoal.errors import ConfigError
from shoal.rundir import Status

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "callbacks=quiet", "trainer.max_epochs=2"]


class Down(CSVLogger):
    """A tracker whose server does not answer."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("nobody is there")


class Deaf(Down):
    """The same from the first word."""

    @property
    def experiment(self) -> Any:
        raise ConnectionError("nobody is there")


def test_lightning_s_csv_is_written_into_the_run_a_row_a_step(workdir: Path) -> None:
    run = shoal.train([*WORDS, "logger=csv"])

    table = polars.read_csv(run.path / "csv" / "metrics.csv")
    assert table["step"].to_list() == [4, 8]
    assert table["val/loss"].to_list() == pytest.approx(run.metrics["val/loss"].to_list())
    assert any(run.path.glob("events.out.tfevents.*"))


@pytest.mark.parametrize("kind", ["Down", "Deaf"])
def test_a_tracker_that_is_down_is_one_warning(kind: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = f"{{_target_: {__name__}.{kind}, save_dir: tracked}}"

    run = shoal.train([*WORDS, f"+logger.mine={node}"])

    assert run.info.status is Status.COMPLETED
    told = f"{kind} is left out from here on: ConnectionError: nobody is there"
    assert capsys.readouterr().err.count(told) == 1


def test_the_directory_of_a_run_is_not_taken_for_one_of_a_sweep(workdir: Path) -> None:
    with pytest.raises(ConfigError, match="is known for a single run only"):
        shoal.sweep([*WORDS, "logger=csv", "seed=0,1"])
