"""What steps leave outside of their modules: in a stack, where a step stands for many, it would be lost in silence."""

from __future__ import annotations

import array
import contextlib
import contextvars
import csv
import ctypes
import datetime
import functools
import io
import itertools
import logging
import mmap
import operator
import os
import random
import re
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy
import pytest
import torch
from torch import Tensor

from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.seeding import generators_restored
from shoal.step.outward import forgetting, nothing_left
from shoal.step.reach import Reach
from shoal.step.unfit import CannotStackError
from styled import Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")

LOG = logging.getLogger("a program's own")
HEARD: list[int] = []
FILE = io.StringIO()
OWN = SimpleNamespace(n=0)
BETA: contextvars.ContextVar[float] = contextvars.ContextVar("beta", default=0.0)


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
        (lambda: setattr(torch, "left", 1), "changes torch.left"),
        (lambda: BETA.set(1.0), "changes the context variable beta"),
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
    assert not hasattr(torch, "left")
    assert BETA.get() == 0.0
    assert capsys.readouterr().out == ""
    assert caplog.text == ""


def test_torch_may_make_folders_for_itself_while_a_step_is_traced(tmp_path: Path) -> None:
    place = {"__name__": "torch.somewhere", "path": tmp_path / "made"}

    with nothing_left(torch.nn.Linear(1, 1)):
        exec("import os; os.makedirs(path / 'in'); open(path / 'file', 'w').close()", place)

    assert len(list((tmp_path / "made").iterdir())) == 2


def _counting() -> Callable[[], int]:
    n = 0

    def count() -> int:
        nonlocal n
        n += 1
        return n

    return count


def _by_default(counts: list[int] = [0]) -> None:  # noqa: B006  (as programs have it)
    counts[0] += 1


@functools.cache
def _kept() -> list[int]:
    return [0]


class Single:
    """There is one of it."""

    n = 0


MEMORY = mmap.mmap(-1, 8)
NUMBER = ctypes.c_int(0)
ARRAY = array.array("d", [0.0])
NUMBERS = numpy.zeros(4000)
MANY = numpy.zeros((200, 1000))
TURNED = MANY.T.copy().T
NESTED = {"of": [{"n": 0}]}
COUNT = _counting()
TURNS = itertools.cycle([1, 2])
NEXT = functools.partial(next, iter(range(100)))
GENERATOR = random.Random(0)
DRAWS = numpy.random.default_rng(0)
SEEN: dict[int, int] = {}
TENSOR = torch.zeros(3)
LARGE = torch.zeros(1 << 18)
OWN_LOCALS = threading.local()
OWN_LOCALS.n = 0


def _add(holder: Any, place: Any) -> Callable[[], Any]:
    return lambda: operator.setitem(holder, place, holder[place] + 1)


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "MEMORY": (_add(MEMORY, 0), lambda: MEMORY[0]),
    "NUMBER": (lambda: setattr(NUMBER, "value", NUMBER.value + 1), lambda: NUMBER.value),
    "ARRAY": (_add(ARRAY, 0), lambda: ARRAY[0]),
    "NUMBERS": (_add(NUMBERS, 1), lambda: NUMBERS[1]),
    "MANY": (_add(MANY, (150, 7)), lambda: MANY.sum()),
    "TURNED": (_add(TURNED, (199, 999)), lambda: TURNED.sum()),
    "LARGE": (lambda: LARGE.add_(1), lambda: LARGE.sum().item()),
    "NESTED['of'][0]['n']": (_add(NESTED["of"][0], "n"), lambda: NESTED["of"][0]["n"]),
    "COUNT's n": (COUNT, lambda: COUNT.__closure__[0].cell_contents),  # type: ignore[attr-defined]
    "TURNS": (lambda: next(TURNS), lambda: 0),
    "NEXT.args": (NEXT, lambda: 0),
    "GENERATOR": (GENERATOR.random, GENERATOR.getstate),
    "DRAWS": (DRAWS.random, lambda: DRAWS.bit_generator.state["state"]),
    "SEEN": (lambda: SEEN.update({len(SEEN): 1}), lambda: len(SEEN)),
    "TENSOR": (lambda: TENSOR.add_(1), lambda: TENSOR.tolist()),
    "OWN_LOCALS.n": (lambda: setattr(OWN_LOCALS, "n", OWN_LOCALS.n + 1), lambda: OWN_LOCALS.n),
    "Single.n": (lambda: setattr(Single, "n", Single.n + 1), lambda: Single.n),
    "_by_default's default argument 1": (_by_default, lambda: _by_default.__defaults__),
    "_kept()": (lambda: _add(_kept(), 0)(), lambda: _kept()[0]),
}


def _try_thrice(module: Style, act: Callable[[], Any]) -> None:
    for _ in range(3):
        with nothing_left(module, hears=True) as hearing, hearing:
            act()


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_step_changes_in_any_object_is_named_and_put_back(name: str) -> None:
    act, read = CHANGES[name]
    _kept()
    before, module = read(), Keeps()

    with pytest.raises(CannotStackError) as error, forgetting():
        _try_thrice(module, act)

    assert f"test_vectorized_outward.{name}" in str(error.value)
    assert "what it keeps from step to step can be a buffer of the module" in str(error.value)
    assert read() == before


def test_what_a_step_makes_once_and_keeps_is_no_change() -> None:
    made: list[Tensor] = []
    module = Keeps()

    with forgetting():
        for n in (4, 4, 6, 6):
            with nothing_left(module, n):
                made.append(_table(n))

    assert [len(each) for each in made] == [4, 4, 6, 6]


class Fixed(list[Any]):
    """Refuses to be changed, as the names of an index of pandas."""

    def _refused(self, *args: Any) -> None:
        raise TypeError("cannot be changed")

    clear = extend = _refused  # type: ignore[assignment]


FIXED = Fixed(["a", 2])


def test_what_refuses_to_be_changed_is_left_alone_when_all_is_put_back() -> None:
    reach = Reach(Keeps(), keeps=True)

    reach.put_back()

    assert any("FIXED" in path for path in reach.held)
    assert FIXED == ["a", 2]


@functools.lru_cache(maxsize=8)
def _table(n: int) -> Tensor:
    return torch.arange(n)


DATABASE = sqlite3.connect(":memory:", check_same_thread=False)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (time.time, "reads a clock (time.time), once for all steps of a stack"),
        (perf_counter, "reads a clock (time.perf_counter)"),
        (datetime.datetime.now, "reads a clock (datetime.now)"),
        (lambda: random.choice([1, 2]), "draws from a global random generator"),
        (lambda: numpy.random.rand(), "draws from a global random generator"),
        (uuid.uuid4, "draws random numbers of the system's"),
        (lambda: torch.manual_seed(0), "sets torch's random generator"),
        (lambda: DATABASE.execute("create table there (x)"), "calls Connection.execute, once for all steps"),
    ],
)
def test_what_a_stack_would_ask_once_for_all_steps_is_named(act: Callable[[], Any], words: str) -> None:
    raises, one = pytest.raises(CannotStackError), torch.nn.Linear(1, 1)

    with generators_restored(), raises as error, nothing_left(one, hears=True) as hearing, hearing:
        act()

    assert words in str(error.value)
    assert DATABASE.execute("select count(*) from sqlite_master").fetchone() == (0,)


class HooksTensor(Style):
    """Counts how often a gradient is taken."""

    def made(self) -> None:
        self.taken: list[int] = []

    def penalty(self) -> Tensor:
        weight = self.layers[0].weight * 1.0
        weight.register_hook(lambda _: self.taken.append(1))
        return weight.sum()


class DrawsItsOwn(Style):
    """Is another one now and then, by a generator of its own."""

    def made(self) -> None:
        self.own = random.Random(1)

    def penalty(self) -> Any:
        return self.layers[0].weight.sum() if self.own.random() < 0.1 else 0.0


class HasGenerator(Style):
    """Takes a factor from a generator, which says another one after nine steps."""

    def made(self) -> None:
        self.factors = (1.0 if n < 9 else 2.0 for n in itertools.count())

    def penalty(self) -> float:
        return next(self.factors)


class CountsPastAttribute(Style):
    """Counts where no attribute is looked at, and weighs its penalty by that."""

    def penalty(self) -> Any:
        count = vars(self).setdefault("count", [0])
        count[0] += 1
        return count[0] * self.layers[0].weight.sum()


class CountsInSlots(Style):
    """Counts in an object of its own that has slots."""

    def made(self) -> None:
        self.own = Slotted()

    def penalty(self) -> float:
        self.own.n += 1
        return float(self.own.n > 9)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (HooksTensor, "changes self.taken as its gradient is taken"),
        (DrawsItsOwn, "changes self.own: what it keeps from step to step can be a buffer of the module"),
        (HasGenerator, "changes self.factors"),
        (CountsInSlots, "changes self.own"),
        (CountsPastAttribute, "changes self.count"),
    ],
)
def test_what_a_step_changes_in_any_object_of_its_module_is_named(module: type[Style], words: str) -> None:
    found = unlike_alone(Running([Member.of(job_of(module, seed)) for seed in (0, 1)]))

    assert set(found) == {0, 1}
    assert words in found[0]


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
    assert re.match(r"training_step \((test_vectorized_outward|styled)\.py:\d", found[0])
    assert words in found[0]
    assert (HEARD, OWN.n, SLOTTED.n, CountsAll.n, FILE.getvalue()) == ([], 0, 0, 0, "")
