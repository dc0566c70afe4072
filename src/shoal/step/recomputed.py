"""Parts of a step that are computed again for its backward pass to save memory (`torch.utils.checkpoint`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import CheckpointFunction


@contextmanager
def not_recomputed() -> Iterator[None]:
    """Has them computed once, and what the backward pass needs kept as it is: its numbers are the same."""
    with (
        patch.object(saved_tensors_hooks, "__enter__", _let_be),
        patch.object(saved_tensors_hooks, "__exit__", _let_be),
        patch.object(CheckpointFunction, "apply", _computed),
    ):
        yield


def _let_be(*_: Any) -> None:
    """Neither set hooks nor take them away."""


def _computed(function: Callable[..., Any], _: Any, *args: Any) -> Any:
    return function(*args)
