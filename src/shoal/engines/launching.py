"""Makes every Trainer, and decides who starts its processes.

Lightning takes SLURM for its launcher wherever SLURM_NTASKS is set. It is in every batch script and every interactive
allocation, where nothing but `srun` starts further processes: a training would wait for them, or be refused. And where
there is an `srun` that has not started the process, which is every login node, Lightning warns at each Trainer.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.lsf import LSFEnvironment
from lightning_fabric.plugins.environments.mpi import MPIEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.strategies.launchers import _MultiProcessingLauncher

from shoal.engines import srun
from shoal.errors import ConfigError
from shoal.machine import PLACE, trains_here

log = logging.getLogger("shoal")

_BY_HAND = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR")
"""What is set where somebody starts the process of each node."""


def trainer(*, plugins: Any = None, **arguments: Any) -> pl.Trainer:
    """A Trainer with these arguments, told which program starts its processes.

    It leaves the signals of the process alone, and loads no checkpoint but the one that it is given: under SLURM,
    Lightning would requeue the job at a signal, and go on from any `hpc_ckpt_1.ckpt` in the working directory.
    """
    given = _listed(plugins)
    chosen = None if _says_who_starts([*given, arguments.get("strategy")]) else _environment()
    made = pl.Trainer(**arguments, plugins=[*given, chosen] if chosen else given)
    made._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
    made._checkpoint_connector._parse_ckpt_path = _as_given  # type: ignore[method-assign, assignment]
    return made


def in_one_process(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a Trainer that works in this process alone, whatever started it: on one of the devices."""
    devices = settings.get("devices", 1)
    one = devices if isinstance(devices, list | tuple) and len(devices) == 1 else _own_device(settings)
    plugins = [each for each in _listed(settings.get("plugins")) if not isinstance(each, ClusterEnvironment)]
    alone = {"devices": one, "num_nodes": 1, "strategy": "auto", "plugins": [*plugins, LightningEnvironment()]}
    return {**settings, **alone}


def _own_device(settings: Mapping[str, Any]) -> int | list[int]:
    """One device; where there are several, each worker of this machine has its own."""
    # `place` is the worker's number on its machine; a run by itself has none, and Lightning chooses.
    place, accelerator = os.environ.get(PLACE), str(settings.get("accelerator", "auto"))
    n = n_devices(accelerator) if place else 1
    # Where there are more workers than devices, several share one.
    return [int(place) % n] if place and n > 1 else 1


def device_of(settings: Mapping[str, Any]) -> torch.device:
    """Where a Trainer with these settings computes that works in this process alone: its accelerator says so."""
    accelerator: Any = _accelerator(str(settings.get("accelerator", "auto")))
    [device] = accelerator.get_parallel_devices(accelerator.parse_devices(in_one_process(settings)["devices"]))
    assert isinstance(device, torch.device)
    return device


def on_host(accelerator: str) -> bool:
    """Whether it computes in main memory: a CPU does."""
    # The usual case first: for any other name a Trainer is made.
    return accelerator == "cpu" or (present(accelerator) and device_of({"accelerator": accelerator}).type == "cpu")


def present(accelerator: str) -> bool:
    """Whether this machine has a device of this name; of a name that Lightning does not know, it is not asked."""
    kinds = ("cuda", "mps") if accelerator == "gpu" else (accelerator,)
    known = [AcceleratorRegistry[kind]["accelerator"] for kind in kinds if kind in AcceleratorRegistry]
    return not known or any(each.is_available() for each in known)


def tried_here(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments as a Trainer of this machine takes them: where only another has the device, with the CPU."""
    if trains_here() or present(str(settings.get("accelerator", "auto"))):
        return settings
    devices = settings.get("devices", 1)
    n = len(devices) if isinstance(devices, list | tuple) else devices if isinstance(devices, int) else 1
    # Of the precision, too, only the device knows whether it has it.
    return {**settings, "accelerator": "cpu", "devices": max(1, n), "precision": "32-true"}


def n_devices(accelerator: str) -> int:
    """How many there are of this name; the cores of a CPU are one."""
    return int(_accelerator(accelerator).auto_device_count())


# A Trainer is made for the answer, which is too dear for each of a sweep's jobs.
@cache
def _accelerator(name: str) -> Accelerator:
    """That of this name: `auto` and `gpu` are what Lightning takes for them here."""
    return trainer(accelerator=name, devices=1, logger=False, enable_checkpointing=False).accelerator


def check_one_process(settings: Mapping[str, Any]) -> None:
    """Refuse, for a job of a sweep, a Trainer of several processes: each of them would begin the whole sweep again.

    Raises:
        ConfigError: how such a run is trained.
    """
    usual = (settings.get("strategy"), str(settings.get("devices")), settings.get("num_nodes"))
    if usual == ("auto", "1", 1):
        return  # a sweep may have thousands of these
    asked = ("accelerator", "strategy", "devices", "num_nodes", "plugins")
    n = trainer(**tried_here({name: settings[name] for name in asked if name in settings})).world_size
    if n > 1:
        key = "num_nodes" if str(settings.get("devices")) == "1" else "devices"
        problem = f"trains in {n} processes, and a job of a sweep in one"
        hint = "trainer.devices=1 here; or each such run by a command of its own, without -m"
        raise ConfigError(f"trainer.{key}", settings.get(key), problem, hint=hint)


def check_processes(settings: Mapping[str, Any], made: pl.Trainer) -> None:
    """Refuse a Trainer whose processes nobody starts, or not as many of them: it would wait, or train as fewer.

    Raises:
        ConfigError: how srun is to be called, or which strategy starts processes that a run can be trained in.
    """
    _check_strategy(settings, made)
    n_devices, n_nodes = made.num_devices, made.num_nodes
    n_wanted, n_started = n_devices * n_nodes, srun.n_processes()
    if srun.started() and n_wanted > 1 and n_wanted != n_started:
        problem = f"srun started {n_started} of the {n_wanted} processes: one for each device of each node"
        raise ConfigError("trainer.devices", settings.get("devices"), problem, hint=f"start it as: {_call(made)}")
    if n_nodes > 1 and srun.in_a_job() and not srun.started() and not _started_elsewhere(settings):
        problem = "needs processes on each node, and no srun started this one"
        raise ConfigError("trainer.num_nodes", n_nodes, problem, hint=f"in the batch script: {_call(made)}")


def _check_strategy(settings: Mapping[str, Any], made: pl.Trainer) -> None:
    """Refuse processes that would not begin with the program, as those of ddp do."""
    if isinstance(made.strategy.launcher, _MultiProcessingLauncher):
        key = "strategy" if settings.get("strategy", "auto") != "auto" else "devices"
        problem = "trains in copies of this process, which a run and its record cannot be handed to"
        raise ConfigError(f"trainer.{key}", settings.get(key), problem, hint="trainer.strategy=ddp begins new ones")


def check_program(settings: Mapping[str, Any], made: pl.Trainer) -> None:
    """Refuse to begin this program again in other processes where it is none that can be.

    Raises:
        ConfigError: how it can.
    """
    import __main__

    begun = made._accelerator_connector.cluster_environment
    # A module that `python -m` runs has a spec, a script is a file; `python -c` has neither.
    begins = made.world_size > 1 and isinstance(begun, LightningEnvironment) and not begun.creates_processes_externally
    if begins and __main__.__spec__ is None and not Path(sys.argv[0]).is_file():
        problem = "begins the program again in each process, and this one is no file"
        hint = "put it into one, or train by the command: shoal train ..."
        raise ConfigError("trainer.devices", settings.get("devices"), problem, hint=hint)


def log_starter(trainer: pl.Trainer) -> None:
    """Log who starts the further processes of a training in a SLURM job where no srun did."""
    environment = trainer._accelerator_connector.cluster_environment
    several = trainer.world_size > 1 and isinstance(environment, LightningEnvironment)
    if several and srun.in_a_job() and trainer.is_global_zero:
        log.info("%d processes are started on this node, by this one; SLURM would start them as: %s",
                 trainer.world_size, _call(trainer))  # fmt: skip


def _call(trainer: pl.Trainer) -> str:
    """The command that lets SLURM start the processes of a training."""
    return f"srun --nodes={trainer.num_nodes} --ntasks-per-node={trainer.num_devices} python train.py ..."


def _environment() -> ClusterEnvironment | None:
    """What starts the processes of a training; None where Lightning's own choice is right."""
    if srun.started():
        return None
    kinds = (TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
    return next((kind() for kind in kinds if kind.detect()), LightningEnvironment())


def _started_elsewhere(settings: Mapping[str, Any]) -> bool:
    """Whether the user starts the processes on the other nodes, or a launcher that is no part of SLURM."""
    named = _says_who_starts([*_listed(settings.get("plugins")), settings.get("strategy")])
    by_hand = any(name in os.environ for name in _BY_HAND)
    return named or by_hand or not isinstance(_environment(), LightningEnvironment)


def _says_who_starts(given: Iterable[Any]) -> bool:
    """Whether the user has named it: by a plugin, or by a strategy that has one."""
    return any(isinstance(getattr(each, "cluster_environment", each), ClusterEnvironment) for each in given)


def _listed(plugins: Any) -> list[Any]:
    return list(plugins) if isinstance(plugins, list | tuple) else [plugins] if plugins else []


def _nothing() -> None:
    """In the place of Lightning's own handlers: its SIGTERM ends a training between two hooks, with exit code 0."""


def _as_given(state_fn: Any, ckpt_path: Any, **_: Any) -> Any:
    """The checkpoint exactly as it was asked for, a path or none: Lightning does not look for one of its own."""
    return ckpt_path
