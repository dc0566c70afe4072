"""`shoal figure`: the figure of a run or a sweep as a PDF, an SVG or a PNG of any resolution, from its directory."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

import shoal
from commands import trained
from shoal.app.run_text import run_text
from shoal.cli import run
from shoal.review.catalog import find
from shoal.rundir import verify

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=2"]


def test_a_run_and_a_sweep_are_drawn_in_each_form(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("-m", *SMALL, "optimizer.lr=0.01,0.1", "seed=0,1", "sweep.processes=0")
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    (sweep,) = find([Path("outputs")])

    codes = [
        run(["figure", "last", "--format", "svg", "--output", "sweep.svg"]),
        run(["figure", "last/0"]),
        run(["figure", "last/0", "--format", "png", "--dpi", "50"]),
        run(["figure", "last/0", "--format", "png", "--dpi", "100", "--output", "fit.png"]),
        run(["figure", "last", "--ensemble", "--format", "svg"]),
        run(["figure", "last/0", "--ensemble"]),
    ]

    figures = sweep.path / "0000" / "figures"
    assert codes == [0, 0, 0, 0, 0, 2]
    assert "optimizer.lr" in Path("sweep.svg").read_text(encoding="utf-8"), "text stays text"
    band = (sweep.path / "figures" / "ensemble.svg").read_text(encoding="utf-8")
    assert all(text in band for text in ("mean of 2 runs", "5 % to 95 % of them", "true function"))
    assert (figures / "fit.pdf").read_bytes().startswith(b"%PDF")
    small, large = ((figures / "fit-50dpi.png").read_bytes(), Path("fit.png").read_bytes())
    assert 2 * struct.unpack(">I", small[16:20])[0] == pytest.approx(struct.unpack(">I", large[16:20])[0], abs=2)
    assert [verify(entry.path, entry.info.artifacts) for entry in sweep.runs] == [{}] * 4


def test_axes_say_the_units_of_inputs_and_targets(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shoal.train([*SMALL, "task.units={x: s, y: m}"])
    monkeypatch.undo()
    monkeypatch.chdir(workdir)

    figure = found.figure

    fit, derivative, residuals, _ = figure.axes
    assert [fit.get_xlabel(), fit.get_ylabel()] == ["x (s)", "y (m)"]
    assert [derivative.get_xlabel(), derivative.get_ylabel()] == ["x (s)", "dy/dx (m/s)"]
    assert [residuals.get_xlabel(), residuals.get_ylabel()] == ["x (s)", "prediction - target (m)"]
    assert re.search(r"val/rmse +[0-9.]+ m\b", run_text(found.directory, found.info))


def test_a_unit_of_nothing_is_refused_with_what_there_is(workdir: Path) -> None:
    ended = trained(*SMALL, "task.units={z: m}")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        "error: task.units.z=m (command line): is a unit of no input and no target",
        "  inputs and targets: x, y",
    ]
