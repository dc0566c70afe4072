"""The commands as a person sees them: in terminals narrow and wide, into pipes, without color, with hostile names."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from runs import make_run, make_sweep
from shoal.rundir import Status
from terminal import run_in_pipes, run_in_terminal

HOSTILE = "\x1b[31mred\x1b]0;title\x07 <script>\u202e\n\ttail"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with runs in every state."""
    folder = tmp_path_factory.mktemp("work")
    root = folder / "outputs"
    make_run(root, name="20261101-100000-k3f9x2", settings={"model.hidden": [64]}, task="sin_x2")
    make_sweep(root, {"optimizer.lr": [0.001, 0.01], "seed": [0, 1, 2]}, diverged=[2], failed=[3])
    make_run(
        root, name="20261101-110000-h2oqhb", status=Status.DIVERGED, reason=HOSTILE, settings={"task.name": HOSTILE}
    )
    make_run(root, name="20261101-120000-gxo5gb").info.write_text('{"id": "x')
    return folder


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["runs", "--expand"],
        ["runs", "--sort", "val/loss", "--columns", "+optimizer.lr"],
        ["show", "k3f9"],
        ["show", "h2oq"],
        ["compare", "k3f9", "h2oq"],
        ["diff", "k3f9", "h2oq"],
    ],
    ids=" ".join,
)
def test_every_line_fits_its_terminal_and_none_can_steer_it(words: list[str], width: int, folder: Path) -> None:
    screen = run_in_terminal(words, width=width, folder=folder)

    assert screen.exit_code == 0, screen.text
    assert not any(letter in screen.text for letter in "\x1b\x07\u202e")
    tables = [line for line in screen.lines if not line.startswith("  ")] if words[0] != "runs" else screen.lines
    if width >= 80:
        assert max(map(cell_len, tables)) <= width, screen.text


def test_a_narrow_terminal_has_the_columns_that_matter_and_a_wide_one_all(folder: Path) -> None:
    narrow = run_in_terminal(["runs"], width=80, folder=folder)
    wide = run_in_terminal(["runs"], width=200, folder=folder)

    assert narrow.lines[0].split()[:7] == ["ID", "TASK", "STATUS", "AGE", "WHAT", "BEST", "val/loss"]
    assert wide.lines[0].split() == [
        "ID",
        "TASK",
        "STATUS",
        "AGE",
        "WHAT",
        "BEST",
        "val/loss",
        *("last", "val/loss"),
        "TIME",
        *("last", "train/loss"),
    ]
    assert any(line.startswith("k3f9x2  sin_x2    completed") for line in narrow.lines)
    assert any(line.startswith("20261101-100000-k3f9x2  sin_x2    completed") for line in wide.lines)
    assert any("6 runs: 4 completed, 1 failed, 1 diverged over optimizer.lr, seed" in line for line in wide.lines)
    assert any("damaged" in line and "run.json is damaged: Invalid JSON" in line for line in wide.lines)


def test_what_runs_were_told_apart_comes_before_what_they_share(tmp_path: Path) -> None:
    shared = ["task=parabola", "trainer.max_epochs=12345678", "task.n_samples=87654321"]
    for lr in ("0.125", "0.25"):
        make_run(tmp_path / "outputs", overrides=[*shared, f"optimizer.lr={lr}"])

    narrow = run_in_terminal(["runs"], width=80, folder=tmp_path)

    assert [f" lr={lr} " in line for lr, line in zip(("0.25", "0.125"), narrow.lines[1:], strict=True)] == [True, True]


def test_colors_are_there_unless_no_color_is_set(folder: Path) -> None:
    colored = run_in_terminal(["runs"], width=80, folder=folder)
    plain = run_in_terminal(["runs"], width=80, folder=folder, NO_COLOR="1")
    show = run_in_terminal(["show", "k3f9"], width=80, folder=folder, NO_COLOR="1")

    assert "\x1b[32mcompleted" in colored.styled
    assert "\x1b" not in plain.styled
    assert "\x1b[3" not in show.styled
    assert plain.text == colored.text


def test_the_curve_is_drawn_in_a_terminal_and_not_into_a_pipe(folder: Path) -> None:
    screen = run_in_terminal(["show", "k3f9"], width=80, folder=folder)
    pipe = run_in_pipes(["show", "k3f9"], folder)

    assert any("\u2800" <= letter <= "\u28ff" for letter in screen.text)
    assert "val/loss: 0.1536 to 0.005652" in screen.text
    assert not any("\u2800" <= letter <= "\u28ff" for letter in pipe.stdout)
    assert "\x1b" not in pipe.stdout


def test_a_damaged_history_is_said_where_the_curve_would_be(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs", name="a-run").history.write_text("step,epoch,val/loss\n1,0,0.5\n2,1\n")

    screen = run_in_terminal(["show", "a-run"], width=200, folder=tmp_path)

    assert "no curve:" in screen.text
    assert "metrics.csv is damaged after row 1" in screen.text
    assert "metrics.csv  changed since it was written" in screen.text


def test_a_pipe_gets_a_line_a_run_with_tabs_and_full_numbers(folder: Path) -> None:
    done = run_in_pipes(["runs", "--columns", "id,status,val/loss"], folder)

    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [len(row) for row in rows] == [3, 3, 3, 3]
    assert ["20261101-100000-k3f9x2", "completed", "0.005651763797193616"] in rows


def test_json_has_all_that_is_known_and_the_named_columns_where_asked(folder: Path) -> None:
    whole = json.loads(run_in_pipes(["runs", "--json"], folder).stdout)
    named = json.loads(run_in_pipes(["runs", "--json", "--expand", "-c", "id,optimizer.lr"], folder).stdout)

    shown = json.loads(run_in_pipes(["show", "k3f9", "--json"], folder).stdout)

    assert (shown["id"], shown["settings"]["model.hidden"]) == ("20261101-100000-k3f9x2", [64])
    by_kind = {row["kind"] for row in whole}
    sweep = next(row for row in whole if row["kind"] == "sweep")
    assert by_kind == {"run", "sweep"}
    assert sweep["counts"] == {"completed": 4, "failed": 1, "diverged": 1}
    assert {row["status"] for row in whole} == {"completed", "failed", "diverged", "damaged"}
    assert {"id": "20261101-100000-k3f9x2", "optimizer.lr": 0.01} in named


def test_csv_has_a_column_for_each_setting_that_differs_and_each_metric(folder: Path) -> None:
    done = run_in_pipes(["runs", "--csv", "--where", "sweep is not null"], folder)

    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 6
    assert {"optimizer.lr", "seed", "val/loss", "train/loss", "best"} <= set(rows[0])
    assert {row["optimizer.lr"] for row in rows} == {"0.001", "0.01"}


def test_a_sweeps_path_lists_its_runs(folder: Path) -> None:
    (sweep,) = (folder / "outputs" / "parabola").glob("*/sweep.json")

    done = run_in_pipes(["runs", str(sweep.parent)], folder)

    assert len(done.stdout.splitlines()) == 6


def test_a_sweep_is_compared_run_by_run(tmp_path: Path) -> None:
    sweep = make_sweep(tmp_path / "outputs", {"seed": [0, 1]}).path

    done = run_in_pipes(["compare", str(sweep)], tmp_path)

    assert done.returncode == 0
    assert "seed\t0\t1" in done.stdout


def test_a_metric_that_only_runs_inside_a_sweep_have_leaves_its_row_empty(tmp_path: Path) -> None:
    make_sweep(tmp_path / "outputs", {"seed": [0, 1]}, final={"val/loss": 0.5, "other": 1.0})
    make_run(tmp_path / "outputs", final={"val/loss": 0.5})

    done = run_in_pipes(["runs", "--columns", "status,other"], tmp_path)

    assert done.stdout == "completed\t\ncompleted\t\n"


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    command = f"{sys.executable} -m shoal.cli runs --expand --json | head -c 10"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("[")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runz"], "did you mean shoal runs?"),
        (["runs", "--topp", "3"], "Possible options: --top"),
        (["runs", "--top", "0"], "--top"),
        (["runs", "--status", "faild"], "did you mean failed?"),
        (["runs", "--sort", "vall/loss"], "did you mean val/loss?"),
        (["runs", "--columns", "nonsense"], "no run has nonsense"),
        (["runs", "--where", "seed <"], "syntax error"),
        (["runs", "--json", "--csv"], "exclude each other"),
        (["runs", "/nowhere"], "is not a directory"),
        (["show", "nonsense"], "no run nonsense"),
        (["show"], "Missing argument"),
        (["compare", "k3f9"], "two runs or more"),
        (["report", "nonsense"], "no run nonsense"),
        (["board"], "event file"),
        (["prune"], "nothing says what to remove"),
        (["rm", "k3f9"], "add --yes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_says_so_in_three_lines_and_exits_2(words: list[str], said: str, folder: Path) -> None:
    done = run_in_pipes(words, folder)

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 3
    assert "Traceback" not in done.stderr


def test_no_runs_yet_is_no_error(tmp_path: Path) -> None:
    piped = run_in_pipes(["runs"], tmp_path)
    screen = run_in_terminal(["runs"], width=80, folder=tmp_path)
    as_json = run_in_pipes(["runs", "--json"], tmp_path)

    assert (piped.returncode, piped.stdout) == (0, "")
    assert screen.exit_code == 0
    assert "no runs in outputs yet" in screen.text
    assert json.loads(as_json.stdout) == []


@pytest.mark.parametrize("command", ["runs", "show", "compare", "diff", "report", "board", "rm", "prune"])
def test_every_command_explains_itself_with_examples(command: str, tmp_path: Path) -> None:
    done = run_in_pipes([command, "--help"], tmp_path)

    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert f"shoal {command}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_completion_offers_commands_and_run_ids(folder: Path) -> None:
    def completed(typed: str, at: str) -> list[str]:
        asked = {"_SHOAL_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": at}
        command = [sys.executable, "-m", "shoal.cli"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=os.environ | asked)
        return ended.stdout.split()

    commands = completed("shoal com", "1")
    ids = completed("shoal show k3f", "2")

    assert commands == ["compare"]
    assert ids == ["k3f9x2"]


def test_reviewing_imports_no_torch_lightning_or_hydra(folder: Path) -> None:
    heavy = ["torch", "pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "matplotlib", "polars", "numpy"]
    program = f"""
import sys
from shoal.cli import run
codes = [int(run(words)) for words in (
    ["runs"], ["runs", "--where", "optimizer.lr > 0"], ["show", "k3f9"], ["compare", "k3f9", "h2oq"],
    ["diff", "k3f9", "h2oq"], ["prune", "--failed", "--dry-run"], ["report", "k3f9", "-o", "report.html"], ["--help"])]
print(codes, [name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0, 0, 0, 0, 0] []"
