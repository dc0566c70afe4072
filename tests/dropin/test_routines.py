"""Jobs that wait: each has a world of its own, however they take turns."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from shoal.dropin.lightning_loops import _sleep
from shoal.dropin.routines import Routine, current, runs, signals_left_alone
from shoal.dropin.world import World


def world(name: str) -> list[Any]:
    """Everything that a job may have changed."""
    return [
        os.environ.get("NAME"),
        Path.cwd().name,
        [type(each).__name__ for each in logging.getLogger("job").handlers],
        logging.getLogger("job").level,
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        random.random(),
        float(numpy.random.rand()),
        float(torch.rand(())),
        [each[1].pattern for each in warnings.filters if each[1] is not None and each[1].pattern == name],
    ]


def job(name: str, folder: Path) -> list[Any]:
    number = {"one": 1, "two": 2}[name]
    os.environ["NAME"] = name
    (folder / name).mkdir()
    os.chdir(folder / name)
    logging.getLogger("job").addHandler([logging.NullHandler, logging.StreamHandler][number - 1]())
    logging.getLogger("job").setLevel(number)
    torch.set_default_dtype([torch.float32, torch.float64][number - 1])
    torch.set_grad_enabled(number == 1)
    random.seed(number)
    numpy.random.seed(number)
    torch.default_generator.manual_seed(number)
    warnings.filterwarnings("ignore", name)
    first = current()
    assert first is not None
    first.wait("the other")
    return world(name)


def test_a_job_finds_its_world_as_it_left_it_after_another_has_run(tmp_path: Path) -> None:
    before = World.taken()
    alone = Routine(lambda: job("one", tmp_path / "alone"))
    (tmp_path / "alone").mkdir()
    alone.resume()
    alone.resume()
    outside = world("one")
    before.enter()

    routines = [Routine(lambda name=name: job(name, tmp_path)) for name in ("one", "two")]  # type: ignore[misc]
    assert [each.resume() for each in routines] == [True, True]
    assert [each.resume() for each in routines] == [False, False]

    assert [each.error for each in routines] == [None, None]
    assert routines[0].result == alone.result
    assert routines[1].result[:6] == ["two", "two", ["StreamHandler"], 2, torch.float64, False]
    assert world("one")[:6] == outside[:6]  # the checks of annotations draw random numbers
    before.enter()


def test_a_job_that_exits_ends_itself_alone() -> None:
    def exits() -> None:
        raise SystemExit(3)

    routine = Routine(exits)

    assert not routine.resume()
    assert isinstance(routine.error, SystemExit)
    assert current() is None


def test_a_job_may_set_a_handler_for_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with signals_left_alone():
        routine = Routine(lambda: (signal.signal(signal.SIGUSR1, signal.SIG_IGN), threading.current_thread()))
        routine.resume()

    assert routine.error is None
    assert routine.result[0] == before == signal.getsignal(signal.SIGUSR1)


def test_a_thread_that_looks_now_and_then_rests_while_all_jobs_wait() -> None:
    looks = [0]

    def looking() -> None:
        while not over.is_set():
            _sleep(0.001)
            looks[0] += 1

    over = threading.Event()
    routine = Routine(lambda: (threading.Thread(target=looking, daemon=True).start(), current().wait("others")))  # type: ignore[union-attr,func-returns-value]
    routine.resume()

    # The look that had begun ends; whatever comes after it is for the job to see.
    assert not runs.is_set()
    seen = looks[0] + 1
    assert not over.wait(0.1)
    assert looks[0] <= seen
    over.set()
    routine.resume()
