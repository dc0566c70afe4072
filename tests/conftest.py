"""What every test stands on: annotations run, one thread, and nothing written outside a temporary directory."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

import signatures

signatures.check()

PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(8) + (1).to_bytes(4) + (1).to_bytes(4) + bytes(20)
"""What is read of a picture: its size."""


def pytest_collection_finish() -> None:
    """Spare the garbage collector what has been imported; it costs a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads only slow down models this small, and the tests run side by side; so do the processes they start."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that `outputs/` lands there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose figures, but leave out their rendering, which takes longer than the training of most tests."""
    monkeypatch.setattr("shoal.record.figures.png", lambda figure: PIXEL)
