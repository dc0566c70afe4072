"""Sweeps, between Hydra and the layer that trains them: every job composed and checked before anything trains."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from shoal.app.multirun.job_callbacks import JobCallbacks
from shoal.app.multirun.job_return import tell
from shoal.app.multirun.launch_request import Asked
from shoal.app.multirun.sweep_and_workers import checked_for, terms_of
from shoal.config.compose import PRIMARY, SWEEP
from shoal.config.hydra_config import read_from, typed, unread
from shoal.config.multirun.compositions import Composer
from shoal.config.multirun.folds import every_fold
from shoal.config.multirun.grids import GridSettings, expanded
from shoal.config.multirun.job_config import JobConfig, job_config
from shoal.config.multirun.ranges import integers_of
from shoal.config.multirun.sweep_settings import as_form, node_of
from shoal.config.multirun.unfollowed import refuse_unfollowed
from shoal.config.origins import Origins, located
from shoal.errors import ConfigError
from shoal.instructions import PORTABLE, choose
from shoal.rundir import RunInfo, StudyInfo, SweepDir
from shoal.rundir.atomic import unwritable
from shoal.rundir.layout import job_name
from shoal.startup import cheap_imports, is_own_process, keep_what_is_imported
from shoal.sweeps.executors import expected


def launch_all(
    launcher: Any, config: DictConfig, context: HydraContext, arguments: Sequence[str], given: Mapping[str, Any]
) -> list[JobReturn]:
    """Launch every job that the overrides in `arguments` ask for, in the way the sweeper's options say."""
    options = {name: _plain(value) for name, value in given.items()}
    # A setting of Hydra's basic sweeper, with its meaning.
    size = options.pop("max_batch_size", None)
    params = [f"{key}={value}" for key, value in (options.pop("params", None) or {}).items()]
    with located(Origins(typed(config.hydra))):
        node_of(config)  # of which these options are some: what stands in its place is told before they are missed
        chosen = as_form(GridSettings, options)
    overrides = every_fold([*params, *arguments], chosen.jobs or ())
    if OmegaConf.select(config, f"{SWEEP}.n_trials") is not None:
        n, source = config[SWEEP].n_trials, Origins(typed(config.hydra)).of(f"{SWEEP}.n_trials")
        raise ConfigError(f"{SWEEP}.n_trials", n, "is for a search", hint="add hydra/sweeper=optuna", source=source)
    jobs = expanded(overrides, chosen, context.config_loader, integers_of(config))
    folder = Path(str(config.hydra.sweep.dir))
    terms = terms_of(config)  # what is wrong with them is told before there is a directory
    # All at once unless said otherwise: the more jobs are known, the fuller the stacks.
    size = size or len(jobs)
    returns: list[JobReturn] = []
    with nullcontext() if terms.settings.dry_run else _described(folder, config):
        for first in range(0, len(jobs), size):
            launcher.more = first + size < len(jobs)
            returns += launcher.launch(jobs[first : first + size], initial_job_idx=first)
    return returns


@contextmanager
def _described(folder: Path, config: DictConfig) -> Iterator[None]:
    """Write what is asked for into the directory of a sweep, and remove both again where nothing came of it."""
    description = folder / "multirun.yaml"
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, description)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    except BaseException:
        # A job that is refused leaves nothing behind, as a run that is refused does.
        if os.listdir(folder) == [description.name]:
            description.unlink()
            with suppress(OSError):  # another sweep is in it by now
                for each in made:
                    each.rmdir()
        raise


def launch(
    config: DictConfig,
    context: HydraContext,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    *,
    command: Sequence[str] | None = None,
    study: StudyInfo | None = None,
    more: bool = False,
) -> list[JobReturn]:
    """Train jobs, all of them checked first; what became of each, in their order.

    `study` is what searches, where the jobs are trials; there will be `more` of them.

    Raises:
        ShoalError: where a job's configuration is wrong (nothing was trained), or the sweep was interrupted.
    """
    refuse_unfollowed(config)
    folder = SweepDir(Path(str(config.hydra.sweep.dir)))
    terms = terms_of(config)
    callbacks = JobCallbacks(context.callbacks, folder.path) if context.callbacks.callbacks else None
    with read_from(config), checked_for(config), ExitStack() as until_the_end:
        composing = compose_each(config, context.config_loader, job_overrides)
        # The first alone, which says how all compute: workers get ready while the others are composed.
        jobs = list(islice(composing, 1))
        with of_job(0, jobs[0].overrides):
            choose(jobs[0].values.get("numerics"))  # before there is a process that has torch
        begun = None
        if terms.hosts.places() and not terms.settings.dry_run:
            # Processes side by side are the parallel part; it is read when torch is loaded, so before they start.
            os.environ.setdefault("OMP_NUM_THREADS", "1")
            # What trains there may be a copy of this process, and has no configuration of Hydra's.
            with unread():
                begun = until_the_end.enter_context(expected(terms.hosts, len(job_overrides), more=more))
        jobs += composing
        refuse_mixed(jobs)
        if study is None:
            _tell_of_repeated(jobs)
        with cheap_imports():
            from shoal.app.multirun.sweeping import Sweeping
        if is_own_process():  # the jobs are needed to the end, too
            keep_what_is_imported()
        asked = Asked(
            folder=folder,
            jobs={job.hash: job for job in jobs},
            settings=terms.settings,
            hosts=terms.hosts,
            begun=begun,
            command=command or command_of(config),
            first=first,
            study=study,
            more=more,
            callbacks=callbacks,
        )
        results = Sweeping(asked).run()
    return [_returned(folder, job, results.get(job.hash)) for job in jobs]


def compose_each(
    config: DictConfig, loader: ConfigLoader, job_overrides: Sequence[Sequence[str]]
) -> Iterator[JobConfig]:
    """The configuration of every job.

    Raises:
        ShoalError: for the first one that cannot be composed; it says which.
    """
    # One for all jobs: it remembers what they have in common.
    composer = Composer(loader, config)
    known: dict[str, Any] = {}
    for number, overrides in enumerate(job_overrides):
        with of_job(number, overrides):
            job = job_config(composer, overrides, number, known)
        yield job


def refuse_mixed(jobs: Sequence[JobConfig]) -> None:
    """Refuse jobs of which only some are to compute portably: the processes of a sweep have one environment.

    Raises:
        ConfigError: for the first that is unlike the first of all.
    """
    first = jobs[0].values.get("numerics")
    for number, job in enumerate(jobs):
        value = job.values.get("numerics")
        # Portable numerics are chosen by the environment of a process, before torch is loaded.
        if (value == PORTABLE) != (first == PORTABLE):
            problem = f"is another than job 0 has, {first}: all runs of a sweep compute alike"
            with of_job(number, job.overrides):
                raise ConfigError("numerics", value, problem, hint="make a sweep of each")


def _tell_of_repeated(jobs: Sequence[JobConfig]) -> None:
    """Say that there will be fewer runs than jobs: samples that were drawn twice, or values that are given twice."""
    n = len(jobs) - len({job.hash for job in jobs})
    if n:
        print(f"{n} of {len(jobs)} jobs {'is' if n == 1 else 'are'} as one before: they share a run")


@contextmanager
def of_job(number: int, overrides: Sequence[str]) -> Iterator[None]:
    """Say of an error in which job it is."""
    try:
        yield
    except ConfigError as error:
        source = error.source or Origins(overrides).of(error.key)
        raise error.at(source=f"job {number}, {source}") from error


def _returned(folder: SweepDir, job: JobConfig, info: RunInfo | None) -> JobReturn:
    found = JobReturn(overrides=list(job.overrides), task_name="train")
    if info is None:
        # It has not begun, as after an interruption or in a dry run.
        found.status, found.return_value = JobStatus.UNKNOWN, None
        return found
    if info.job is not None:
        found.working_dir = str(folder.path / job_name(info.job))
    return tell(found, info)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def command_of(config: DictConfig) -> list[str]:
    """The command line that asks for this sweep."""
    hydra = config.hydra
    # What the search path holds as the user's own came by `--config-dir`, or is conf/ here.
    folders = [each.path for each in hydra.runtime.config_sources if each.provider == "user"]
    options = [word for folder in folders for word in ("--config-dir", str(folder))]
    if hydra.job.config_name != PRIMARY:
        options += ["--config-name", str(hydra.job.config_name)]
    return ["train.py", "-m", *options, *typed(hydra), *typed(hydra, "hydra")]
