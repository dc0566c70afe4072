"""A sweep from the command line: every job an ordinary run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils import _pytree as pytree

from commands import trained
from shoal.record.checkpoints.checkpoint_file import load
from shoal.rundir import RunDir, Status, read_history, read_info, verify
from sweeps import SMALL, runs, same, sweep

pytestmark = pytest.mark.usefixtures("undrawn")


def test_every_job_of_a_sweep_leaves_an_ordinary_run_directory(workdir: Path) -> None:
    found = sweep("optimizer.lr=1e-3,1e-2", "seed=1,2")

    assert found.returncode == 0
    assert [run.path.name for run in runs()] == ["0000", "0001", "0002", "0003"]
    for number, run in enumerate(runs()):
        read = read_info(run.info)
        settings = {"optimizer.lr": [1e-3, 1e-2][number // 2], "seed": number % 2 + 1}
        assert (read.status, read.job, read.sweep, read.differs) == (Status.COMPLETED, number, "sweep", settings)
        assert verify(run.path, read.artifacts) == {}
        assert len(read_history(run.history).rows) == read.epochs == 3
        assert yaml.safe_load(run.config.read_text())["optimizer"]["lr"] == settings["optimizer.lr"]
        hydra = yaml.safe_load((run.hydra / "hydra.yaml").read_text())["hydra"]
        assert (hydra["job"]["num"], hydra["runtime"]["output_dir"]) == (number, str(run.path.absolute()))
        for text in (run.hydra / "hydra.yaml", run.config):  # written in parts, and read like what is written whole
            assert text.read_text() == OmegaConf.to_yaml(OmegaConf.create(yaml.safe_load(text.read_text())))
        assert f"seed={settings['seed']}" in yaml.safe_load((run.hydra / "overrides.yaml").read_text())
        events = EventAccumulator(str(run.path)).Reload()
        assert len(events.Scalars("val/loss")) == 3
    assert "best of 2 settings" in found.stdout
    assert (workdir / "sweep/summary.csv").read_text().count("completed") == 4


def test_a_run_alone_in_its_sweep_equals_the_same_among_others_to_the_bit(workdir: Path) -> None:
    sweep("seed=range(5)")
    sweep("seed=3", "hydra.sweep.dir=other")

    mine, other = runs()[3], runs("other")[0]
    assert same(mine, other)
    assert mine.history.read_bytes() == other.history.read_bytes()
    assert mine.config.read_bytes() == other.config.read_bytes()
    for each in ("last", "best"):
        kept, expected = (pytree.tree_flatten(load(getattr(run, each))) for run in (mine, other))
        assert kept[1] == expected[1]
        assert all(map(equal, kept[0], expected[0]))
    assert scalars(mine) == scalars(other)


def equal(one: object, other: object) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other


def scalars(run: RunDir) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(run.path)).Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_a_run_of_a_stack_resumes_evaluates_and_predicts_like_any_other(workdir: Path) -> None:
    sweep("seed=0,1", "trainer.max_epochs=2")
    import shoal
    from shoal.app.resume import resume

    run = runs()[1]
    before = read_info(run.info)
    measured = shoal.load(run.path).evaluate("last")
    _, after = resume(run.path, ["trainer.max_epochs=4"])

    assert measured["val/loss"] == pytest.approx(before.final["val/loss"], rel=1e-5)
    assert (after.epochs, after.steps, after.sessions) == (4, 16, 2)
    assert len(read_history(run.history).rows) == 4
    assert len(shoal.load(run.path).predict([0.5])) == 1


def test_what_cannot_be_stacked_trains_alone_and_the_reason_is_said(workdir: Path) -> None:
    found = sweep("seed=0,1", "callbacks.checkpoint.every_n_train_steps=null,2")

    assert found.returncode == 0
    assert "alone: 1, 3: callbacks.checkpoint.every_n_train_steps=2 saves within an epoch" in found.stderr
    assert [read_info(run.info).engine for run in runs()] == ["vectorized", "lightning"] * 2


def test_a_sweep_writes_its_report_when_asked_to(workdir: Path) -> None:
    found = sweep("seed=0,1", "sweep.report=true")

    assert found.returncode == 0, found.stderr
    assert "sweep/report.html" in found.stdout
    assert "<html" in Path("sweep/report.html").read_text()


@pytest.mark.parametrize("launcher", ["basic"])
def test_hydras_own_launcher_trains_each_job_as_a_run(workdir: Path, launcher: str) -> None:
    found = sweep("seed=0,1", f"hydra/launcher={launcher}")

    assert found.returncode == 0
    assert [read_info(RunDir(Path("sweep") / name).info).status for name in ("0000", "0001")] == ["completed"] * 2


@pytest.mark.parametrize("launcher", ["shoal", "basic"])
def test_each_run_of_a_sweep_over_tasks_is_named_by_its_own_task(workdir: Path, launcher: str) -> None:
    words = ["-m", "task=parabola,sin_x2", *SMALL[1:], "trainer.max_epochs=1", "logger=none", "callbacks=quiet"]

    found = trained(*words, "sweep.processes=0", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep")

    assert found.returncode == 0, found.stderr
    infos = [read_info(RunDir(Path("sweep") / name).info) for name in ("0000", "0001")]
    assert [info.task for info in infos] == ["parabola", "sin_x2"]
    assert [info.choices["task"] for info in infos] == ["parabola", "sin_x2"]
