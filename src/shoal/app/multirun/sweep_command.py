"""The commands that begin a sweep and that finish one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, RunMode

from shoal.app.multirun.launch import launch
from shoal.app.multirun.other_launcher import alone
from shoal.build.importing import importing
from shoal.config.compose import SWEEP, composed, of_sweep
from shoal.config.hydra_config import WORKERS, typed
from shoal.config.multirun.swept import refuse_empty
from shoal.config.multirun.unfollowed import refuse_several_processes
from shoal.errors import UsageError
from shoal.override_words import key_of
from shoal.rundir import SweepDir, missed, read_sweep
from shoal.rundir.log import quiet_logging
from shoal.sweeps.executors import let_go


def sweep(
    overrides: Sequence[str], *, config_dir: str | None = None, config_name: str | None = None
) -> tuple[SweepDir, bool]:
    """Run the sweep that the overrides ask for; where it lies, and whether anything in it failed or was missed.

    Raises:
        ShoalError: where a job's configuration is wrong (nothing was trained), or the sweep was interrupted.
    """
    # Before anything is composed: each of the processes would say the same.
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
        # As Hydra's own main hands them to a sweeper.
        arguments = typed(found.config.hydra)
        try:
            returns = sweeper.sweep(arguments=arguments)
        finally:
            let_go()
        callbacks.on_multirun_end(config=found.config, config_name=config_name)
        folder = SweepDir(Path(str(found.config.hydra.sweep.dir)))
    # By the record as well: what is expected of a sweep as a whole is in no job's return.
    return folder, _any_missed(folder) or _any_failed(returns)


def resume(path: Path, overrides: Sequence[str] = ()) -> tuple[SweepDir, bool]:
    """Do what is missing of the sweep in `path`; where it lies, and whether anything in it failed.

    Raises:
        ShoalError: where it is no sweep, its configuration has changed since, or it is interrupted again.
    """
    refuse_several_processes()
    info = read_sweep(SweepDir(path).info)
    other = next((line for line in overrides if not of_sweep(line)), None)
    if other:
        raise UsageError(
            f"{other}: the jobs of a sweep that has begun stay as they are", hint="a new sweep can have it"
        )
    args = get_args_parser().parse_args(info.command[1:])
    # The jobs are those of sweep.json: of the command only how and where they train is asked for again.
    own = [line for line in args.overrides if key_of(line).startswith("hydra") or of_sweep(line)]
    # In quotes, for Hydra's grammar would take many a path apart.
    place = "hydra.sweep.dir=" + Override._get_value_element_as_str(QuotedString(str(path), Quote.single))
    if info.study:
        # A study is asked again: its jobs are not known before its trials are told.
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
    """The overrides, without those that a later one replaces and those that belong to other workers."""
    # `workers=local` after `workers=slurm workers.n=4`: settings of other workers would be no settings any more.
    chosen = max((i for i, line in enumerate(overrides) if line.startswith(f"{WORKERS}=")), default=0)
    kept = [line for i, line in enumerate(overrides) if i >= chosen or not line.startswith(WORKERS)]
    return list({key_of(line): line for line in kept}.values())


def _any_missed(folder: SweepDir) -> bool:
    """Whether a sweep is not what its experiment expects."""
    info = folder.info
    return info.exists() and missed(read_sweep(info).expected)


def _any_failed(returns: Any) -> bool:
    if isinstance(returns, JobReturn):
        return returns.status is JobStatus.FAILED
    # Hydra's sweepers return a list, or a list for each batch.
    return isinstance(returns, list | tuple) and any(_any_failed(each) for each in returns)
