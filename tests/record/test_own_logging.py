"""What a module writes to its loggers by hand: into the run's own event file, or to loggers of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import shoal
from own_runs import SAMPLES, trained, write_task
from shoal.app.resume import resume
from shoal.record.interruption import Interrupted
from shoal.rundir import Status
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
    assert "uses self.logger, which is each run's own" in capsys.readouterr().err


def test_without_an_event_file_that_is_said_once(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_task("drawn", "Illustrated", SAMPLES)

    run = trained("task=drawn", "trainer.max_epochs=2", "logger=none")

    assert (run.status, list(run.path.glob("events*"))) == (Status.COMPLETED, [])
    assert capsys.readouterr().err.count("self.logger.experiment writes nothing") == 1
