"""A search with Optuna: what it searches, proposes, tells and keeps, and that nothing is lost when it is killed."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from commands import typed
from faults import ended, forked
from shoal.app.command import main
from shoal.app.compose import composed
from shoal.app.search.objectives import Objective
from shoal.app.search.samplers import samplers
from shoal.app.search.searching import Search
from shoal.app.search.space import Space, space_of
from shoal.app.search.studies import begun, opened, quietly
from shoal.app.search.study import Request, Settings
from shoal.app.sweeps.distributions import Choices, Interval, Steps, integers_of
from shoal.app.sweeps.launch import resume
from shoal.errors import ConfigError, ShoalError
from shoal.rundir import RunDir, RunInfo, Status, SweepDir, SweepInfo, read_info, read_sweep, write_info, write_sweep
from shoal.rundir.info import Best

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=2"]
LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
FOLDER = SweepDir(Path("sweep"))


def searched(*overrides: str) -> tuple[int, str, str]:
    """Exit code and output of a search, in this process."""
    said, complained = io.StringIO(), io.StringIO()
    words = ["-m", "hydra/sweeper=optuna", *SMALL, "sweep.processes=0", "hydra.sweep.dir=sweep", *overrides]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        code = main(words)
    assert "Traceback" not in complained.getvalue()
    return code, said.getvalue(), complained.getvalue()


def refused(*overrides: str) -> str:
    code, _, complained = searched(*overrides)
    assert code == 2
    assert len(complained.splitlines()) <= 3
    return complained


def trials(folder: str = "sweep") -> list[FrozenTrial]:
    return optuna.load_study(study_name="sweep", storage=opened(None, SweepDir(Path(folder)))).trials


def points(found: Sequence[FrozenTrial]) -> list[Any]:
    """Settings, values and state of the trials that were asked for in whole, in order."""
    return [(trial.params, trial.values, trial.state.name) for trial in found if trial.params]


class Surface:
    """Instead of training, a run.json whose loss is known: smallest at lr=1e-2, 0.1 more with sgd, 1 more a seed."""

    def __init__(self, **given: dict[str, Any]) -> None:
        """`given` is what the run of a job (`run0`, `run1`, ...) has beside that."""
        self.given = given
        self.launched: list[list[str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        returns = []
        for job in jobs:
            number = len(self.launched)
            self.launched.append(list(job))
            settings = dict(word.split("=", 1) for word in job)
            loss = (math.log10(float(settings["optimizer.lr"])) + 2) ** 2
            loss += 0.1 * (settings.get("optimizer") == "sgd") + float(settings.get("seed", 0))
            run = RunDir(FOLDER.path / f"{number:04d}")
            run.path.mkdir(parents=True, exist_ok=True)
            own = {"status": Status.COMPLETED, "best": Best("val/loss", "min", loss, 1, 10), "epochs": 2}
            own |= {"final": {"val/loss": loss, "accuracy": -loss}, "parameters": 5}
            write_info(run.info, RunInfo(**{**FIXED, **own, **self.given.get(f"run{number}", {})}, job=number))
            returns.append(JobReturn(status=JobStatus.COMPLETED, working_dir=str(run.path)))
        return returns


FIXED = {"id": "run", "task": "parabola", "engine": "vectorized", "seed": 0}


@cache
def space(*overrides: str) -> Space:
    with composed([], mode=RunMode.MULTIRUN) as found:
        loader = found.hydra.config_loader
        return space_of(overrides, ["seed", "task.fold"], loader, integers_of(found.config))


def test_each_kind_of_override_is_a_space_of_its_kind() -> None:
    found = space(
        "optimizer=adam,sgd",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
        "optimizer.weight_decay=interval(0,1)",
        "task.n_samples=interval(16,64)",
        "task.val_batch_size=tag(log,int(interval(1,64)))",
        "task.batch_size=range(8,33,8)",
        "optimizer.beta1=range(0.5,0.9,0.1)",
        "model.hidden=[4],[8,8]",
        "trainer.max_epochs=3",
        "+task.extra=range(3,0,-1)",
    )

    kinds = found.optuna()
    floats, ints = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    assert kinds == {
        "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd"]),
        "optimizer.lr": floats(1e-4, 1e-1, log=True),
        "optimizer.weight_decay": floats(0, 1),
        "task.n_samples": ints(16, 64),
        "task.val_batch_size": ints(1, 64, log=True),
        "task.batch_size": ints(8, 32, step=8),
        "optimizer.beta1": floats(0.5, 0.9, step=0.1),
        "model.hidden": optuna.distributions.CategoricalDistribution(["[4]", "[8,8]"]),
        "task.extra": ints(1, 3),
    }
    assert (found.searched["optimizer.beta1"], found.searched["+task.extra"]) == (
        Steps((0.5, 0.6, 0.7, 0.8, 0.9), 0.1),
        Steps((1, 2, 3)),
    )
    assert found.searched["optimizer"] == Choices(("adam", "sgd"))
    assert found.searched["task.n_samples"] == Interval(16.0, 64.0, whole=True)
    assert found.repeats == [("trainer.max_epochs=3",)]


def test_the_jobs_of_a_point_are_written_as_hydras_grid_would_write_them_one_for_each_seed() -> None:
    found = space("optimizer.beta1=range(0.5,0.9,0.1)", "task.n_samples=interval(16,64)", LR, "seed=1,2", "+x=1")

    jobs = found.jobs({"optimizer.beta1": 0.5 + 0.1 * 2, "task.n_samples": 20, "optimizer.lr": 1 / 300})

    own = ["optimizer.beta1=0.7", "task.n_samples=20", f"optimizer.lr={1 / 300!r}"]
    assert jobs == [[*own, "seed=1", "+x=1"], [*own, "seed=2", "+x=1"]]
    assert ["optimizer.beta1=0.9", "task.n_samples=16", "optimizer.lr=0.0001", "seed=1", "+x=1"] in found.edges()


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optimizer.lr=interval(2,1)", "needs a < b"),
        ("optimizer.lr=interval(0,1e400)", "needs a < b"),
        ("optimizer.lr=tag(log,interval(0,1))", "needs 0 < a < b"),
        ("task.n_samples=tag(log,range(0,9))", "no logarithm"),
        ("task.n_samples=range(5,5)", "gives no values"),
        ("task.n_samples=tag(log,range(1,9,2))", "in steps of 1"),
    ],
)
def test_what_cannot_be_searched_is_refused(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        space(override).optuna()


def session(
    surface: Surface,
    *overrides: str,
    study: optuna.Study | None = None,
    how: dict[str, bool] | None = None,
    **settings: Any,
) -> optuna.Study:
    """A study that is gone on with, in memory, and not trained."""
    found = Settings(**{"every": ["seed"], "max_jobs": 1000, **settings})
    wanted = [Objective(name, "minimize") for name in found.objectives or ["val/loss"]]
    wanted = [Objective(each.name, way) for each, way in zip(wanted, found.directions or ["minimize"], strict=True)]
    FOLDER.path.mkdir(exist_ok=True)
    with quietly():
        proposing = samplers(found.sampler, seed=found.seed, batch=found.batch)
        request = Request(FOLDER, space(*overrides), found, wanted, proposing)
        study = study or optuna.create_study(directions=[each.direction for each in wanted])
        Search(request, study, surface).run(**how or {})
    return study


@pytest.mark.usefixtures("workdir")
def test_a_search_finds_a_better_rate_than_its_random_start_and_the_same_seed_the_same_trials() -> None:
    overrides, settings = [LR, "optimizer=adam,sgd"], {"n_trials": 40, "batch": 8}

    found = session(Surface(), *overrides, **settings).trials
    same = session(Surface(), *overrides, **settings).trials
    other = session(Surface(), *overrides, seed=1, **settings).trials

    values = [trial.value for trial in found if trial.value is not None]
    assert min(values[10:]) < 0.1 * min(values[:10])
    assert points(same) == points(found)
    assert points(other)[0] != points(found)[0]


@pytest.mark.usefixtures("workdir")
@pytest.mark.parametrize("sampler", ["tpe", "random", "gp", "nsga2", "qmc"])
def test_a_search_in_two_sessions_proposes_what_it_proposes_in_one(sampler: str) -> None:
    overrides, settings = [LR, "optimizer=adam,sgd"], {"batch": 6, "sampler": sampler}

    before = session(Surface(), *overrides, n_trials=12, **settings)
    twice = session(Surface(), *overrides, n_trials=14, study=before, **settings).trials
    once = session(Surface(), *overrides, n_trials=14, **settings).trials

    assert len(points(twice)) == 14
    assert points(twice) == points(once)
    assert len({str(trial.params) for trial in twice[:10]}) == 10


def test_a_sampler_of_ones_own_has_its_settings_and_an_unknown_one_the_nearest_name() -> None:
    node = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3}

    found = samplers(node, seed=0, batch=4)(0)

    assert isinstance(found, optuna.samplers.TPESampler)
    assert found._n_startup_trials == 3
    with pytest.raises(ConfigError, match="did you mean tpe"):
        samplers("tpx", seed=0, batch=4)
    with pytest.raises(ConfigError, match="leave out hydra/sweeper=optuna"):
        samplers("grid", seed=0, batch=4)
    with pytest.raises(ConfigError, match="is not one of Optuna's samplers"):
        samplers({"_target_": "optuna.pruners.NopPruner"}, seed=0, batch=4)


@pytest.mark.usefixtures("workdir")
def test_several_objectives_leave_a_pareto_front_in_table_and_file(capsys: pytest.CaptureFixture[str]) -> None:
    surface = Surface(**{f"run{number}": {"parameters": 10 - number} for number in range(8)})
    goals = {"objectives": ["val/loss", "parameters", "accuracy"], "directions": ["minimize", "minimize", "maximize"]}

    study = session(surface, LR, n_trials=8, **goals)

    rows = list(csv.DictReader(FOLDER.trials.read_text().splitlines()))
    values = [(float(row["val/loss"]), float(row["parameters"])) for row in rows]
    front = [i for i, (a, b) in enumerate(values) if not any(c <= a and d <= b and (c, d) != (a, b) for c, d in values)]
    assert [i for i, row in enumerate(rows) if row["best"] == "1"] == front
    assert len(front) > 1
    assert f"Pareto front: {len(front)} of 8 trials: 8 completed" in capsys.readouterr().out
    assert study.trials[0].values[2] == -study.trials[0].values[0]


@pytest.mark.usefixtures("workdir")
def test_a_trial_is_told_the_mean_over_its_seeds_and_fails_where_one_of_them_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    diverged = {"status": Status.DIVERGED, "reason": "val/loss is nan"}
    surface = Surface(run2=diverged, run4={"reason": "halving after epoch 1: 3 of 4"})

    mean, failed, pruned, _ = session(surface, LR, "seed=0,1", n_trials=4).trials

    states = [trial.state for trial in (mean, failed, pruned)]
    assert mean.value == pytest.approx((math.log10(mean.params["optimizer.lr"]) + 2) ** 2 + 0.5)
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED]
    assert failed.user_attrs["reason"] == "run: val/loss is nan"
    assert pruned.intermediate_values == {2: pruned.value}
    assert "2 completed, 1 pruned, 1 diverged" in capsys.readouterr().out


@pytest.mark.usefixtures("workdir")
def test_a_failed_trial_is_tried_again_with_its_values_when_asked_to_and_a_diverged_one_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    surface = Surface(run1={"status": Status.FAILED, "reason": "no samples"}, run2={"status": Status.DIVERGED})
    study = session(surface, LR, n_trials=4)
    session(surface, LR, n_trials=4, study=study)

    session(surface, LR, n_trials=4, study=study, how={"retry_failed": True})

    assert surface.launched[4:] == [surface.launched[1]]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert "3 completed, 1 failed and tried again, 1 diverged" in capsys.readouterr().out


@pytest.mark.usefixtures("workdir")
def test_a_search_that_is_to_fail_fast_asks_for_no_further_batch() -> None:
    surface = Surface(run1={"status": Status.FAILED, "reason": "no samples"})

    study = session(surface, LR, n_trials=6, batch=2, how={"fail_fast": True})

    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]


@pytest.mark.usefixtures("workdir")
def test_an_objective_that_only_training_shows_to_be_missing_is_refused_and_nothing_is_told() -> None:
    study = optuna.create_study()

    with pytest.raises(ConfigError, match=r"r2 is never measured\n.*accuracy"):
        session(Surface(), LR, n_trials=2, objectives=["r2"], study=study)

    assert [trial.state for trial in study.trials] == [TrialState.RUNNING] * 2


@pytest.mark.usefixtures("workdir")
def test_a_study_in_a_database_is_gone_on_with_and_belongs_to_one_sweep() -> None:
    asked = {"objectives": {"val/loss": "minimize"}, "space": {"optimizer.lr": "0 to 1"}}
    storage = opened("sqlite:///study.db", FOLDER)
    study = begun(storage, "sweep", asked, FOLDER.path)
    study.add_trial(optuna.create_trial(value=1.0))
    FOLDER.path.mkdir()
    write_sweep(FOLDER.info, SweepInfo(id="sweep", task="parabola", status=Status.COMPLETED))

    again = begun(opened("sqlite:///study.db", FOLDER), "sweep", asked, FOLDER.path)

    assert [trial.value for trial in again.trials] == [1.0]
    with pytest.raises(ShoalError, match="belongs to the sweep"):
        begun(storage, "sweep", asked, Path("other"))
    with pytest.raises(ShoalError, match="val/loss: minimize -> maximize"):
        begun(storage, "sweep", {**asked, "objectives": {"val/loss": "maximize"}}, FOLDER.path)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["seed=0,1", "sweep.n_trials=4"], "a study needs a setting to search"),
        ([LR], "a study needs a number of trials"),
        ([LR, "sweep.n_trials=0"], "sweep.n_trials=0 (command line): must be an integer of at least 1"),
        ([LR, "sweep.n_trials=4", "sweep.n_samples=4"], "is for a sweep without Optuna"),
        ([LR, "sweep.n_trials=4", "sweep.objectives=[val/los]"], "did you mean val/loss?"),
        ([LR, "sweep.n_trials=4", "sweep.directions=[minimize,maximize]"], "each of the 1 objectives (val/loss)"),
        ([LR, "sweep.n_trials=4", "sweep.storage=sqlite:////nowhere/study.db"], "unable to open database file"),
        ([LR, "sweep.n_trials=4", "sweep.sampler=tpx"], "sweep.sampler=tpx (command line): no such sampler"),
        (["optimizer.lr=interval(-1,1)", "sweep.n_trials=4"], "optimizer.lr=-1.0 (command line): must be a number"),
        ([LR, "sweep.n_trials=4", "sweep.sampler=cmaes"], "sweep.sampler=cmaes (command line): needs "),
        ([LR, "seed=interval(0,1)", "sweep.n_trials=4"], "all of its values in every trial"),
        ([LR, "sweep.n_trials=30000"], "30,000 jobs"),
    ],
)
def test_bad_input_is_refused_in_three_lines_before_anything_trains(
    workdir: Path, overrides: list[str], problem: str
) -> None:
    assert problem in refused(*overrides)

    assert list(workdir.glob("sweep/0*")) == []


def test_a_number_of_trials_without_optuna_is_refused(workdir: Path) -> None:
    assert "add hydra/sweeper=optuna" in refused(LR, "sweep.n_trials=4", "hydra/sweeper=shoal")


def test_without_optuna_the_error_says_how_to_install_it(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "optuna" else there(name))

    assert "pip install 'shoal[optuna]'" in refused(LR, "sweep.n_trials=4")


def test_a_dry_run_shows_the_first_batch_and_objectives_that_go_where_the_runs_monitor_them(workdir: Path) -> None:
    monitored = ["callbacks.checkpoint.monitor=train/loss", "callbacks.checkpoint.mode=max"]
    goals = "sweep.objectives=[parameters,train/loss]"

    code, said, _ = searched(LR, *monitored, goals, "sweep.n_trials=6", "sweep.batch=3", "sweep.dry_run=true")

    assert code == 0
    assert "6 trials, 3 at a time, by tpe with seed 0: minimize parameters, maximize train/loss" in said
    assert "optimizer.lr  0.0001 to 0.1, log" in said
    assert "0002  optimizer.lr=" in said
    assert list(workdir.iterdir()) == []


def test_a_diverging_trial_fails_and_the_trained_ones_are_runs_of_a_sweep_like_any_other(workdir: Path) -> None:
    code, said, _ = searched("optimizer=sgd", "optimizer.lr=1e-2,1e9", "seed=0,1", "sweep.n_trials=4", "sweep.batch=2")

    info = read_sweep(FOLDER.info)
    states = {trial.params["optimizer.lr"]: trial.state.name for trial in trials()}
    best = next(trial for trial in trials() if trial.state is TrialState.COMPLETE)
    runs = [read_info(FOLDER.run(job).info) for job in info.jobs]
    assert code == 1
    assert states == {"0.01": "COMPLETE", "1000000000.0": "FAIL"}
    assert len(info.jobs) == 4, "a point that is proposed again is trained once"
    assert info.status is Status.FAILED
    assert info.study is not None
    assert info.study.best[0].number == best.number
    found = [run.best.value for run in runs if run.differs["optimizer.lr"] == 1e-2 and run.best]
    assert best.value == pytest.approx(sum(found) / 2)
    assert {run.engine for run in runs} == {"vectorized"}
    assert len(list(csv.DictReader(FOLDER.trials.read_text().splitlines()))) == 4
    assert "over seeds" in said


KILLED = [LR, "sweep.n_trials=4", "sweep.batch=2", "callbacks.checkpoint.every_seconds=0"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The trials of the search below, left in peace."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "sweep"
    code, *_ = searched(*KILLED, f"hydra.sweep.dir={folder}")
    assert code == 0
    return points(trials(str(folder)))


def killed(install: Callable[[Callable[[], None]], None]) -> None:
    """Search in another process, which kills itself where `install` says."""

    def work() -> int:
        install(lambda: os.kill(os.getpid(), signal.SIGKILL))
        return searched(*KILLED)[0]

    assert ended(forked(work)) == -signal.SIGKILL


def at_write(n: int, half: bool) -> Callable[[Callable[[], None]], None]:
    """Die at the journal's write number `n`: before it, or with half a line written and the journal's lock held."""

    def install(die: Callable[[], None]) -> None:
        count, write = [0], JournalFileBackend.append_logs

        def counted(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
            count[0] += 1
            if count[0] == n:
                if half:
                    with open(self._file_path, "ab") as file:
                        file.write(json.dumps(logs[0]).encode()[:-7])
                die()
            write(self, logs)

        JournalFileBackend.append_logs = counted  # type: ignore[method-assign]

    return install


def at_call(name: str, when: str) -> Callable[[Callable[[], None]], None]:
    """Die before or after the first call of a step of the search."""

    def install(die: Callable[[], None]) -> None:
        from shoal.app.search import searching

        step = getattr(searching.Search, name)

        def patched(*args: Any) -> Any:
            if when == "before":
                die()
            step(*args)
            return die()

        setattr(searching.Search, name, patched)

    return install


@pytest.mark.parametrize(
    "install",
    [
        pytest.param(at_write(4, half=True), id="a trial asked for in part and half a line of it written"),
        pytest.param(at_call("_launched", "before"), id="between ask and launch"),
        pytest.param(at_call("_launched", "after"), id="between launch and tell"),
        pytest.param(at_write(9, half=False), id="one of two told"),
        pytest.param(at_call("_told", "after"), id="between two batches"),
    ],
)
def test_a_search_that_is_killed_goes_on_and_comes_to_the_same_trials(
    install: Callable[[Callable[[], None]], None], workdir: Path, uninterrupted: list[Any]
) -> None:
    killed(install)
    before = {path: read_info(path) for path in Path("sweep").glob("*/run.json")}
    done = {path: run for path, run in before.items() if run.status is Status.COMPLETED}

    if FOLDER.info.exists():
        assert resume(FOLDER.path) == 0
    else:
        assert searched(*KILLED)[0] == 0

    assert points(trials()) == uninterrupted
    assert {path: (run.sessions, run.ended) for path, run in done.items()} == {
        path: (1, read_info(path).ended) for path in done
    }
    assert [job.status for job in read_sweep(FOLDER.info).jobs] == [Status.COMPLETED] * 4
    assert read_sweep(FOLDER.info).status is Status.COMPLETED


def test_a_finished_search_has_nothing_to_do_and_resume_takes_more_trials(workdir: Path) -> None:
    searched(LR, "sweep.n_trials=2")
    first = [read_info(path).ended for path in sorted(Path("sweep").glob("*/run.json"))]

    more = resume(FOLDER.path, ["sweep.n_trials=3"])
    nothing = resume(FOLDER.path)
    _, page = typed("shoal show sweep")

    assert (more, nothing) == (0, 0)
    assert "3 trials by tpe: minimize val/loss" in page
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] * 3
    assert [read_info(path).ended for path in sorted(Path("sweep").glob("*/run.json"))][:2] == first
    assert "optimizer.lr: 0.0001 to 0.1, log -> 0.0001 to 0.1" in refused(
        "optimizer.lr=interval(1e-4,1e-1)", "sweep.n_trials=4"
    )
    with pytest.raises(ShoalError, match="stay as they are"):
        resume(FOLDER.path, ["optimizer=sgd"])
