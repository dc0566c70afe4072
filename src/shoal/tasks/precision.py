"""How many bits numbers have: float32, but where a run asks for float64 from its samples to its predictions.

Products of a run that mixes precisions have fewer, its weights and what it logs have not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch


def is_double(trainer: Mapping[str, Any]) -> bool:
    """Whether the arguments of a Trainer ask for float64."""
    return trainer.get("precision") in ("64-true", "64", 64)


def is_mixed(trainer: Mapping[str, Any]) -> bool:
    """Whether the arguments of a Trainer ask for bfloat16 in products and the like, and float32 for the rest."""
    return trainer.get("precision") in ("bf16-mixed", "bf16")


@contextmanager
def new_tensors(*, double: bool) -> Iterator[None]:
    """Make tensors, of numbers or drawn, float64 within this where that is asked for."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else before)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
