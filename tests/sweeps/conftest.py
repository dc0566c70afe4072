"""What the tests of workers elsewhere compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import ELSEWHERE, sweep


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep that they train, by processes of this machine."""
    path = tmp_path_factory.mktemp("here") / "sweep"
    assert sweep(*ELSEWHERE, f"hydra.sweep.dir={path}").returncode == 0
    return path
