"""The documentation: its commands run, its Python prints what it says, its reference is up to date, its site builds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from checkout import ROOT
from commands import typed
from shoal.build.named_constructor import constructor

pytestmark = pytest.mark.usefixtures("unrendered")


DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
ELSEWHERE = {"pytest test_spring.py": "app/test_new.py", "shoal export last --format pt2": "app/test_run.py"}
"""Commands that take long, and which other test runs them."""
BEGUN = {"review.md": "test_docs_review.py"}
"""Pages whose commands need runs that are there, and which other test types them."""
MOVED = ("from-a-script.md", "from-the-template.md")
"""Pages with a program in files, each named in a line before its content."""
OWN = (
    "waves",
    "src",
    "src.models",
    "src.models.wave_module",
    "src.data",
    "src.data.wave_datamodule",
    "spring",
    "fourier",
    "lion",
    "logcosh",
    "spring_module",
)
"""Modules that the page on extending begins."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line and not line.startswith("#")]


def files(page: str) -> list[tuple[Path, str]]:
    """The files that a page has, with their content."""
    found = re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)^```", (DOCS / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return [(Path(name), content) for name, content in found]


def shortened(command: str) -> str:
    """The command with so few epochs, runs and trials that it takes no time; a sweep in this process."""
    fewer = re.sub(r"n_trials=(\d+)", lambda found: f"n_trials={int(found[1]) // 4}", command)
    words = shlex.split(re.sub(r"range\(\d+\)", "range(2)", fewer))
    if words[:2] == ["shoal", "resume"]:
        return shlex.join(re.sub(r"max_epochs=\d+", "max_epochs=3", word) for word in words)
    if words[:2] != ["shoal", "train"] or {"--help", "--cfg"} & {*words}:
        return command
    sweep = ["sweep.processes=0"] if "-m" in words else []
    words = [word for word in words if "max_epochs=" not in word]
    return shlex.join([*words, *sweep, "trainer.max_epochs=2"])


@pytest.fixture
def typing(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A terminal in an empty folder."""
    monkeypatch.setattr(sys, "argv", ["shoal"])
    monkeypatch.setattr(sys, "path", [str(workdir), *sys.path])
    yield
    for name in OWN:
        sys.modules.pop(name, None)
    constructor.cache_clear()


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page) and page not in BEGUN])
def test_the_commands_of_a_page_do_what_it_says(page: str, typing: None) -> None:
    for name, content in files(page) if page in MOVED else ():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(content)
    for command in commands(page):
        if command in ELSEWHERE:
            continue
        code, output = typed(shortened(command))

        assert code == 0, f"{command}\n{output}"


@pytest.mark.parametrize(("command", "test"), ELSEWHERE.items())
def test_a_command_that_takes_long_stands_in_a_page_and_in_another_test(command: str, test: str) -> None:
    word = command.split()[-1].removesuffix(".py").removeprefix("test_")

    assert any(command in commands(page) for page in PAGES)
    assert word in (ROOT / "tests" / test).read_text()


def test_the_command_that_starts_a_task_says_what_the_page_says(typing: None) -> None:
    (shown,) = [block for block in blocks("extending.md", "text") if "spring.py" in block]

    _, output = typed("shoal new task spring")

    assert output == shown


@pytest.mark.parametrize("page", ["python.md", "extending.md"])
def test_the_python_of_a_page_prints_what_the_page_says(page: str, workdir: Path) -> None:
    names = {"__name__": "page"}

    for source in blocks(page, "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, page, "exec", dont_inherit=True), names)
        claimed = [match[1] for line in source.splitlines() if (match := re.match(r"\s*print\(.*\)  # (.*)", line))]
        assert printed.getvalue().splitlines() == claimed


def test_the_reference_and_the_schemas_are_what_the_constructors_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    page, schemas = reference.page(), reference.documents([reference.CONF], reference.MEANINGS)

    assert (DOCS / "reference.md").read_text() == page, "run: python docs/reference.py"
    assert {file.name: file.read_text() for file in reference.SCHEMAS.iterdir()} == schemas, (
        "run: python docs/reference.py"
    )
    assert "|  |\n" not in page, "a setting without a meaning"


def test_the_page_of_names_is_what_the_docstrings_say() -> None:
    names: dict[str, Any] = {"__file__": str(DOCS / "api.py"), "__name__": "api"}
    exec(compile((DOCS / "api.py").read_text(), "api.py", "exec", dont_inherit=True), names)

    page = names["page"]()

    assert (DOCS / "api.md").read_text() == page, "run: python docs/api.py"
    assert "### `shoal.train`" in page


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]

    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "WARNING" not in ended.stderr
    fetched = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?https?://")
    assert [path for path in (tmp_path / "site").rglob("*.html") if fetched.search(path.read_text())] == []


def test_the_script_that_is_moved_over_runs_as_it_stands(workdir: Path) -> None:
    ((_, source),) = [each for each in files("from-a-script.md") if each[0].name == "script.py"]
    printed = io.StringIO()

    with torch.random.fork_rng(), contextlib.redirect_stdout(printed):
        exec(compile(source, "script.py", "exec", dont_inherit=True), {"__name__": "__main__"})

    assert float(printed.getvalue().removeprefix("val loss ")) < 0.3
