"""The plan of the sources and of the tests: which file needs which, and what they are called."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from checkout import ROOT

SRC = ROOT / "src"
ONE_IDEA = {
    *("job", "formula", "sweep", "fit"),  # the same thing as it is built, trained, drawn and read
    *("by_module", "upstream", "Own", "Upstream"),  # what a module of the user's, or PyTorch, does in several groups
    "Constant",  # in each group the choice that does nothing: named in configurations
}
"""Names that several modules or classes have for one idea."""
LONGEST_NAME = 72
"""Letters of a test's name: as many as a commit's subject may have."""
LARGEST_CIRCLE = 2
"""Files that may need each other: a class and what one of its methods asks for."""


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


def test_the_picture_of_the_architecture_shows_all_of_the_package() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"[a-z_]+", page.split("```text")[1].split("```")[0]))

    there = {path.stem for path in (SRC / "shoal").iterdir() if path.suffix in ("", ".py")}

    assert there - shown - {"__init__", "__pycache__"} == set()


def test_no_two_modules_or_classes_have_one_name_for_two_ideas() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in _modules().items():
        if path.stem != "__init__":
            homes.setdefault(name.rpartition(".")[2], []).append(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(name)

    several = {name for name, found in homes.items() if len(found) > 1}

    assert several - ONE_IDEA == set()


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


def _reached(name: str, needs: Mapping[str, set[str]]) -> set[str]:
    """The files that a file needs, and those that these need, and so on."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = needs[waiting.pop()] - found
        found |= new
        waiting += new
    return found
