"""Types and shapes in the signatures of shoal are checked while the tests run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

from shoal.rundir import Best, write_bytes
from shoal.rundir.atomic import _free
from shoal.tasks.data import Split

CALLS: dict[str, Callable[[], Any]] = {
    "an argument": lambda: write_bytes("file", b""),  # type: ignore[arg-type]
    "a field": lambda: Best("val/loss", "min", "low", 0, 0),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_type_is_found(call: Callable[[], Any]) -> None:
    with pytest.raises(BeartypeCallHintViolation):
        call()


def test_a_result_of_a_wrong_type_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free="most"))

    with pytest.raises(BeartypeCallHintViolation):
        _free(Path())


def test_a_wrong_shape_is_found() -> None:
    with pytest.raises(TypeCheckError):
        Split(torch.zeros(3, 1), torch.zeros(4, 1))
