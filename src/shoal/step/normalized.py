"""A look of torchmetrics at whether numbers are probabilities, without the branch that it takes on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

_NAME = "normalize_logits_if_needed"


def normalized(tensor: Tensor, normalization: Literal["sigmoid", "softmax"] | None) -> Tensor:
    """What `torchmetrics.utilities.compute` makes of numbers some of which may lie outside of [0, 1]."""
    if not normalization:
        return tensor
    within = ((tensor >= 0) & (tensor <= 1)).all()
    return torch.where(within, tensor, tensor.sigmoid() if normalization == "sigmoid" else tensor.softmax(1))


@contextmanager
def without_branches() -> Iterator[None]:
    """Within the block metrics choose between numbers where they would look at them."""
    users = _users()
    before = [vars(each)[_NAME] for each in users]
    for each in users:
        setattr(each, _NAME, normalized)
    try:
        yield
    finally:
        for each, function in zip(users, before, strict=True):
            setattr(each, _NAME, function)


@cache
def _users() -> list[ModuleType]:
    """The modules that have the function under its name: all are imported with the first metric."""
    named = [each for name, each in list(sys.modules.items()) if name.startswith("torchmetrics.")]
    return [each for each in named if _NAME in vars(each)]
