"""The world around a run: clocks, names, limits, threads, and a figure that cannot be drawn."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest

import shoal
from faults import in_child
from faults.training import OFTEN, SMALL, train, typed
from shoal.cli import train as main
from shoal.machine import named_processor
from shoal.record import environment
from shoal.record.checkpoints.readable import readable
from shoal.rundir import (
    RunDir,
    Status,
    read_info,
)

pytestmark = pytest.mark.usefixtures("undrawn")


def test_durations_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, began = time.time, time.time()
    monkeypatch.setattr(time, "time", lambda: real() - (86400 if real() - began > 0.05 else 0))

    info = read_info(train(tmp_path / "run").info)

    assert 0 < info.seconds < 60


@pytest.mark.parametrize("name", ["with space", "ünïcödé-日本", "a=b", "n" * 255, "quote'd", "a,b", "[x]", "{y}"])
def test_a_directory_of_any_name_works_or_is_refused_in_one_line(
    name: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = workdir / name
    here.mkdir()
    os.chdir(here)

    code = main(SMALL)

    said = capsys.readouterr().err
    assert code == 0, said
    assert len(list(here.glob("outputs/parabola/*/run.json"))) == 1


def test_a_name_too_long_for_the_disk_is_refused_in_three_lines(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([*SMALL, f"outputs={'n' * 256}"])

    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith("error: cannot write ")
    assert len(said.splitlines()) <= 3


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    def work() -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        return typed(tmp_path / "run", *OFTEN)()

    assert in_child(work, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()


def test_a_figure_that_cannot_be_drawn_does_not_lose_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from shoal.record.figures import run_figure

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no fonts here")

    monkeypatch.setattr(run_figure, "fit_chart", broken)

    run = train(tmp_path / "run")

    assert read_info(run.info).status is Status.COMPLETED
    assert "no fonts here" in capsys.readouterr().err
    assert len(shoal.load(run.path).predict([0.5])) == 1


def test_a_run_trains_outside_the_main_thread(tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=[tmp_path / "run"])

    thread.start()
    thread.join()

    assert read_info(RunDir(tmp_path / "run").info).status is Status.COMPLETED


X86_64 = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9V74: 80-Core\nflags\t: fpu\n"
ARM64 = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n\n{}".format(
    "processor\t: 1\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (X86_64, "AMD EPYC 9V74: 80-Core (family 25, model 17)"),
        (ARM64, f"{platform.machine()}, implementer 0x41, part 0xd0c"),
        ("processor\t: 0\n", None),
    ],
)
def test_a_record_names_the_first_processor_of_every_kind(cpuinfo: str, name: str | None) -> None:
    assert named_processor(cpuinfo) == name


def test_a_home_that_is_not_there_and_cannot_be_made_changes_nothing(
    workdir: Path, compiled_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["task=parabola", *SMALL, "engine=vectorized"]
    usual = shoal.train(words)
    monkeypatch.setenv("HOME", "/dev/null/nobody")
    monkeypatch.delenv("XDG_CACHE_HOME")

    run = shoal.train(words)

    assert run.status == "completed"
    assert (run.path / "metrics.csv").read_text() == (usual.path / "metrics.csv").read_text()


@pytest.mark.parametrize(("slow", "known"), [("status", False), ("diff", True)])
def test_a_working_tree_that_git_takes_too_long_for_does_not_lose_the_run(
    slow: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        if words[0] == slow:
            raise subprocess.TimeoutExpired("git", 10)
        return "# branch.oid abc\n1 .M changed\n"

    monkeypatch.setattr(environment, "_git", git)

    assert environment.working_tree() == ({"commit": "abc", "dirty": True} if known else None, "")


def test_hyperparameters_of_enumerations_are_kept_as_what_they_are() -> None:
    class Kind(StrEnum):
        SMALL = "small"

    class Old(str, Enum):  # noqa: UP042  # as it was written before there was StrEnum
        LARGE = "large"

    class Size(IntEnum):
        TWO = 2

    given = {"hyper_parameters": {"kind": Kind.SMALL, "old": Old.LARGE, "sizes": [Size.TWO], "name": "plain"}}

    kept = readable(given)["hyper_parameters"]

    assert kept == {"kind": "small", "old": "large", "sizes": [2], "name": "plain"}
    assert [type(each) for each in (kept["kind"], kept["old"], kept["sizes"][0])] == [str, str, int]
