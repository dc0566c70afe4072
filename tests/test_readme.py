"""The README's commands, run as they stand, one after the other, in one folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line and not line.startswith("make")
]
SHORT = {"python train.py": "trainer.max_epochs=2"}
"""Added to a command so that the test takes seconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would type them: a folder with train.py."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "train.py").write_text((ROOT / "train.py").read_text())
    return folder


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell that finds this Python and shoal."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, shell=True, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


def test_the_commands_of_the_readme_do_what_it_says(folder: Path) -> None:
    assert len(COMMANDS) >= 9

    for command in COMMANDS:
        short = next((f"{command} {words}" for start, words in SHORT.items() if command.startswith(start)), command)
        ended = typed(short, folder)
        assert ended.returncode == 0, f"{short}\n{ended.stderr}"
        assert ended.stdout, short


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    block = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]

    ended = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_the_links_of_the_readme_lead_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()
