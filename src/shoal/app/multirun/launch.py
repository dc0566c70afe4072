"""Sweeps, between Hydra and the layer that trains them: every job composed and checked before anything trains."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from shoal.app.multirun.asked import Asked
from shoal.app.multirun.job_callbacks import JobCallbacks
from shoal.app.multirun.returned import objective, tell
from shoal.build.importing import importing
from shoal.config.compose import PRIMARY, SWEEP, composed
from shoal.config.hydra_config import chosen_options, read_from
from shoal.config.multirun.compositions import Composer
from shoal.config.multirun.distributions import integers_of
from shoal.config.multirun.folds import every_fold
from shoal.config.multirun.grids import GridSettings, expanded
from shoal.config.multirun.job_config import JobConfig, described
from shoal.config.multirun.sweep_settings import as_form, settings_of
from shoal.config.multirun.swept import refuse_empty
from shoal.config.multirun.unfollowed import refuse_several_processes, refuse_unfollowed
from shoal.config.origins import Origins, located
from shoal.errors import ConfigError, UsageError, brief
from shoal.instructions import PORTABLE, choose
from shoal.origin import starting_at
from shoal.rundir import RunInfo, StudyInfo, SweepDir, read_sweep
from shoal.rundir.atomic import unwritable
from shoal.rundir.layout import job_name
from shoal.rundir.log import quiet_logging
from shoal.startup import cheap_imports


def sweep(
    overrides: Sequence[str], *, config_dir: str | None = None, config_name: str | None = None
) -> tuple[SweepDir, bool]:
    """Run the sweep that the overrides ask for; where it lies, and whether anything in it failed or was missed.

    Raises:
        ShoalError: where a job's configuration is wrong (nothing was trained), or the sweep was interrupted.
    """
    refuse_several_processes()
    with (
        quiet_logging(),
        importing(),
        composed(overrides, config_dir=config_dir, config_name=config_name, mode=RunMode.MULTIRUN) as found,
    ):
        refuse_empty(found.config, found.hydra.config_loader)
        callbacks = Callbacks(found.config)
        callbacks.on_multirun_start(config=found.config, config_name=config_name)
        sweeper = Plugins.instance().instantiate_sweeper(
            config=found.config,
            hydra_context=HydraContext(config_loader=found.hydra.config_loader, callbacks=callbacks),
            task_function=alone,
        )
        arguments: Any = OmegaConf.to_container(found.config.hydra.overrides.task, resolve=False)
        returns = sweeper.sweep(arguments=arguments)
        callbacks.on_multirun_end(config=found.config, config_name=config_name)
        folder = SweepDir(Path(str(found.config.hydra.sweep.dir)))
    return folder, _any_missed(folder) or _any_failed(returns)


def resume(path: Path, overrides: Sequence[str] = ()) -> tuple[SweepDir, bool]:
    """Do what is missing of the sweep in `path`; where it lies, and whether anything in it failed.

    Raises:
        ShoalError: where it is no sweep, its configuration has changed since, or it is interrupted again.
    """
    refuse_several_processes()
    info = read_sweep(SweepDir(path).info)
    other = next((line for line in overrides if not line.lstrip("+").startswith(f"{SWEEP}.")), None)
    if other:
        raise UsageError(
            f"{other}: the jobs of a sweep that has begun stay as they are", hint="a new sweep can have it"
        )
    args = get_args_parser().parse_args(info.command[1:])
    own = [line for line in args.overrides if line.lstrip("+").startswith(("hydra", f"{SWEEP}."))]
    place = "hydra.sweep.dir=" + Override._get_value_element_as_str(QuotedString(str(path), Quote.single))
    if info.study:
        whole = _merged([*args.overrides, place, f"{SWEEP}.study={info.study.name}", *overrides])
        return sweep(whole, config_dir=args.config_dir, config_name=args.config_name)
    with (
        quiet_logging(),
        importing(),
        composed(
            _merged([*own, place, *overrides]),
            config_dir=args.config_dir,
            config_name=args.config_name,
            mode=RunMode.MULTIRUN,
        ) as found,
    ):
        callbacks = Callbacks(found.config)
        callbacks.on_multirun_start(config=found.config, config_name=args.config_name)
        context = HydraContext(config_loader=found.hydra.config_loader, callbacks=callbacks)
        jobs = [job.overrides for job in info.jobs]
        returns = launch(found.config, context, jobs, 0, command=info.command)
        callbacks.on_multirun_end(config=found.config, config_name=args.config_name)
    return SweepDir(path), _any_failed(returns)


def _merged(overrides: Sequence[str]) -> list[str]:
    """The overrides without those that a later one of the same setting beats."""
    return list({line.lstrip("+").partition("=")[0]: line for line in overrides}.values())


def _any_missed(folder: SweepDir) -> bool:
    """Whether a sweep is not what its experiment expects."""
    info = folder.info
    return info.exists() and any(not each["holds"] for each in read_sweep(info).expected)


def _any_failed(returns: Any) -> bool:
    if isinstance(returns, JobReturn):
        return returns.status is JobStatus.FAILED
    return isinstance(returns, list | tuple) and any(_any_failed(each) for each in returns)


def launch_all(
    launcher: Any, config: DictConfig, context: HydraContext, arguments: Sequence[str], given: Mapping[str, Any]
) -> list[JobReturn]:
    """Launch every job that the overrides in `arguments` ask for, in the way the sweeper's options say."""
    options = {name: _plain(value) for name, value in given.items()}
    size = options.pop("max_batch_size", None)
    params = [f"{key}={value}" for key, value in (options.pop("params", None) or {}).items()]
    with located(Origins(list(config.hydra.overrides.task))):
        chosen = as_form(GridSettings, options)
    overrides = every_fold([*params, *arguments], chosen.jobs or ())
    if OmegaConf.select(config, f"{SWEEP}.n_trials") is not None:
        n, source = config[SWEEP].n_trials, Origins(list(config.hydra.overrides.task)).of(f"{SWEEP}.n_trials")
        raise ConfigError(f"{SWEEP}.n_trials", n, "is for a search", hint="add hydra/sweeper=optuna", source=source)
    jobs = expanded(overrides, chosen, context.config_loader, integers_of(config))
    folder = Path(str(config.hydra.sweep.dir))
    if not settings_of(config).dry_run:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            OmegaConf.save(config, folder / "multirun.yaml")
        except OSError as error:
            raise unwritable(folder, error) from error
    size = size or len(jobs)
    returns: list[JobReturn] = []
    for first in range(0, len(jobs), size):
        launcher.more = first + size < len(jobs)
        returns += launcher.launch(jobs[first : first + size], initial_job_idx=first)
    return returns


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
    from shoal.sweeps.processes import warm_up

    refuse_unfollowed(config)
    folder = SweepDir(Path(str(config.hydra.sweep.dir)))
    settings = settings_of(config)
    callbacks = JobCallbacks(context.callbacks, folder.path) if context.callbacks.callbacks else None
    with read_from(config):
        composing = compose_each(config, context.config_loader, job_overrides)
        jobs = list(islice(composing, 1))
        with of_job(0, jobs[0].overrides):
            choose(jobs[0].values.get("numerics"))  # before there is a process that has torch
        if settings.workers and not settings.dry_run:
            os.environ.setdefault("OMP_NUM_THREADS", "1")
            warm_up()
        jobs += composing
        refuse_mixed(jobs)
        with cheap_imports():
            from shoal.app.multirun.sweeping import Sweeping
        asked = Asked(
            folder=folder,
            jobs={job.hash: job for job in jobs},
            settings=settings,
            command=command or _command(config),
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
    composer = Composer(loader, config)
    known: dict[str, Any] = {}
    for number, overrides in enumerate(job_overrides):
        with of_job(number, overrides):
            job = described(composer, overrides, number, known)
        yield job


def refuse_mixed(jobs: Sequence[JobConfig]) -> None:
    """Refuse jobs of which only some are to compute portably: the processes of a sweep have one environment.

    Raises:
        ConfigError: for the first that is unlike the first of all.
    """
    first = jobs[0].values.get("numerics")
    for number, job in enumerate(jobs):
        value = job.values.get("numerics")
        if (value == PORTABLE) != (first == PORTABLE):
            problem = f"is another than job 0 has, {first}: all runs of a sweep compute alike"
            with of_job(number, job.overrides):
                raise ConfigError("numerics", value, problem, hint="make a sweep of each")


@contextmanager
def of_job(number: int, overrides: Sequence[str]) -> Iterator[None]:
    """Say of an error in which job it is."""
    try:
        yield
    except ConfigError as error:
        source = error.source or Origins(overrides).of(error.key)
        raise error.at(source=f"job {number}, {source}") from error


def alone(config: DictConfig) -> Any:
    """One job under a launcher that is not shoal's own: Hydra has made its directory, and waits for the objective.

    What goes wrong is told here: Hydra keeps it to itself.
    """
    try:
        with starting_at(HydraConfig.get().runtime.cwd):
            return _alone(config)
    except Exception as error:
        print(f"failed  job {HydraConfig.get().job.num}: {brief(error)}", file=sys.stderr, flush=True)
        raise


def _alone(config: DictConfig) -> float | None:
    from shoal.rundir import RunDir

    hydra = HydraConfig.get()
    values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    values.pop(SWEEP, None)
    run = RunDir(Path(hydra.runtime.output_dir))
    if run.info.exists():
        raise UsageError(f"{run.path} holds a run already", hint="choose another hydra.sweep.dir")
    choices = chosen_options(hydra.runtime.choices)
    overrides = [str(line) for line in hydra.overrides.task]
    with of_job(int(hydra.job.num), overrides):
        choose(values.get("numerics"))
        from shoal.app.work import work

        todo = work(values)
    info = RunInfo.new(
        f"{run.path.parent.name}-{run.path.name}",
        values,
        choices,
        command=_command(DictConfig({"hydra": hydra})),
        overrides=overrides,
        job=int(hydra.job.num),
    )
    return objective(todo.do(run, info))


def _returned(folder: SweepDir, job: JobConfig, info: RunInfo | None) -> JobReturn:
    found = JobReturn(overrides=list(job.overrides), task_name="train")
    if info is None:
        found.status, found.return_value = JobStatus.UNKNOWN, None
        return found
    if info.job is not None:
        found.working_dir = str(folder.path / job_name(info.job))
    return tell(found, info)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _command(config: DictConfig) -> list[str]:
    """The command line that asks for this sweep."""
    hydra = config.hydra
    folders = [each.path for each in hydra.runtime.config_sources if each.provider == "user"]
    options = [word for folder in folders for word in ("--config-dir", str(folder))]
    if hydra.job.config_name != PRIMARY:
        options += ["--config-name", str(hydra.job.config_name)]
    return ["train.py", "-m", *options, *hydra.overrides.task, *hydra.overrides.hydra]
