"""Sweeps among Hydra's own parts: its launcher, its sweeper, its callbacks, its settings, its launchers' tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.test_utils.launcher_common_tests import LauncherTestSuite as HydrasSuite
from omegaconf import DictConfig

from commands import Ended, trained
from shoal.rundir import RunDir, SweepDir, read_history, read_info, read_sweep

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=2"]


def swept(*overrides: str) -> Ended:
    return trained("-m", "sweep.processes=0", "hydra.sweep.dir=sweep", *overrides, *SMALL)


def runs(path: str = "sweep") -> list[RunDir]:
    return [RunDir(each.parent) for each in sorted(Path(path).glob("*/run.json"))]


class Witness(Callback):
    """Remembers what it is told."""

    heard: ClassVar[list[tuple[str, Any]]] = []

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        self.heard.append(("start", (config.hydra.job.num, config.optimizer.lr)))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        failed = isinstance(job_return._return_value, BaseException)
        directory = Path(config.hydra.runtime.output_dir).name
        self.heard.append(("end", (directory, job_return.status.name, "diverged" if failed else "value")))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        self.heard.append(("all", Path(config.hydra.sweep.dir).name))


def test_callbacks_of_hydra_hear_of_each_job(workdir: Path) -> None:
    Witness.heard.clear()

    swept(f"+hydra.callbacks.witness._target_={__name__}.Witness", "optimizer=sgd", "optimizer.lr=0.01,1e9")

    assert Witness.heard[:2] == [("start", (0, 0.01)), ("start", (1, 1e9))]
    assert sorted(Witness.heard[2:4]) == [
        ("end", ("0000", "COMPLETED", "value")),
        ("end", ("0001", "FAILED", "diverged")),
    ]
    assert Witness.heard[4:] == [("all", "sweep")]


@pytest.mark.parametrize(
    ("override", "says", "way_out"),
    [
        ("hydra.job.chdir=true", "share processes", "hydra/launcher=basic"),
        ("+hydra.job.env_set.SOME=1", "are there before its jobs", "SOME=1 before the command"),
        ("hydra.sweep.subdir=abc", "run directories are 0000, 0001", "hydra.sweep.dir=FOLDER"),
    ],
)
def test_what_a_sweep_cannot_follow_is_refused_with_the_way_out(
    workdir: Path, override: str, says: str, way_out: str
) -> None:
    code, _, complained = swept("seed=0,1", override)

    assert code == 2
    assert len(complained.splitlines()) <= 3
    assert override.partition("=")[0].removeprefix("+").removesuffix(".SOME") in complained
    assert says in complained
    assert way_out in complained
    assert runs() == []


@pytest.mark.parametrize("override", ["sweep.zip=[seed,optimizer.lr]", "sweep.processes=2"])
def test_settings_of_a_sweep_are_refused_for_a_single_run(workdir: Path, override: str) -> None:
    code, _, complained = trained(override, *SMALL)

    assert code == 2
    assert f"error: {override} (command line): says how a sweep is run" in complained
    assert "a sweep needs -m" in complained
    assert not (workdir / "outputs").exists()


def test_hydras_launcher_trains_what_our_sweeper_chose_one_by_one(workdir: Path) -> None:
    chosen = ["optimizer.lr=1e-3,1e-2", "seed=5,6", "sweep.zip=[optimizer.lr,seed]"]

    code, _, complained = swept(*chosen, "hydra/launcher=basic")

    assert (code, "Traceback" in complained) == (0, False)
    assert [(read_info(run.info).seed, read_info(run.info).job) for run in runs()] == [(5, 0), (6, 1)]


def test_hydras_launcher_can_change_the_directory_of_each_job(workdir: Path) -> None:
    code, _, _ = swept("seed=0,1", "hydra/launcher=basic", "hydra.job.chdir=true")

    assert (code, len(runs())) == (0, 2)
    assert Path.cwd() == workdir


def test_a_job_that_fails_under_hydras_launcher_fails_the_command(workdir: Path) -> None:
    code, _, complained = swept("seed=0,1", "hydra/launcher=basic", "optimizer=sgd", "optimizer.lr=1e9")

    assert code == 1
    assert complained.count("failed  job ") == 2
    assert "the run diverged" in complained


def test_our_launcher_trains_what_hydras_sweeper_chose_as_a_stack(workdir: Path) -> None:
    code, said, _ = swept("seed=0,1", "optimizer.lr=1e-3,1e-2", "hydra/sweeper=basic")

    assert code == 0
    assert [read_info(run.info).engine for run in runs()] == ["vectorized"] * 4
    assert "best of 2 settings by the mean val/loss over seeds" in said


def test_batches_of_hydras_sweeper_are_one_sweep(workdir: Path) -> None:
    code, _, _ = swept("seed=0,1,2", "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2")

    info = read_sweep(SweepDir(Path("sweep")).info)
    assert code == 0
    assert [(job.run, job.status) for job in info.jobs] == [(f"000{i}", "completed") for i in range(3)]


def test_metrics_have_the_same_columns_in_the_same_order_under_any_launcher(workdir: Path) -> None:
    swept("seed=0,1")
    trained("-m", "hydra.sweep.dir=other", "seed=0,1", "hydra/launcher=basic", *SMALL)

    ours, theirs = (read_history(runs(path)[0].history).columns for path in ("sweep", "other"))

    measures = ["val/rmse", "val/mae", "val/r2"]
    assert ours == theirs == ["step", "epoch", "val/loss", *measures, "train/loss", "lr", "grad_norm"]


@pytest.mark.usefixtures("hydra_restore_singletons")
@pytest.mark.parametrize(("launcher_name", "overrides"), [("shoal", [])])
class TestWhatFitsOfHydrasOwnSuite:
    """Of `hydra.test_utils.launcher_common_tests` what a launcher can meet that trains instead of calling a function.

    The others run a function of theirs on configurations like `{foo: 10}` and compare what it returned. Our launcher
    calls no function: it composes the jobs, plans them and trains what their `task` and `model` say, so that it has
    nothing to do for those (`test_sweep_1_job`, `_2_jobs`, `_2_optimizers`, `_over_unspecified_mandatory_default`,
    `_and_override`, `_with_custom_resolver`, the batched sweeper's and the integration suites); what they claim of
    directories, overrides, batches and job numbers is claimed of our own jobs in this file and in `test_sweep.py`.
    """

    test_hydras_settings_cannot_be_swept = HydrasSuite.test_not_sweeping_hydra_overrides
    test_a_key_that_is_not_there_raises = HydrasSuite.test_sweep_1_job_strict_and_bad_key
