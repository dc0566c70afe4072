"""The pages about formulas, tables and derivatives: their Python runs and prints what it says, their commands train."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from checkout import ROOT
from commands import typed

pytestmark = pytest.mark.usefixtures("unrendered")


PAGES = ["tasks/function.md", "tasks/table.md", "gradcheck.md"]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


def claimed(source: str) -> list[str]:
    """The output that comments of the source give: `...` in one stands for anything."""
    lines = [match[1] for line in source.splitlines() if (match := re.match(r"# (.*)", line))]
    lines += [match[1] for line in source.splitlines() if (match := re.match(r"\s*print\(.*\)  # (.*)", line))]
    return lines


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_prints_what_the_page_says(page: str, workdir: Path) -> None:
    for source in blocks(page, "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, page, "exec"), {"__name__": "page"})

        for line in claimed(source):
            pattern = re.escape(line).replace(r"\.\.\.", ".*")
            assert re.search(f"^{pattern}$", printed.getvalue(), flags=re.MULTILINE), line


@pytest.mark.parametrize("page", PAGES[:2])
def test_the_commands_of_a_page_train(page: str, workdir: Path) -> None:
    for source in blocks(page, "python")[:1]:
        exec(compile(source, page, "exec"), {"__name__": "page"})

    for command in blocks(page, "bash"):
        code, output = typed(command)

        assert code == 0, output
        assert "completed" in output
