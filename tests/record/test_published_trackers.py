"""MLflow and Weights & Biases themselves, without a server: what they keep of a run."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.errors import ShoalError
from shoal.loaded.run import Run
from shoal.record.loggers import trackers
from shoal.rundir import Status

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # of these packages' own
]

WORDS = ["task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "callbacks=quiet", "trainer.max_epochs=2"]
TOGETHER = ["seed=0,1", "sweep.processes=0"]
METRICS = ("epoch", "grad_norm", "lr", "train/loss", "val/loss")


@dataclass(frozen=True)
class Kept:
    """What a tracker says of a run."""

    named: str
    tags: list[str]
    settings: dict[str, str]
    rows: list[dict[str, float]]
    ended: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data base of MLflow's; one for all tests, since it takes seconds to make."""
    pytest.importorskip("mlflow", reason="shoal[trackers] is not installed: make trackers")
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "_down", {})


@pytest.fixture(params=["mlflow", "wandb"])
def tracker(request: pytest.FixtureRequest, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a tracker that is installed, and that writes to this machine."""
    name: str = request.param
    pytest.importorskip(name, reason="shoal[trackers] is not installed: make trackers")
    if name == "mlflow":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("store"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    return name


def kept(tracker: str, run: Run) -> Kept:
    """What a tracker has of a run, read from where it keeps it."""
    return _in_mlflow(run) if tracker == "mlflow" else _in_wandb(run)


def _in_mlflow(run: Run) -> Kept:
    import mlflow

    client = mlflow.MlflowClient()
    [experiment] = [each for each in client.search_experiments() if each.name == "shoal"]
    [found] = client.search_runs([experiment.experiment_id], f"params.run = '{run.info.id}'")
    curves = {name: client.get_metric_history(found.info.run_id, name) for name in found.data.metrics}
    rows = [{"step": float(each.step)} for each in curves.get("epoch", [])]
    for name, points in curves.items():
        for row, point in zip(rows, points, strict=True):
            row[name] = point.value
    return Kept(found.info.run_name, [found.data.tags["path"]], dict(found.data.params), rows, found.info.status)


def _in_wandb(run: Run) -> Kept:
    [path] = run.path.glob("wandb/offline-run-*/run-*.wandb")
    records = _written(path)
    [begun] = [each.run for each in records if each.HasField("run")]
    settings = {item.key: json.loads(item.value_json) for each in records for item in each.config.update}
    rows = []
    for each in records:
        if each.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in each.history.item}
            rows.append({"step": row.pop("trainer/global_step")} | row)
    codes = [each.exit.exit_code for each in records if each.HasField("exit")]
    return Kept(begun.display_name, list(begun.tags), {k: str(v) for k, v in settings.items()}, rows, str(codes))


def _written(path: Path) -> list[Any]:
    """All records of a run that has ended: a process of W&B's own writes them, some after it was told the end."""
    for _ in range(600):
        records = list(_records(path))
        if any(each.HasField("exit") for each in records):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def _records(path: Path) -> Iterator[Any]:
    """The records of a file of W&B's: a log in LevelDB's format, blocks of 32 KiB after a head of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack("<4xHB", content[at : at + 7])
        if at + 7 + length > len(content):
            return  # which is being written
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a record in one piece, or its last one
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def check(tracker: str, run: Run, settings: dict[str, str]) -> None:
    """Compare all that a tracker keeps of a run to the run's own record."""
    found, path = kept(tracker, run), str(run.path.absolute())

    assert found.named == run.info.id
    assert found.tags == [path if tracker == "mlflow" else run.path.name]
    assert found.settings.items() >= {"run": run.info.id, "path": path, **settings}.items()
    assert found.ended == ("FINISHED" if tracker == "mlflow" else "[0]")
    assert [row["step"] for row in found.rows] == run.metrics["step"].to_list()
    for name in METRICS:
        assert [row[name] for row in found.rows] == pytest.approx(run.metrics[name].to_list())


def test_a_tracker_keeps_a_run_s_name_path_settings_and_rows(tracker: str) -> None:
    run = shoal.train([*WORDS, f"logger={tracker}"])

    check(tracker, run, {"seed": "0", "trainer.max_epochs": "2"})


def test_each_run_of_a_stack_is_one_of_the_tracker_s_and_ended(tracker: str) -> None:
    sweep = shoal.sweep([*WORDS, f"logger={tracker}", *TOGETHER])

    assert [run.info.engine for run in sweep.runs] == ["vectorized"] * 2
    for run in sweep.runs:
        check(tracker, run, {"seed": str(run.info.seed)})


def test_a_run_that_diverged_is_a_failed_one_of_the_tracker_s(tracker: str) -> None:
    with pytest.raises(ShoalError, match="diverged"):
        shoal.train([*WORDS, f"logger={tracker}", "optimizer=sgd", "optimizer.lr=1e30", "hydra.run.dir=far"])

    assert kept(tracker, shoal.load("far")).ended == ("FAILED" if tracker == "mlflow" else "[1]")


def test_many_loggers_are_each_told_of_the_runs_of_a_stack(
    store: str, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    sweep = shoal.sweep([*WORDS, "logger=many", *TOGETHER])

    for run in sweep.runs:
        check("mlflow", run, {"seed": str(run.info.seed)})
        assert (run.path / "csv" / "metrics.csv").exists()
        assert any(run.path.glob("events.out.tfevents.*"))


def test_an_mlflow_server_that_is_away_is_one_warning_for_a_stack(
    store: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    sweep = shoal.sweep([*WORDS, "logger=mlflow", *TOGETHER])

    assert [run.status for run in sweep.runs] == [Status.COMPLETED] * 2
    assert capsys.readouterr().err.count("warning  MLFlowLogger is left out from here on") == 1
