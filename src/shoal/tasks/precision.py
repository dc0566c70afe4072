"""How many bits numbers have: float32, but where a run asks for float64 from its samples to its predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def is_double(trainer: Mapping[str, Any]) -> bool:
    """Whether the arguments of a Trainer ask for float64."""
    return trainer.get("precision") in ("64-true", "64", 64)


@contextmanager
def new_tensors(*, double: bool) -> Iterator[None]:
    """Within this, tensors that are made of numbers, or drawn, are float64 where asked for."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
