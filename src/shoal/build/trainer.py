"""The arguments of Lightning's Trainer, checked by its annotations, by a few rules of ours, and by building one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from lightning_fabric.utilities.exceptions import MisconfigurationException

from shoal.build.constructors import checked, target
from shoal.build.setting_check import setting
from shoal.engines import launching, lightning, srun
from shoal.errors import ConfigError, suggestion
from shoal.machine import cores, trains_here

LIMITS: Mapping[str, tuple[Any, str]] = {
    "max_epochs": (Annotated[int, Ge(-1)] | None, "100"),
    "max_steps": (Annotated[int, Ge(-1)], "1000"),
    "min_epochs": (Annotated[int, Ge(1)] | None, "null"),
    "min_steps": (Annotated[int, Ge(1)] | None, "null"),
    "gradient_clip_val": (Annotated[float, Gt(0)] | None, "1.0"),
    "gradient_clip_algorithm": (Literal["norm", "value"] | None, "norm"),
    "accumulate_grad_batches": (Annotated[int, Ge(1)], "1"),
    "log_every_n_steps": (Annotated[int, Ge(1)] | None, "null"),
    "check_val_every_n_epoch": (Annotated[int, Ge(1)] | None, "1"),
    "num_nodes": (Annotated[int, Ge(1)], "1"),
}
"""Annotation and example of arguments of the Trainer, where its own annotation allows what means nothing."""
GIVEN_TO_TRAINER = (
    "logger",
    "callbacks",
    "enable_checkpointing",
    "enable_progress_bar",
    "default_root_dir",
    "barebones",
)
"""Arguments of the Trainer that shoal gives itself: the record depends on them."""
_ACCEPTED: dict[str, dict[str, Any]] = {}
"""Arguments of the Trainer that were found right in this process, by their node: most jobs of a sweep share them."""


def arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments in the node of the Trainer, seen to be right.

    Raises:
        ConfigError: where one is wrong, unknown or shoal's own.
    """
    made = target(node, "trainer")
    # By its text: a node may hold lists, which have no hash.
    text = repr((node, trains_here()))
    # Not with a node in it, as that of a strategy: each Trainer is to have an object of its own.
    if text in _ACCEPTED and not any(isinstance(value, dict | list) for value in node.values()):
        return dict(_ACCEPTED[text])
    for name in GIVEN_TO_TRAINER:
        if name in node:
            raise ConfigError(
                f"trainer.{name}", node[name], "is set by shoal", hint="see the callbacks and logger groups"
            )
    settings = {**checked(node, "trainer", made), **_limited(node)}
    _check_length(settings)
    _check_devices(settings)
    # Once: a sweep may have thousands of jobs, and a Trainer takes its time to build.
    if text not in _ACCEPTED:
        _try(settings)
        _ACCEPTED[text] = dict(settings)
    return settings


def _try(settings: Mapping[str, Any]) -> None:
    """See whether Lightning takes these arguments."""
    try:
        # Built, as Lightning checks its arguments there and nowhere else.
        made = lightning.build_trainer(launching.tried_here(settings))
    except (MisconfigurationException, RuntimeError, ValueError, TypeError, ModuleNotFoundError) as error:
        raise _trainer_error(settings, error) from None
    launching.check_processes(settings, made)


def _limited(node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that Lightning takes any number for, checked by the narrower ranges that mean something."""
    return {
        name: setting(node[name], f"trainer.{name}", annotation, partial(str, example))
        for name, (annotation, example) in LIMITS.items()
        if name in node
    }


def _trainer_error(settings: Mapping[str, Any], error: Exception) -> ConfigError:
    """What Lightning says of its arguments, put to the one it is about."""
    # Lightning ends many of its messages so.
    text, _, hint = " ".join(str(error).split()).partition(" HINT: ")
    problem = text.split(". ")[0].removesuffix(".")
    # The message names the argument, or else quotes its value.
    named = [name for name in settings if re.search(rf"\b{name}\b", text)]
    shown = [name for name, value in settings.items() if isinstance(value, str) and repr(value) in text]
    key = next(iter([*named, *shown]), None)
    if key is None:
        return ConfigError("trainer", "{...}", problem, hint=hint or None)
    return ConfigError(f"trainer.{key}", settings[key], problem, hint=hint or None)


def _check_length(settings: Mapping[str, Any]) -> None:
    for name in ("max_epochs", "max_steps"):
        if settings.get(name) == 0:
            raise ConfigError(
                f"trainer.{name}", 0, "trains nothing", hint="an integer of at least 1, or -1 for no limit"
            )
    for least, most in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        low, high = settings.get(least) or 0, settings.get(most) or 0
        if 0 < high < low:
            hint = f"at most that, or null: early stopping counts from trainer.{least} on"
            raise ConfigError(f"trainer.{least}", low, f"is above trainer.{most}={high}", hint=hint)
    if settings.get("limit_train_batches") == 0:
        raise ConfigError("trainer.limit_train_batches", 0, "trains nothing", hint="null for all batches of an epoch")
    if (
        settings.get("max_epochs") in (None, -1)
        and settings.get("max_steps", -1) == -1
        and not settings.get("max_time")
    ):
        raise ConfigError(
            "trainer.max_epochs", settings.get("max_epochs"), "would never end", hint="set trainer.max_steps"
        )


def _check_devices(settings: Mapping[str, Any]) -> None:
    from pytorch_lightning.accelerators import AcceleratorRegistry

    name, devices = settings["accelerator"], settings["devices"]
    known = ["auto", "gpu", *AcceleratorRegistry.available_accelerators()]
    if name not in known:
        raise ConfigError("trainer.accelerator", name, "no such accelerator", hint=suggestion(str(name), known))
    if devices in (0, "0", []):
        raise ConfigError("trainer.devices", devices, "must be at least 1 device", hint="for example trainer.devices=1")
    if not (trains_here() or launching.present(name)):
        return  # the workers see for themselves
    # Zero where torch is built without CUDA, and nothing is raised.
    n_gpus = torch.cuda.device_count()
    if name in ("gpu", "cuda") and not (n_gpus or (name == "gpu" and torch.backends.mps.is_available())):
        raise ConfigError("trainer.accelerator", name, "no GPU here", hint="use trainer.accelerator=auto or cpu")
    if name in ("gpu", "cuda") and isinstance(devices, int) and devices > max(n_gpus, 1):
        raise ConfigError("trainer.devices", devices, f"there are {n_gpus} GPUs here")
    n_cores = cores()
    # Under srun the others run on other nodes.
    if name == "cpu" and isinstance(devices, int) and devices > n_cores and not srun.started():
        raise ConfigError("trainer.devices", devices, f"there are {n_cores} CPU cores here, one for each process")
