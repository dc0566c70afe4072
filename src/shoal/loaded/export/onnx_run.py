"""Runs an ONNX file on rows from a file: a program of its own, which knows onnxruntime and not shoal or torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray


def write(path: Path | str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep arrays by names, which may be any."""
    # By number: names of columns may hold what no file in a ZIP archive can be called.
    numbered: dict[str, Any] = {f"a{i}": values for i, values in enumerate(arrays.values())}
    numpy.savez(path, names=numpy.array(list(arrays), dtype=str), **numbered)


def read(path: Path | str) -> dict[str, NDArray[Any]]:
    """The arrays that `write` kept."""
    with numpy.load(path) as kept:
        return {name: kept[f"a{i}"] for i, name in enumerate(kept["names"].tolist())}


def main(model: str, given: str, found: str) -> None:
    """Write what the model predicts for the rows in `given` into `found`."""
    import onnxruntime

    # On the CPU alone: another provider would round otherwise, or warn that it is not there.
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = zip(names, session.run(names, read(given)), strict=True)
    # NumPy would pickle texts that are objects, and refuse to read them.
    write(found, {name: value.astype(str) if value.dtype == object else value for name, value in outputs})


if __name__ == "__main__":
    main(*sys.argv[1:])
