"""The README's commands, run as they stand, one after the other, in one folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkout import ROOT
from commands import in_a_shell, typed
from shoal.build.named_constructor import constructor

pytestmark = pytest.mark.usefixtures("unrendered")


README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith(("make", "source"))
]
SHORT = {"python train.py": "trainer.max_epochs=2"}
"""Added to a command so that the test takes seconds."""


SHELL = ("python train.py", "shoal runs")
"""The first command of each program is typed in a shell; the others in this process, which has loaded torch."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a reader would type them: a folder with train.py."""
    path = [*sys.path]
    folder = tmp_path_factory.mktemp("readme")
    (folder / "train.py").write_text((ROOT / "train.py").read_text())
    yield folder
    sys.path[:] = path
    sys.modules.pop("spring", None)
    constructor.cache_clear()


def test_the_commands_of_the_readme_do_what_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) >= 9
    monkeypatch.chdir(folder)
    in_shell = [next(line for line in COMMANDS if line.startswith(program)) for program in SHELL]

    for command in COMMANDS:
        short = next((f"{command} {words}" for start, words in SHORT.items() if command.startswith(start)), command)
        code, output = in_a_shell(short) if command in in_shell else typed(short)
        assert code == 0, f"{short}\n{output}"
        assert output, short


def test_the_python_of_the_readme_runs(workdir: Path) -> None:
    block = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    names: dict[str, Any] = {}

    exec(compile(block, "README.md", "exec", dont_inherit=True), names)

    assert names["run"].status == "completed"


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()
