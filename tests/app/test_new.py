"""What `shoal new` writes: tested, formatted, and over nothing that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pictures import PIXEL
from shoal.app.new import start_piece
from shoal.errors import UsageError

pytestmark = pytest.mark.usefixtures("unrendered")

UNDRAWN = f"""
import pytest

@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("shoal.record.figures.run_figure.fit_chart", lambda *_, **__: None)
    monkeypatch.setattr("shoal.record.figures.run_figure.drawn", lambda picture: {PIXEL!r})
"""
"""What leaves out the figures in the process that runs those tests: drawing takes as long as training."""
KINDS = {"task": "spring", "model": "fourier", "optimizer": "lion", "loss": "logcosh", "module": "spring_module"}


def test_everything_that_shoal_new_writes_passes_its_own_tests(tmp_path: Path) -> None:
    for kind, name in KINDS.items():
        start_piece(kind, name, tmp_path)
    (tmp_path / "conftest.py").write_text(UNDRAWN)

    command = [sys.executable, "-m", "pytest", "-q", "--rootdir=.", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout
    assert "13 passed" in ended.stdout


def test_what_shoal_new_writes_is_formatted_and_clean(tmp_path: Path) -> None:
    for kind, name in KINDS.items():
        start_piece(kind, name, tmp_path)

    for command in (["check", "--select", "E,F,W,UP,B"], ["format", "--check"]):
        ended = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--line-length", "120", "--no-cache", "."],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("tsk", "spring", "did you mean task?"),
        ("task", "Spring", "cannot be the name of a Python file"),
        ("task", "class", "cannot be the name of a Python file"),
        ("task", "my-spring", "cannot be the name of a Python file"),
        ("task", "../spring", "cannot be the name of a Python file"),
        ("task", "parabola", "shoal has a task parabola already"),
        ("model", "torch", "there is a module torch already"),
    ],
)
def test_shoal_new_refuses_a_name_that_cannot_be(kind: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        start_piece(kind, name, tmp_path)

    assert said in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_shoal_new_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_spring.py").write_text("mine")

    with pytest.raises(UsageError, match="is there already"):
        start_piece("task", "spring", tmp_path)

    assert (tmp_path / "test_spring.py").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
