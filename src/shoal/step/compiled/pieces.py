"""The functions in C that are the same for every graph: products, sums, softmax, and what calls others run by run."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import torch

LARGEST = 1 << 14
"""Elements of a product's right matrix up to which it is copied into memory that the product has for itself."""

SUFFIXES = {torch.float32: "f", torch.float64: "d"}
"""Behind the name of a function, for the type that it computes in."""

_MACROS = ("LOAD", "STORE", "SPREAD", "MULTIPLY_ADD", "VECTOR")
_REALS = {torch.float32: ("float", "FLOATS"), torch.float64: ("double", "FLOATS / 2")}


def source(dtypes: Collection[torch.dtype]) -> str:
    """Their text, with what computes in these types."""
    both = _text("product.c") + _text("sums.c") + _text("steps.c")
    typed = [_typed(dtype, both) for dtype in SUFFIXES if dtype in dtypes]
    if torch.float32 in dtypes:
        typed.append(_text("softmax.c"))
    return "\n".join([_text("vectors.h"), _text("each_run.c"), "#if defined(FLOATS)", *typed, "#endif"])


def name(function: str, dtype: torch.dtype) -> str:
    """What a function is called that computes in this type."""
    return f"{function}_{SUFFIXES[dtype]}"


@cache
def in_library(function: str) -> int | None:
    """The address of a function in torch's own library; None where it does not show it."""
    path = os.path.join(os.path.dirname(torch.__file__), "lib", "libtorch_cpu.so")
    try:
        found: Any = getattr(ctypes.CDLL(path), function)
    except (OSError, AttributeError):
        return None
    return address(found)


def address(function: Any) -> int:
    """Where a function of a library lies."""
    found = ctypes.cast(function, ctypes.c_void_p).value
    assert found is not None
    return found


def _text(file: str) -> str:
    return Path(__file__).with_name(file).read_text(encoding="utf-8")


def _typed(dtype: torch.dtype, text: str) -> str:
    """A text for one type."""
    real, lanes = _REALS[dtype]
    suffix = SUFFIXES[dtype]
    meanings = {"REAL": real, "LANES": f"({lanes})", "LARGEST": str(LARGEST)}
    meanings |= {macro: f"{macro}_{suffix}" for macro in _MACROS}
    begin = [f"#define {macro} {meaning}" for macro, meaning in meanings.items()]
    begin.append(f"#define NAMED(name) name##_{suffix}")
    end = [f"#undef {macro}" for macro in (*meanings, "NAMED", "BLOCK", "CASCADES")]
    return "\n".join([*begin, text, *end])
