"""`shoal figure`: the figure of a run or a sweep as a PDF, an SVG or a PNG of any resolution, from its directory."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from commands import trained
from shoal.cli import run
from shoal.review.catalog import find
from shoal.rundir import verify

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ["task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=2"]


def test_a_run_and_a_sweep_are_drawn_in_each_form(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained("-m", *SMALL, "optimizer.lr=0.01,0.1", "sweep.processes=0")
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    (sweep,) = find([Path("outputs")])

    codes = [
        run(["figure", "last", "--format", "svg", "--output", "sweep.svg"]),
        run(["figure", "last/0"]),
        run(["figure", "last/0", "--format", "png", "--dpi", "50"]),
        run(["figure", "last/0", "--format", "png", "--dpi", "100", "--output", "fit.png"]),
    ]

    figures = sweep.path / "0000" / "figures"
    assert codes == [0, 0, 0, 0]
    assert "optimizer.lr" in Path("sweep.svg").read_text(encoding="utf-8"), "text stays text"
    assert (figures / "fit.pdf").read_bytes().startswith(b"%PDF")
    small, large = ((figures / "fit-50dpi.png").read_bytes(), Path("fit.png").read_bytes())
    assert 2 * struct.unpack(">I", small[16:20])[0] == pytest.approx(struct.unpack(">I", large[16:20])[0], abs=2)
    assert [verify(entry.path, entry.info.artifacts) for entry in sweep.runs] == [{}, {}]
