"""One place tells errors, whatever the command, and one word asks it for a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli import _COMMANDS, run
from shoal.errors import ConfigError, ShoalError, brief

WRONG = {"train": ["train", "task=nosuch"], "show": ["show", "nosuch"], "resume": ["resume", "nosuch"]}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_the_word_debug_shows_a_traceback_in_any_command(
    words: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*words, "debug=true"])

    assert code == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["debug=True", "++debug=true"])
@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_the_word_debug_is_known_however_it_is_written(
    word: str, words: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*words, word])

    assert code == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("command", [name for names in _COMMANDS.values() for name in names])
def test_the_environment_asks_for_a_traceback_in_any_command(
    command: str, workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_DEBUG", "1")

    code = run([command, "--nosuch"])

    assert code == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_without_being_asked_an_error_has_at_most_three_lines(
    words: list[str], workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(words)

    said = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said[0].startswith("error: ")
    assert len(said) <= 3


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("task.noise", -1, "must be at least 0", hint="0.1"), "task.noise=-1: must be at least 0"),
        (ShoalError("the disk is full", hint="make room"), "the disk is full"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (SystemExit(), "SystemExit"),
    ],
)
def test_an_error_on_one_line_keeps_its_key_or_its_class(error: BaseException, line: str) -> None:
    assert brief(error) == line


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("words", [["train", "task=parabola"], ["fit", "t.csv", "y = a*x", "a=1"], ["runs"]])
def test_whatever_command_is_interrupted_says_so(
    words: list[str], workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shoal.app.train.train", interrupt)
    monkeypatch.setattr("shoal.review.catalog.find", interrupt)

    code = run(words)

    assert code == 130
    assert capsys.readouterr().err == "interrupted\n"
