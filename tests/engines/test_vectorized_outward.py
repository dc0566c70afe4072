"""What steps leave outside of their modules: in a stack, where a step stands for many, it would be lost in silence."""

from __future__ import annotations

import contextlib
import csv
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.step.outward import nothing_left
from shoal.step.unfit import CannotStackError
from styled import Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")

LOG = logging.getLogger("a program's own")
HEARD: list[int] = []
FILE = io.StringIO()
OWN = SimpleNamespace(n=0)


def _tell_a_board() -> None:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    EventFileWriter.add_event(Mock(), Mock())


def _print_in_vain() -> None:
    with contextlib.suppress(Exception):
        print("there")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: print("there"), "prints"),
        (_print_in_vain, "prints"),
        (lambda: LOG.warning("there"), "writes to the log"),
        (lambda: sys.stdout.write("there"), "prints"),
        (lambda: Path("left").write_text("there"), "writes a file"),
        (lambda: os.open("left", os.O_CREAT | os.O_WRONLY), "writes a file"),
        (lambda: torch.save({}, "left"), "writes a file"),
        (lambda: Path("left").mkdir(), "changes files"),
        (lambda: subprocess.run(["true"]), "begins a process"),
        (lambda: os.environ.update(LEFT="there"), "changes os.environ"),
        (_tell_a_board, "tells EventFileWriter something past self.log"),
    ],
)
def test_what_a_step_would_leave_outside_of_its_module_is_refused(
    act: Callable[[], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
) -> None:
    import tensorboard.summary.writer.event_file_writer  # noqa: F401  (as a program has that uses it)

    monkeypatch.chdir(tmp_path)

    with pytest.raises(CannotStackError, match=words), nothing_left(torch.nn.Linear(1, 1)):
        act()

    assert list(tmp_path.iterdir()) == []
    assert "LEFT" not in os.environ
    assert capsys.readouterr().out == ""
    assert caplog.text == ""


def test_torch_may_make_folders_for_itself_while_a_step_is_traced(tmp_path: Path) -> None:
    place = {"__name__": "torch.somewhere", "path": tmp_path / "made"}

    with nothing_left(torch.nn.Linear(1, 1)):
        exec("import os; os.makedirs(path / 'in'); open(path / 'file', 'w').close()", place)

    assert len(list((tmp_path / "made").iterdir())) == 2


class Tells(Style):
    """Tells of its steps."""

    def penalty(self) -> float:
        LOG.warning("a step")
        return 0.0


class Keeps(Style):
    """Keeps a list of its steps beside its module."""

    def penalty(self) -> float:
        HEARD.append(1)
        return 0.0


class KeepsRows(Style):
    """Writes rows by a writer of its own to a file that was open before."""

    def made(self) -> None:
        self.rows = csv.writer(io.StringIO())

    def penalty(self) -> float:
        self.rows.writerow([1])
        return 0.0


class Writes(Style):
    """Writes to a file that was open before."""

    def penalty(self) -> float:
        FILE.write("a step")
        return 0.0


class Counts(Style):
    """Counts its steps in an object beside its module."""

    def penalty(self) -> float:
        OWN.n += 1
        return 0.0


class Slotted:
    """Has a slot for its count, and no dictionary."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


SLOTTED = Slotted()


class CountsInSlot(Style):
    """Counts its steps in a slot of an object beside its module."""

    def penalty(self) -> float:
        SLOTTED.n += 1
        return 0.0


class CountsAll(Style):
    """Counts the steps of all modules of its class."""

    n = 0

    def penalty(self) -> float:
        type(self).n += 1
        return 0.0


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Tells, "writes to the log"),
        (KeepsRows, "writes to self.rows, a file"),
        (Writes, "writes to tests.engines.test_vectorized_outward.FILE, a file"),
        (Counts, "test_vectorized_outward.OWN.n, which is no attribute of its module"),
        (CountsInSlot, "test_vectorized_outward.SLOTTED.n, which is no attribute of its module"),
        (CountsAll, "changes CountsAll.n, which is no attribute of its module"),
        (Keeps, "test_vectorized_outward.HEARD, which is no attribute of its module"),
    ],
)
def test_runs_whose_steps_leave_something_outside_train_alone(module: type[Style], words: str) -> None:
    found = unlike_alone(Running([Member.of(job_of(module, seed)) for seed in (0, 1)]))

    assert set(found) == {0, 1}
    assert found[0].startswith("training_step (test_vectorized_outward.py:")
    assert words in found[0]
    assert (HEARD, OWN.n, SLOTTED.n, CountsAll.n, FILE.getvalue()) == ([], 0, 0, 0, "")
