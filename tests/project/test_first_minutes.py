"""The first minutes with a checkout: installing, what comes next, and commands that any shell takes as they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checkout import ROOT
from shoal.cli import run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("shoal", "python", "pip", "make", "pytest", "srun", "tensorboard", "source")
NOT_PLAIN = re.compile(r"[][{}*?()^<>|;&$`!#]|(?<!\S)[~=]")
"""What zsh or another shell takes for a pattern, or for more than a word: brackets, which zsh looks files up by, above
all."""


def commands(page: Path) -> Iterator[str]:
    """Whatever on a page one would type into a shell: in blocks, after their prompt, and within sentences."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    sentences = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for language, block in blocks:
        for line in block.splitlines():
            if language == "sh" or line.removeprefix("$ ").startswith(tuple(f"{name} " for name in PROGRAMS)):
                yield line.removeprefix("$ ")
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", sentences):
        if span.startswith(tuple(f"{name} " for name in PROGRAMS)):
            yield " ".join(span.split())


def plain(command: str) -> str:
    """What of a command no quotes protect, aside from its comment, its redirection and the mark of a job beside it."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\\.| #.*|\s>\s\S+$|\s&$", "", command)


def demo(folder: Path, *, installed: bool) -> str:
    """What `make demo` would do in a copy of the checkout, without doing it."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".venv").mkdir()
    for stamp in (".created", ".installed") if installed else ():
        (folder / ".venv" / stamp).touch()
    return subprocess.run(["make", "-n", "demo"], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_quoted_for_any_shell(page: Path) -> None:
    unquoted = [command for command in commands(page) if NOT_PLAIN.search(plain(command))]

    assert unquoted == []


@pytest.mark.parametrize("command", ["shoal train model.hidden=[64,64]", "shoal train -m seed=range(3)", "x ~model"])
def test_a_command_that_zsh_would_not_take_is_found(command: str) -> None:
    assert NOT_PLAIN.search(plain(command))
    assert not NOT_PLAIN.search(plain(shlex.join(shlex.split(command))))


def test_there_are_commands_to_look_at() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 100


def test_the_first_demo_installs_in_sight_and_ends_with_the_next_step(tmp_path: Path) -> None:
    steps = demo(tmp_path, installed=False)

    assert "pip install" in steps
    assert "--quiet" not in steps
    assert steps.index("train.py task=parabola") < steps.index("source .venv/bin/activate")


def test_the_second_demo_installs_nothing(tmp_path: Path) -> None:
    steps = demo(tmp_path, installed=True)

    assert "pip" not in steps
    assert "train.py task=parabola" in steps


def test_the_readme_says_once_how_to_activate_the_environment() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("source .venv/bin/activate") == 1


def test_train_py_says_what_to_do_where_shoal_is_not_installed(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", str(ROOT / "train.py"), "task=parabola"]

    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [
        f"error: shoal is not installed for {sys.executable}",
        "  in a checkout: make demo, then in each new shell: source .venv/bin/activate",
        "  into an environment of your own: pip install -c requirements.lock .",
    ]


def test_shoal_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    codes = [run([]), run(["--help"])]

    shown = capsys.readouterr().out
    assert codes == [0, 0]
    assert shown[: len(shown) // 2] == shown[len(shown) // 2 :]
    assert "Commands:" in shown


@pytest.mark.parametrize(
    ("there", "said"), [(None, "pip install pytest, then pytest test_coil.py"), (1, "pytest test_coil.py")]
)
def test_what_is_started_says_how_to_test_it(
    there: int | None, said: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shoal.cli.starting.find_spec", lambda _: there)

    run(["new", "task", "coil"])

    assert f"test it         {said}\n" in capsys.readouterr().out
