"""Loggers beside the run's own record: each gets a row a step, and none can end a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger

import shoal
from shoal.record import trackers
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


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "_down", {})


@pytest.mark.parametrize("kind", ["Down", "Deaf"])
def test_a_tracker_that_is_down_is_one_warning(kind: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = f"{{_target_: {__name__}.{kind}, save_dir: tracked}}"

    run = shoal.train([*WORDS, f"+logger.mine={node}"])

    assert run.info.status is Status.COMPLETED
    told = f"{kind} is left out from here on: ConnectionError: nobody is there"
    assert capsys.readouterr().err.count(told) == 1


def test_runs_of_a_stack_tell_their_loggers_what_each_of_them_measured(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = f"+logger.mine={{_target_: {__name__}.Down, save_dir: tracked}}"

    sweep = shoal.sweep([*WORDS, "logger=csv", down, "seed=0,1", "sweep.processes=0"])

    for run in sweep.runs:
        table = polars.read_csv(run.path / "csv" / "metrics.csv")
        assert run.info.engine == "vectorized"
        assert table["step"].to_list() == [4, 8]
        assert table["val/loss"].to_list() == pytest.approx(run.metrics["val/loss"].to_list())
        told = yaml.safe_load((run.path / "csv" / "hparams.yaml").read_text())
        assert told == {"seed": run.info.seed, "run": run.info.id, "path": str(run.path.absolute())}
    assert capsys.readouterr().err.count("warning  Down is left out from here on: ConnectionError") == 1
