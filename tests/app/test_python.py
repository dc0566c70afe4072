"""From Python: addresses, lists of runs, what a notebook shows; the cells of the notebook in examples/ run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars
import pytest

import shoal
from checkout import ROOT
from shoal.errors import ConfigError, UsageError
from shoal.notebook import changing_line, page

SMALL = ["task.n_samples=32", "task.batch_size=null", "trainer.max_epochs=3"]


@pytest.fixture
def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the changing line of a notebook showed."""
    shown: list[str] = []
    for place in ("shoal.record.progress", "shoal.sweeps.sweep_progress"):
        monkeypatch.setattr(f"{place}.changing_line", lambda: shown.append)
    return shown


def test_a_notebook_changes_its_line_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    display.display = lambda data, raw, display_id: handle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)

    line = changing_line()

    assert line is not None
    line("epoch 1/2")
    assert shown == ["epoch 1/2"]


def test_outside_of_a_notebook_there_is_no_line_that_changes() -> None:
    assert changing_line() is None


def test_the_cells_of_the_example_run_from_top_to_bottom(
    workdir: Path, in_a_notebook: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = json.loads((ROOT / "examples" / "first_hour.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}

    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec", dont_inherit=True), names)

    run, sweep = names["run"], names["sweep"]
    printed = capsys.readouterr()
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "outputs belong to who runs it"
    assert any("epoch 20/20" in text for text in in_a_notebook)
    assert "runs 24/24" in in_a_notebook[-1]
    assert "epoch" not in printed.err
    assert f"<strong>parabola {run.path.name}</strong>" in run._repr_html_()
    assert "data:image/png;base64," in run._repr_html_()
    assert sweep._repr_png_() == sweep.figure.path.read_bytes() == sweep.figure._repr_png_()
    assert sweep.best.info.sweep == sweep.info.id
    assert sweep.report().exists()
    assert "\nerror: optimizer.lr=-1 (shoal.train): must be a number greater than 0\n" in printed.out


@pytest.mark.usefixtures("undrawn")
def test_runs_and_addresses_are_those_of_the_command_line(workdir: Path) -> None:
    first = shoal.train([*SMALL, "tags=[a]"])
    shoal.train([*SMALL, "optimizer.lr=0.5", "tags=[b]"])

    everything, tagged = shoal.runs(), shoal.runs(tags=["a"])

    assert [run.info.tags for run in everything] == [["b"], ["a"]]
    assert [run.path.name for run in tagged] == [first.path.name]
    assert isinstance(everything.table, polars.DataFrame)
    assert everything.table["tags"].to_list() == ["b", "a"]
    assert shoal.load("last").info.tags == ["b"]
    assert shoal.load(first.path.name[-6:]).path.name == first.path.name
    assert len(shoal.runs(where="optimizer.lr > 0.1")) == 1
    with pytest.raises(UsageError, match="no run"):
        shoal.load("nosuch")


def test_a_sweep_that_is_to_go_on_names_the_function_that_does() -> None:
    with pytest.raises(UsageError) as error:
        shoal.sweep(["resume=outputs/search"])

    assert error.value.text() == (
        "error: shoal.sweep begins a sweep, and resume=outputs/search goes on with one\n"
        '  shoal.train(["resume=outputs/search"]) goes on with it, and does what is missing'
    )


def test_an_error_in_a_notebook_is_its_three_lines() -> None:
    error = ConfigError("task.noise", -1, "must be at least 0", hint="for example 0.1", source="shoal.train")

    assert error._render_traceback_() == [
        "error: task.noise=-1 (shoal.train): must be at least 0",
        "  for example 0.1",
    ]


def test_what_a_page_shows_is_text_and_never_markup() -> None:
    text = page("<b>", {"note": "<script>", "empty": None}, None)

    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "empty" not in text


def test_completion_knows_the_names_that_are_imported_late() -> None:
    assert {"Run", "Sweep", "load", "runs", "sweep", "train"} <= {*dir(shoal)}
