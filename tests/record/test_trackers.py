"""Loggers beside the run's own record: each gets a row a step, and none can end a training."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any, ClassVar

import polars
import pytest
import yaml
from pytorch_lightning.loggers import CSVLogger

import shoal
from own_runs import SAMPLES, write_task
from shoal.errors import ShoalError
from shoal.record.loggers import trackers
from shoal.rundir import Status

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "callbacks=quiet", "trainer.max_epochs=2"]


class Down(CSVLogger):
    """A tracker whose server does not answer."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        raise ConnectionError("nobody is there")


class Told(CSVLogger):
    """Keeps what it is told, and writes nothing."""

    rows: ClassVar[list[dict[str, float]]] = []
    ends: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__("told")

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": float(step or 0), **metrics})

    def save(self) -> None:
        """Nothing."""

    def finalize(self, status: str) -> None:
        self.ends.append(status)


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


def tracked(engine: str, *words: str) -> tuple[list[dict[str, float]], list[str]]:
    """The rows that a logger of the user's own was told, and how it was told that the training ended."""
    Told.rows, Told.ends = [], []
    own = f"+logger.mine={{_target_: {__name__}.Told}}"
    with contextlib.suppress(ShoalError):
        shoal.train([*WORDS, *words, own, "trainer.precision=64-true", f"engine={engine}"])
    return Told.rows, Told.ends


def test_the_engines_tell_a_logger_the_same_rows(workdir: Path) -> None:
    alone, stacked = tracked("lightning"), tracked("vectorized")

    assert [row["epoch"] for row in alone[0]] == [0, 1]
    assert stacked[0] == [pytest.approx(row, rel=1e-9) for row in alone[0]]
    assert alone[1] == stacked[1] == ["success"]


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_a_logger_is_told_that_a_run_diverged(engine: str, workdir: Path) -> None:
    _, ends = tracked(engine, "optimizer=sgd", "optimizer.lr=1e200")

    assert ends == ["failed"]


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_the_table_of_layers_is_in_the_log_of_either_engine(engine: str, workdir: Path) -> None:
    run = shoal.train([*WORDS, "trainer.enable_model_summary=true", f"engine={engine}"])

    text = run.directory.log.read_text()
    assert "0 | model | Sequential | 13     | train |" in text
    assert "13        Trainable params" in text


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


class Unreachable(Down):
    """Asks its server as it is made."""

    def __init__(self) -> None:
        raise ConnectionError("nobody is there")


def test_a_tracker_that_cannot_be_made_without_its_server_is_left_out(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"+logger.mine={{_target_: {__name__}.Unreachable}}"

    sweep = shoal.sweep([*WORDS, node, "seed=0,1", "sweep.processes=0"])

    assert [run.info.status for run in sweep.runs] == [Status.COMPLETED] * 2
    told = "warning: Unreachable is left out: ConnectionError: nobody is there"
    assert capsys.readouterr().err.count(told) == 1


def test_each_run_is_told_of_a_tracker_that_failed_in_the_one_before(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = f"+logger.mine={{_target_: {__name__}.Down, save_dir: tracked}}"
    shoal.train([*WORDS, node])
    capsys.readouterr()

    shoal.train([*WORDS, node])

    told = re.findall(
        r"warning: Down is left out: ConnectionError: nobody is there, \d+ s ago", capsys.readouterr().err
    )
    assert len(told) == 1


def test_a_module_that_logs_by_itself_gives_a_logger_one_row_a_step(workdir: Path) -> None:
    write_task("mine", "Plain", SAMPLES, optimizer="adam")

    shoal.train(["task=mine", "logger=csv", "trainer.max_epochs=2", "hydra.run.dir=run"])

    table = polars.read_csv("run/csv/metrics.csv")
    assert table["step"].to_list() == polars.read_csv("run/metrics.csv")["step"].to_list()


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
