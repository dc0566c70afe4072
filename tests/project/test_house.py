"""The plan of the sources and of the tests: which file needs which, and what they are called."""

from __future__ import annotations

import ast
import re
import sys
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import pytorch_lightning as pl

from checkout import ROOT
from shoal.cli import train
from shoal.errors import UsageError

SRC = ROOT / "src"
ONE_IDEA = {
    "Own",  # what configurations name where a LightningModule itself is the model, has the loss and the optimizer
    "multirun",  # a command with `-m`: how its jobs are composed, below config, and what is done of them, below app
    "stack",  # the class that the others of its folder serve
}
"""Names that several modules, packages or classes have for one idea."""
LONGEST_NAME = 72
"""Letters of a test's name: as many as a commit's subject may have."""
COMMENTS = 0.04
"""Share of the lines of code beside which a comment says why, at least: as in the code that this one is modelled on."""
_REDUCERS = (  # of code that `ast.unparse` has written
    r"\bstr\((e|error|exc|raised|cause|other|another|problem)\)(\.\w+\(\))*\.(splitlines\(|partition\(|split\([^)])",
    r"\.text\(\)\.splitlines\(\)\[0\]",
    r"\{type\((\w+)\)\.__name__\}: \{(str\()?\1\b",
)
LARGEST_CIRCLE = 2
"""Files that may need each other: a class and what one of its methods asks for."""
LARGEST_ROOM = 1 / 6
"""Share of all lines that a folder at the top may have: one that grows beyond it has become two."""


def test_no_more_than_two_files_import_each_other_in_a_circle() -> None:
    needs = {name: set(_imported(name, path)) for name, path in _modules().items()}
    reached = {name: _reached(name, needs) for name in needs}

    circles = {frozenset(each for each in reached[name] if name in reached[each]) for name in needs}

    assert len(needs) > 200
    assert [sorted(circle) for circle in circles if len(circle) > LARGEST_CIRCLE] == []


def test_imports_are_seen_in_functions_and_of_names_that_are_files() -> None:
    found = set(_imported("shoal.expressions.expression", SRC / "shoal/expressions/expression.py"))

    assert {"shoal.expressions.parser", "shoal.expressions.symbolic"} <= found
    assert "shoal.tasks.tables.columns" in _imported(
        "shoal.tasks.tables.preparing", SRC / "shoal/tasks/tables/preparing.py"
    )


def test_the_name_of_every_test_fits_on_one_line_of_a_terminal() -> None:
    tests = [
        (path.name, node.name)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]

    assert len(tests) > 500
    assert [f"{file}::{name}" for file, name in tests if len(name) > LONGEST_NAME] == []


def test_every_file_that_the_page_on_the_architecture_names_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|yaml))`", page))

    missing = [name for name in sorted(named) if not any((folder / name).exists() for folder in (ROOT, SRC / "shoal"))]

    assert len(named) > 20
    assert missing == []


def test_each_folder_and_name_that_the_architecture_page_gives_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    quoted = set(re.findall(r"`([^`\n]+)`", page)) - set(re.findall(r"`(\S+\.(?:py|yaml))`", page))
    walked = set(re.findall(r"[a-z_]+(?:/[a-z_]+)+", page.split("```text")[2].split("```")[0]))
    folders = {each.rstrip("/") for each in quoted if re.fullmatch(r"[a-z_]+/[a-z_/]*", each)}
    names = {
        each.removesuffix("()").split(".")[-1] for each in quoted if re.fullmatch(r"\w+\.\w+(?:\(\))?|\w+\(\)", each)
    }

    places = (ROOT, SRC, SRC / "shoal")
    missing = {
        each
        for each in folders | walked
        if not any((place / f"{each}{end}").exists() for place in places for end in ("", ".py"))
    }

    assert len(folders) > 10
    assert len(walked) > 8
    assert missing == set()
    assert {"stacked", "lr", "measure"} <= names
    assert names - _defined() == set()


def test_five_hops_lead_from_the_command_to_lightning(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    hops = re.findall(
        r"^(\d)\. (.*(?:\n   .*)*)", page.split("## From the command to the training")[1].split("##")[0], re.M
    )
    passed: list[str] = []

    def fit(*_: object, **__: object) -> None:
        passed.extend(Path(frame.f_code.co_filename).as_posix() for frame, _ in traceback.walk_stack(sys._getframe()))
        raise UsageError("it has come to Lightning")

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    train(["task=parabola", "callbacks=quiet"])

    package = (SRC / "shoal").as_posix() + "/"
    files = list(dict.fromkeys(file.removeprefix(package) for file in reversed(passed) if file.startswith(package)))
    found = [number for file in files for number, said in hops if f"`{file}`" in said]
    assert [number for number, _ in hops] == list("12345")
    assert len(found) == len(files)
    assert found == sorted(found)
    assert {*found} == {*"12345"}


def test_the_picture_of_the_architecture_shows_all_of_the_package() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"[a-z_]+", page.split("```text")[1].split("```")[0]))

    there = {path.stem for path in (SRC / "shoal").iterdir() if path.suffix in ("", ".py")}

    assert there - shown - {"__init__", "__pycache__"} == set()


def test_no_two_modules_or_classes_have_one_name_for_two_ideas() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in _modules().items():
        homes.setdefault(name.rpartition(".")[2], []).append(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)

    several = {name for name, found in homes.items() if len(found) > 1}

    assert several == ONE_IDEA


def test_each_folder_of_the_package_has_a_folder_of_tests() -> None:
    layers = {each.parent.name for each in (SRC / "shoal").glob("*/__init__.py")}

    tested = {each.parent.name for each in (ROOT / "tests").glob("*/test_*.py")}

    assert layers - tested == set()


def test_no_folder_at_the_top_has_more_than_a_sixth_of_all_lines() -> None:
    rooms = Counter[str]()
    for name, path in _modules().items():
        rooms[".".join(name.split(".")[:2])] += len(path.read_text(encoding="utf-8").splitlines())

    [(largest, lines)] = rooms.most_common(1)

    assert len(rooms) > 30
    assert lines / rooms.total() < LARGEST_ROOM, largest


def test_comments_say_why_beside_four_of_a_hundred_lines() -> None:
    lines = [
        line for path in _modules().values() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]

    commented = [line for line in lines if re.search(r"(?:^|\s)# (?!type:|noqa)", line)]

    assert len(lines) > 40_000
    assert len(commented) / len(lines) >= COMMENTS


@cache
def _modules() -> Mapping[str, Path]:
    """Every file of the package by the name it is imported by."""
    names = {path: ".".join(path.relative_to(SRC).with_suffix("").parts) for path in sorted(SRC.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def _imported(name: str, path: Path) -> Iterator[str]:
    """The files that a file imports anywhere in it, in its functions and for its annotations too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found = [f"{node.module}.{each.name}" for each in node.names]
            found = [each if each in _modules() else node.module for each in found]
        yield from (each for each in found if each in _modules() and each != name)


def _defined() -> set[str]:
    """The names of all classes, functions and annotated settings of the package."""
    found: set[str] = set()
    for path in _modules().values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
    return found


def _reached(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """The files that a file needs, and those that these need, and so on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = needs[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_one_file_alone_makes_a_line_of_an_error() -> None:
    sources = {name: path.read_text(encoding="utf-8") for name, path in _modules().items() if name != "shoal.errors"}

    found = {name: reducers for name, source in sources.items() if (reducers := _reducers(source))}

    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "str(error).splitlines()[0]",
        "str(raised).strip().partition('\\n')[0]",
        "str(e).split(chr(10))",
        "error.text().splitlines()[0]",
        "f'{type(error).__name__}: {error}'",
        "f'it raised {type(other).__name__}: {str(other)}'",
        "next(line for line in str(error).splitlines() if line)",
    ],
)
def test_what_makes_a_line_of_an_error_is_known_as_it_may_be_written(code: str) -> None:
    assert _reducers(code)


def _reducers(source: str) -> list[str]:
    """Where code takes a line of what an error says, or puts its class before that: `brief` and `first_line` do."""
    # Written anew from its syntax: quotes, spaces and line breaks are then everywhere the same.
    code = ast.unparse(ast.parse(source))
    return [found[0] for pattern in _REDUCERS for found in re.finditer(pattern, code)]
