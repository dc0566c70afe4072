"""What a loss is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from shoal.errors import shown
from shoal.losses.likelihood import Binomial, Poisson
from shoal.losses.named import (
    Auto,
    Cauchy,
    CrossEntropy,
    Huber,
    Loss,
    LossFunction,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftL1,
)

_TITLES = {
    MeanSquaredError: "mse",
    MeanAbsoluteError: "mae",
    Huber: "huber",
    SoftL1: "soft_l1",
    Cauchy: "cauchy",
    CrossEntropy: "cross_entropy",
    Poisson: "poisson",
    Binomial: "binomial",
}


def title(loss: LossFunction, node: Any, *, classes: bool) -> str:
    """The name of a loss, by which equal losses are known: `mse`, `huber delta=0.5`; a user's by its node."""
    # By what it comes to, so that runs with `auto` and with `mse` are compared with each other.
    if isinstance(loss, Auto):
        loss = CrossEntropy(weight=loss.weight) if classes else MeanSquaredError()
    if isinstance(loss, Loss) and type(loss) in _TITLES:
        chosen = {each.name: getattr(loss, each.name) for each in fields(loss)}
        usual = {each.name: each.default for each in fields(loss)}
        name, settings = _TITLES[type(loss)], {key: value for key, value in chosen.items() if value != usual[key]}
    else:
        settings = dict(node) if isinstance(node, Mapping) else {}
        # Of a user's loss only the file knows the settings.
        name = str(settings.pop("_target_", type(loss).__name__)).rpartition(".")[2]
    return " ".join([name, *(f"{key}={shown(value)}" for key, value in settings.items() if not key.startswith("_"))])
