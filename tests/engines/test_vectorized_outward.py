"""What steps leave outside of their modules: in a stack, where a step stands for many, it would be lost in silence."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from shoal.engines.step.outward import nothing_left
from shoal.engines.step.unfit import CannotStackError
from shoal.engines.vectorized.likeness import unlike_alone
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.running import Running
from styled import Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")

LOG = logging.getLogger("a program's own")
HEARD: list[int] = []


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
        (lambda: Path("left").write_text("there"), "writes a file"),
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


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Tells, "writes to the log"),
        (Keeps, "test_vectorized_outward.HEARD, which is no attribute of its module"),
    ],
)
def test_runs_whose_steps_leave_something_outside_train_alone(module: type[Style], words: str) -> None:
    found = unlike_alone(Running([Member.of(job_of(module, seed)) for seed in (0, 1)]))

    assert set(found) == {0, 1}
    assert found[0].startswith("training_step (test_vectorized_outward.py:")
    assert words in found[0]
    assert HEARD == []
