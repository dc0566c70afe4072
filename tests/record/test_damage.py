"""Files that were cut, flipped or lost: found always, named, and what is left is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import bits, cut, flipped
from faults.state import differences, state
from faults.training import OFTEN, train
from runs import make_sweep
from shoal.app.resume import resume
from shoal.errors import DamagedError, UsageError
from shoal.rundir import History, Status, read_history, read_info, read_intact, read_sweep, unsealed

pytestmark = pytest.mark.usefixtures("undrawn")


def test_every_flipped_bit_and_every_cut_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    file = train(tmp_path / "run").last
    whole = file.read_bytes()

    for bit in bits(file, 300, seed=1):
        flipped(file, bit)
        with pytest.raises(DamagedError):
            unsealed(file)
        file.write_bytes(whole)
    for length in range(0, len(whole), max(1, len(whole) // 200)):
        cut(file, length)
        with pytest.raises(DamagedError):
            unsealed(file)
        file.write_bytes(whole)


def test_a_damaged_last_checkpoint_is_named_and_the_best_one_is_offered(tmp_path: Path) -> None:
    run = train(tmp_path / "run", *OFTEN)
    cut(run.last, run.last.stat().st_size - 100)

    with pytest.raises(UsageError) as refused:
        resume(run.path, ["trainer.max_epochs=4"])
    path, info = resume(run.best, ["trainer.max_epochs=4"])

    assert "last.ckpt is damaged" in str(refused.value)
    assert f"resume={run.best}" in str(refused.value)
    assert (path, info.status, info.epochs) == (run, Status.COMPLETED, 4)


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
@pytest.mark.parametrize("kind", ["history", "events"])
def test_a_run_with_a_damaged_history_goes_on_and_says_what_is_lost(
    kind: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = state(train(tmp_path / "whole", "trainer.max_epochs=6").path)
    run = train(tmp_path / "run")
    file = run.history if kind == "history" else run.events()[0]
    if damage == "cut":
        cut(file, file.stat().st_size // 3)
    elif damage == "flip":
        flipped(file, 8 * (file.stat().st_size // 3))
    else:
        file.unlink()

    resume(run.path, ["trainer.max_epochs=6"])

    found = state(run.path)
    said = capsys.readouterr().err
    assert differences(expected["last"]["state_dict"], found["last"]["state_dict"]) == []
    if kind == "history":
        assert "warning: " in said
        assert str(file) in said
    else:
        assert found["history"] == expected["history"]
        assert {step for step, name, _ in found["curves"] if name == "lr"} == {5, 10, 15, 20, 25, 30}
        assert damage == "gone" or "written anew from metrics.csv" in said


ROWS = b"step,epoch,val/loss\n1,0,1.0\n2,1,0.5\n3,2,0.3333333333333333\n"


def assert_every_cut_is_found(file: Path, read: Callable[[Path], object], step: int) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole) - 2, step):
        cut(file, length)
        with pytest.raises(DamagedError, match=rf"{re.escape(file.name)} is damaged"):
            read(file)
        file.write_bytes(whole)


def test_run_json_cut_anywhere_is_damaged_and_never_something_else(tmp_path: Path) -> None:
    assert_every_cut_is_found(train(tmp_path / "run").info, read_info, 37)


def test_sweep_json_cut_anywhere_is_damaged_and_never_something_else(tmp_path: Path) -> None:
    assert_every_cut_is_found(make_sweep(tmp_path, {"seed": range(4)}).info, read_sweep, 61)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b"2,1,0.5", b"2;1,0.5", "damaged after row 1: the row has 2 of 3 cells"),
        (b"2,1,0.5", b"2,1,0.5,9", "damaged after row 1: the row has 4 of 3 cells"),
        (b"2,1,0.5", b"2,1,0;5", "damaged after row 1: '0;5' is no number"),
        (b"2,1,0.5", b"2,1,0.\xff", r"damaged after row 1: '0.\\xff' is no number"),
        (b"2,1,0.5", b",1,0.5", "damaged after row 1: the row names no step"),
        (b"2,1,0.5", b"2,,0.5", "damaged after row 1: the row names no epoch"),
        (b"2,1,0.5", b"2,1.0,0.5", "damaged after row 1: '1.0' is no number"),
        (b"2,1,0.5", b"2,1,0.5\0", r"damaged after row 1: '0.5\x00' is no number"),
        (b"2,1,0.5\n3", b"2,1,0.5\n\n3", "damaged after row 2: the row has 0 of 3 cells"),
        (b"step,", b"stop,", "damaged after row 0: the first line does not name the columns"),
        (b"val/loss", b"val/loss,more", "damaged after row 0: the row has 3 of 4 cells"),
        (b"1,0,1.0", b"step,epoch,val/loss\n1,0,1.0", "damaged after row 0: 'step' is no number"),
        (ROWS, b"", "damaged: it is empty"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_in_words(before: bytes, after: bytes, said: str, tmp_path: Path) -> None:
    history = History(tmp_path / "metrics.csv")
    for step in (1, 2, 3):
        history.add({"step": step, "epoch": step - 1, "val/loss": 1 / step})
    history.flush()
    assert before in history.path.read_bytes()
    history.path.write_bytes(history.path.read_bytes().replace(before, after))

    _, problem = read_intact(history.path)

    assert problem == f"{history.path} is {said}"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_metrics_that_an_editor_of_windows_saved_are_whole(mark: bytes, end: bytes, tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_bytes(mark + ROWS.replace(b"\n", end))

    history, problem = read_intact(file)

    assert problem is None
    assert [row["val/loss"] for row in history.rows] == [1.0, 0.5, 1 / 3]


def test_metrics_cut_within_a_number_are_damaged(tmp_path: Path) -> None:
    file = train(tmp_path / "run").history
    whole = file.read_bytes()

    for length in range(len(whole) - 1):
        cut(file, length)
        if not whole[:length].endswith(b"\n"):
            with pytest.raises(DamagedError):
                read_history(file)
        file.write_bytes(whole)
