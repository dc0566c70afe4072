"""What a command line asks of a study, all of it checked before anything trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from hydra.types import HydraContext
from omegaconf import DictConfig

from shoal.app.search.samplers import Samplers, sampler_name, samplers
from shoal.app.search.space import Space, space_of
from shoal.app.search.studies import quietly
from shoal.config.compose import SWEEP
from shoal.config.hydra_config import read_from, typed
from shoal.config.multirun.compositions import Composer
from shoal.config.multirun.folds import every_fold
from shoal.config.multirun.job_config import JobConfig, job_config
from shoal.config.multirun.ranges import integers_of
from shoal.config.multirun.sweep_settings import as_form, node_of
from shoal.config.origins import Origins, located
from shoal.errors import ConfigError, UsageError
from shoal.rundir import StudyInfo, SweepDir
from shoal.startup import cheap_imports

if TYPE_CHECKING:
    from shoal.app.search.objectives import Goal

ELSEWHERE = ("zip", "jobs", "n_samples")
"""Settings of the other ways to choose jobs."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a study goes. The file conf/train.yaml has the defaults and the meanings."""

    n_trials: Annotated[int, Ge(1)]
    batch: Annotated[int, Ge(1)]
    sampler: Any
    seed: int
    every: list[str]
    max_jobs: Annotated[int, Ge(1)]
    objectives: list[str] | None
    directions: list[Literal["minimize", "maximize"]] | None
    storage: str | None
    study: str | None


@dataclass(frozen=True)
class Request:
    """What a study is to do."""

    folder: SweepDir
    space: Space
    settings: SearchSettings
    objectives: Sequence[Goal]
    samplers: Samplers

    @property
    def name(self) -> str:
        """What the study is called in its storage."""
        return self.settings.study or self.folder.path.resolve().name

    @property
    def directions(self) -> dict[str, str]:
        """Where each objective should go."""
        return {each.name: each.direction for each in self.objectives}

    @property
    def info(self) -> StudyInfo:
        """What sweep.json says of it as it begins."""
        return StudyInfo(
            name=self.name,
            sampler=sampler_name(self.settings.sampler),
            objectives=self.directions,
            over=self.space.in_words(),
            n_trials=self.settings.n_trials,
        )

    def __str__(self) -> str:
        n, seed = len(self.space.repeats), self.settings.seed
        runs = f" of {n} runs" if n > 1 else ""
        at_a_time = min(self.settings.batch, self.settings.n_trials)
        goals = ", ".join(f"{direction} {name}" for name, direction in self.directions.items())
        width = max(map(len, self.info.over))
        lines = [f"  {name.ljust(width)}  {found}" for name, found in self.info.over.items()]
        head = (
            f"study {self.name}: {self.settings.n_trials} trials{runs}, {at_a_time} at a time, by {self.info.sampler}"
        )
        at_random = ", ".join(self.space.words) if self.info.sampler == "cmaes" else ""
        notes = [f"  drawn at random by cmaes, which knows numbers only: {at_random}"] if at_random else []
        return "\n".join([f"{head} with seed {seed}: {goals}", *lines, *notes])


def requested(
    config: DictConfig, context: HydraContext, arguments: Sequence[str], params: Mapping[str, Any]
) -> Request:
    """The study that the overrides in `arguments` ask for, after those of the sweeper's own `params`.

    Raises:
        ShoalError: where what is asked for is wrong.
    """
    overrides = every_fold([*(f"{key}={each}" for key, each in params.items()), *arguments])
    with located(Origins(typed(config.hydra))):
        settings = _settings(config)
        space = _space(config, context, overrides, settings)
        edges = _edges(config, context, space)  # what cannot be composed is told before Optuna and torch are loaded
        with quietly():
            return _request(config, space, settings, edges)


def _request(config: DictConfig, space: Space, settings: SearchSettings, edges: Sequence[JobConfig]) -> Request:
    """The request, once every choice and both ends of every interval have been built, and so checked."""
    space.optuna()
    if settings.sampler == "cmaes" and len(space.varies) - len(space.words) < 2:
        problem = "needs two settings at least that are numbers, from range(a,b) or interval(a,b)"
        raise ConfigError("sweep.sampler", "cmaes", problem, hint="for one number, tpe or gp")
    proposing = samplers(settings.sampler, seed=settings.seed, batch=settings.batch)
    with cheap_imports():
        from shoal.app.search.objectives import objectives
        from shoal.build.checked_job import job as build

    jobs = []
    for edge in edges:
        with located(Origins(edge.overrides)):
            jobs.append(build(edge.values))
    wanted = objectives(jobs[0], settings.objectives, settings.directions)
    return Request(SweepDir(Path(str(config.hydra.sweep.dir))), space, settings, wanted, proposing)


def _space(config: DictConfig, context: HydraContext, overrides: Sequence[str], settings: SearchSettings) -> Space:
    space = space_of(overrides, settings.every, context.config_loader, integers_of(config))
    n = settings.n_trials * len(space.repeats)
    if n > settings.max_jobs:
        counts = f"{settings.n_trials} trials x {len(space.repeats)} runs"
        raise UsageError(
            f"the study has {n:,} jobs ({counts}), more than sweep.max_jobs={settings.max_jobs}",
            hint=f"if you mean it: sweep.max_jobs={n}",
        )
    return space


def _edges(config: DictConfig, context: HydraContext, space: Space) -> list[JobConfig]:
    with read_from(config):
        composer, known = Composer(context.config_loader, config), dict[str, Any]()
        found = []
        for number, overrides in enumerate(space.edges()):
            with located(Origins(overrides)):
                found.append(job_config(composer, overrides, number, known))
        return found


def _settings(config: DictConfig) -> SearchSettings:
    node = node_of(config)
    for name in ELSEWHERE:
        if node.get(name) is not None:
            hint = "with Optuna say how many trials: sweep.n_trials=64"
            key = f"{SWEEP}.{name}"
            raise ConfigError(key, node[name], "is for a sweep without Optuna", hint=hint)
    if node.get("n_trials") is None:
        raise UsageError("a study needs a number of trials", hint="for example sweep.n_trials=64")
    return as_form(SearchSettings, node)
