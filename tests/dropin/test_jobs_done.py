"""Which jobs of a foreign program are done is kept in a file of one process, or it is said that it is not."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from shoal.dropin import jobs_done
from shoal.rundir.file_lock import locked


def test_where_no_file_can_be_kept_the_log_says_what_that_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))

    with caplog.at_level(logging.WARNING, logger="hydra.shoal"):
        found = jobs_done._locked("command")

    assert isinstance(found, io.StringIO)
    assert "a command that is killed begins anew: NotADirectoryError" in caplog.text


def test_the_same_command_twice_at_once_has_two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with jobs_done._locked("command") as first, jobs_done._locked("command") as second:
        names = [Path(str(getattr(each, "name", ""))).name for each in (first, second)]

    assert names == ["command-0.jsonl", "command-1.jsonl"]


def test_a_locked_file_is_had_by_nobody_else_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "held"

    with open(path, "w") as mine, open(path, "w") as other:
        assert locked(mine, wait=True)
        assert not locked(other, wait=False)
        mine.close()
        assert locked(other, wait=False)
