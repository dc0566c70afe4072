"""`shoal runs --watch`: what trains now, in a table that changes until all of it has ended."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest
from rich.console import Console

from runs import make_run
from shoal.cli import run
from shoal.review.catalog import find
from shoal.review.watching import table, watch
from shoal.rundir import RunDir, Status, read_info, write_info


def training(folder: Path) -> RunDir:
    return make_run(folder, status=Status.RUNNING, pid=os.getpid(), host=socket.gethostname(), ended=None)


def test_the_table_is_shown_until_the_last_run_has_ended(tmp_path: Path) -> None:
    make_run(tmp_path)
    running = training(tmp_path)
    shown = io.StringIO()
    screen = Console(file=shown, width=100, force_terminal=True)
    pauses: list[float] = []

    def end(seconds: float) -> None:
        pauses.append(seconds)
        info = read_info(running.info)
        write_info(running.info, type(info)(**{**vars(info), "status": Status.COMPLETED}))

    watch(screen, [tmp_path], pause=end)

    assert len(pauses) == 1
    assert "running" in shown.getvalue()
    assert shown.getvalue().rindex("completed") > shown.getvalue().rindex("running")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_no_task_is_left_out(tmp_path: Path, width: int) -> None:
    training(tmp_path)

    lines = table(find([tmp_path]), width).plain.splitlines()

    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert "parabola" in lines[1]
    assert "epochs" in lines[1]


def test_where_nothing_trains_that_is_said_at_once(tmp_path: Path) -> None:
    shown = io.StringIO()

    watch(Console(file=shown, width=80), [tmp_path], pause=lambda _: pytest.fail("there is nothing to wait for"))

    assert "nothing is training" in shown.getvalue()


def test_into_a_pipe_nothing_is_watched(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--watch"]) == 2
    assert "--watch needs a terminal" in capsys.readouterr().err
