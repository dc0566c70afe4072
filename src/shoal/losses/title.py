"""What a loss is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from shoal.errors import shown
from shoal.losses.named import Auto, CrossEntropy, Loss, LossFunction, MeanSquaredError


def title(loss: LossFunction, node: Any, *, classes: bool) -> str:
    """The name of a loss, by which equal losses are known: `mse`, `huber delta=0.5`; a user's by its node."""
    # By what it comes to, so that runs with `auto` and with `mse` are compared with each other.
    if isinstance(loss, Auto):
        loss = CrossEntropy(weight=loss.weight) if classes else MeanSquaredError()
    # Its own name: a class of a user's that is derived from one of these is another loss.
    if isinstance(loss, Loss) and "called" in vars(type(loss)):
        chosen = {each.name: getattr(loss, each.name) for each in fields(loss)}
        usual = {each.name: each.default for each in fields(loss)}
        name, settings = loss.called, {key: value for key, value in chosen.items() if value != usual[key]}
    else:
        settings = dict(node) if isinstance(node, Mapping) else {}
        # Of a user's loss only the file knows the settings.
        name = str(settings.pop("_target_", type(loss).__name__)).rpartition(".")[2]
    return " ".join([name, *(f"{key}={shown(value)}" for key, value in settings.items() if not key.startswith("_"))])
