"""Searches with Optuna: from the command line, or told results that are known without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import yaml
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import RunMode
from optuna.trial import FrozenTrial

from checkout import ROOT
from commands import Ended, trained
from shoal.app.search.objectives import Goal
from shoal.app.search.request import Request, SearchSettings
from shoal.app.search.samplers import samplers
from shoal.app.search.searching import Search
from shoal.app.search.space import Space, space_of
from shoal.app.search.studies import opened, quietly
from shoal.config.compose import composed
from shoal.config.multirun.ranges import integers_of
from shoal.config.multirun.sweep_settings import as_form
from shoal.rundir import RunDir, RunInfo, Status, SweepDir, write_info
from shoal.rundir.info import Best

SMALL = ["task=parabola", "task.n_samples=40", "task.batch_size=8", "model.hidden=[4]", "trainer.max_epochs=2"]
LR = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
FOLDER = SweepDir(Path("sweep"))
FIXED = {"id": "run", "task": "parabola", "engine": "vectorized", "seed": 0}


def searched(*overrides: str) -> Ended:
    """A search from the command line, in this process."""
    return trained("-m", "hydra/sweeper=optuna", *SMALL, "sweep.processes=0", "hydra.sweep.dir=sweep", *overrides)


def refused(*overrides: str) -> str:
    """What is said, in three lines at most, where a search is refused."""
    code, _, complained = searched(*overrides)
    assert code == 2
    assert len(complained.splitlines()) <= 3
    return complained


def trials(folder: str = "sweep") -> list[FrozenTrial]:
    """The trials of a search from the command line."""
    with opened(None, SweepDir(Path(folder))) as storage:
        return optuna.load_study(study_name="sweep", storage=storage).trials


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


@cache
def space(*overrides: str) -> Space:
    """What these overrides search."""
    with composed([], mode=RunMode.MULTIRUN) as found:
        loader = found.hydra.config_loader
        return space_of(overrides, ["seed", "task.fold"], loader, integers_of(found.config))


def session(
    surface: Surface,
    *overrides: str,
    study: optuna.Study | None = None,
    how: dict[str, bool] | None = None,
    **settings: Any,
) -> optuna.Study:
    """A study that is gone on with, in memory, and not trained."""
    defaults = yaml.safe_load((ROOT / "conf/train.yaml").read_text(encoding="utf-8"))["sweep"]
    found = as_form(SearchSettings, {**defaults, "every": ["seed"], **settings})
    wanted = [Goal(name, "minimize") for name in found.objectives or ["val/loss"]]
    wanted = [Goal(each.name, way) for each, way in zip(wanted, found.directions or ["minimize"], strict=True)]
    FOLDER.path.mkdir(exist_ok=True)
    with quietly():
        proposing = samplers(found.sampler, seed=found.seed, batch=found.batch)
        request = Request(FOLDER, space(*overrides), found, wanted, proposing)
        study = study or optuna.create_study(directions=[each.direction for each in wanted])
        Search(request, study, surface).run(**how or {})
    return study
