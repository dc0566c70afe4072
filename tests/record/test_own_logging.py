"""What a module writes to its loggers by hand: into the run's own event file, or to loggers of the user's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import shoal
from own_runs import SAMPLES, trained, write_task
from shoal.app.resume import resume
from shoal.cli import train as main
from shoal.errors import ConfigError, ShoalError
from shoal.record.loggers.recorder import Recorder
from shoal.rundir import Status
from shoal.signals import Interrupted
from stops import Stops

pytestmark = pytest.mark.usefixtures("undrawn")


def written(path: Path) -> EventAccumulator:
    """The run's one event file."""
    [file] = path.glob("**/events.out.tfevents.*")
    assert file.parent == path
    found = EventAccumulator(str(file), size_guidance={"tensors": 0, "scalars": 0})
    found.Reload()
    return found


def curve(events: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in events.Scalars(name)]


def test_what_a_module_adds_is_in_the_event_file_of_its_run(workdir: Path) -> None:
    write_task("drawn", "Illustrated", SAMPLES)

    run = trained("task=drawn", "trainer.max_epochs=2")

    events = written(run.path)
    tags = events.Tags()
    assert [step for step, _ in curve(events, "mine/loss")] == list(range(10))
    assert {"mine/image", "mine/figure"} <= set(tags["images"])
    assert tags["histograms"] == ["mine/weights"]
    assert "mine/text/text_summary" in tags["tensors"]
    assert {"mine/both/one", "mine/both/two", "mine/hparam", "train/loss"} <= set(tags["scalars"])
    assert "mine/loss" not in run.metrics.columns


def test_a_run_that_goes_on_has_what_its_module_adds_once(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task("drawn", "Illustrated", SAMPLES)
    words = ["task=drawn", "trainer.max_epochs=3"]
    whole = trained(*words, "hydra.run.dir=whole")
    stops = Stops(monkeypatch)

    stops.before(8)
    with pytest.raises(Interrupted):
        trained(*words, "hydra.run.dir=stopped")
    stops.before(None)
    resume(Path("stopped"), trusted=["own_modules"])

    assert curve(written(Path("stopped")), "mine/loss") == curve(written(whole.path), "mine/loss")


@pytest.mark.parametrize("within", ["training", "validation"])
def test_runs_whose_steps_use_their_logger_train_alone_and_it_says_why(
    within: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task("drawn", "Illustrated", SAMPLES, within=within)

    sweep = shoal.sweep(["task=drawn", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"])

    assert [each.status for each in sweep.runs] == [Status.COMPLETED] * 2
    assert all("mine/loss" in written(each.path).Tags()["scalars"] for each in sweep.runs)
    assert "uses self.logger, one writer for each run: self.log writes" in capsys.readouterr().err


def test_what_a_module_writes_as_its_training_begins_stacks(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("named", "Introduced", SAMPLES, optimizer="adam")
    words = ["task=named", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"]

    assert main(["-m", *words, "sweep.dry_run=true"]) == 0
    sweep = shoal.sweep(words)

    assert "alone" not in capsys.readouterr().out
    assert [each.info.engine for each in sweep.runs] == ["vectorized"] * 2
    assert all("mine/name/text_summary" in written(each.path).Tags()["tensors"] for each in sweep.runs)


def test_without_an_event_file_that_is_said_once(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("drawn", "Illustrated", SAMPLES)

    run = trained("task=drawn", "trainer.max_epochs=2", "logger=none")

    assert (run.status, list(run.path.glob("events*"))) == (Status.COMPLETED, [])
    assert capsys.readouterr().err.count("self.logger.experiment writes nothing") == 1


def test_a_run_that_draws_nothing_makes_no_writer(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "writer", property(lambda _: pytest.fail("nobody asked for it")))

    run = trained("task=parabola", "task.batch_size=1000", "trainer.max_epochs=1")

    assert run.status is Status.COMPLETED


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_what_a_module_writes_by_its_trainer_is_in_its_run_s_directory(engine: str, workdir: Path) -> None:
    write_task("kept", "Snapshots", SAMPLES)

    sweep = shoal.sweep(["task=kept", f"engine={engine}", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"])

    assert [run.info.engine for run in sweep.runs] == [engine] * 2
    assert sorted(Path().rglob("snapshots")) == [run.path / "snapshots" for run in sweep.runs]


class WandbRun:
    """A run of Weights & Biases as far as Lightning knows it; the newest is the one under way."""

    begun: list[WandbRun]

    def __init__(self, **settings: Any) -> None:
        self.rows: list[dict[str, Any]] = []
        self.exit_code: int | None = None
        self.config = self
        self.begun.append(self)

    def update(self, *args: Any, **kwargs: Any) -> None:
        pass

    def define_metric(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log(self, row: dict[str, Any], **kwargs: Any) -> None:
        assert self.exit_code is None
        self.rows.append(row)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


class Wandb(ModuleType):
    """The package, which this one stands for."""

    Run = RunDisabled = WandbRun

    def init(self, **settings: Any) -> WandbRun:
        return WandbRun(**settings)

    @property
    def run(self) -> WandbRun | None:
        return next((each for each in WandbRun.begun if each.exit_code is None), None)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    WandbRun.begun = []
    package = Wandb("wandb")
    for name in ("wandb", "wandb.sdk.lib", "wandb.wandb_run"):
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", True)
    return package


WITH_WANDB = [
    *("task=parabola", "task.n_samples=50", "task.batch_size=8", "callbacks=quiet"),
    "+logger.wandb={_target_:pytorch_lightning.loggers.WandbLogger,save_dir:wandb}",
]


def test_each_run_of_a_process_is_a_run_of_its_own_in_weights_and_biases(wandb: Wandb, workdir: Path) -> None:
    for _ in range(2):
        shoal.train([*WITH_WANDB, "trainer.max_epochs=2"])
    shoal.sweep([*WITH_WANDB, "trainer.max_epochs=2", "seed=0,1", "sweep.processes=0"])

    epochs = [sum("val/loss" in row for row in each.rows) for each in WandbRun.begun]
    assert epochs == [2, 2, 2, 2]
    assert [each.exit_code for each in WandbRun.begun] == [0, 0, 0, 0]


def test_two_loggers_of_one_run_of_weights_and_biases_are_refused(wandb: Wandb, workdir: Path) -> None:
    another = "+logger.b={_target_:pytorch_lightning.loggers.WandbLogger,project:b}"

    with pytest.raises(ConfigError, match=r"would write into the W&B run of logger\.wandb") as refused:
        shoal.train([*WITH_WANDB, another])

    assert (refused.value.key, refused.value.hint) == ("logger.b", "leave one of them out: logger.b=null")
    assert WandbRun.begun == []


def test_a_run_that_fails_is_ended_as_failed_in_weights_and_biases(wandb: Wandb, workdir: Path) -> None:
    with pytest.raises(ShoalError, match="diverged"):
        shoal.train([*WITH_WANDB, "optimizer=sgd", "optimizer.lr=1e9", "trainer.max_epochs=20"])

    assert [each.exit_code for each in WandbRun.begun] == [1]


@pytest.mark.filterwarnings("ignore:There is a wandb run already in progress")
def test_a_run_of_weights_and_biases_that_was_under_way_stays_so(wandb: Wandb, workdir: Path) -> None:
    own = wandb.init()

    shoal.train([*WITH_WANDB, "trainer.max_epochs=1"])

    assert (WandbRun.begun, own.exit_code) == ([own], None)
