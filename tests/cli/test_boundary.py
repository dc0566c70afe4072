"""One place tells errors, whatever the command, and one word asks it for a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning.core.optimizer import _configure_optimizers
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import nn

from own_runs import SAMPLES, write_task
from shoal.cli import _COMMANDS, run
from shoal.cli.boundary import tell
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


def changed_in_place() -> None:
    y = torch.ones(2, requires_grad=True).exp()
    y += 1
    y.sum().backward()


def differentiated_twice() -> None:
    y = torch.ones(2, requires_grad=True).exp().sum()
    y.backward()
    y.backward()


@pytest.mark.parametrize(
    ("mistake", "way"),
    [
        (lambda: torch.ones(()).backward(), "the loss depends on no weight that is trained"),
        (lambda: (2 * torch.ones(2, requires_grad=True)).backward(), "take the .mean() of the losses"),
        (differentiated_twice, "keep value.detach() instead"),
        (changed_in_place, "write y = y + 1 for y += 1"),
        (lambda: torch.optim.Adam([]), "in nn.ModuleList and nn.ModuleDict"),
        (lambda: _configure_optimizers("adam"), "configure_optimizers is to return an optimizer"),
        (lambda: _configure_optimizers({}), "configure_optimizers is to return an optimizer"),
        (lambda: nn.Linear(1, 1)(torch.ones(1, 1).double()), "take x.float()"),
        (lambda: nn.CrossEntropyLoss()(torch.ones(2, 3), torch.ones(2)), "take y.long()"),
        (lambda: nn.CrossEntropyLoss()(torch.ones(1, 3), torch.tensor([3])), "classes count from 0"),
        (lambda: torch.stack([torch.ones(1), torch.ones(2)]), "give the DataLoader a collate_fn"),
    ],
)
def test_of_usual_mistakes_torchs_error_says_what_to_write_instead(
    mistake: Callable[[], object], way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((RuntimeError, ValueError, LookupError, MisconfigurationException)) as caught:
        mistake()

    tell(caught.value, debug=False)

    said = capsys.readouterr().err.splitlines()
    assert (len(said), way in said[1]) == (3, True)


def test_a_step_that_ends_the_program_fails_its_run_and_is_named(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task("mine", "Exits", SAMPLES, optimizer="adam")

    code = run(["train", "task=mine", "trainer.max_epochs=1"])

    assert code == 1
    assert "ends the program: SystemExit: enough" in capsys.readouterr().err
    [info] = Path("outputs").glob("*/*/run.json")
    assert json.loads(info.read_text())["status"] == "failed"


def test_a_method_that_looks_like_a_hook_and_is_none_is_told_once(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_task("mine", "Misspelt", SAMPLES, optimizer="adam")

    for words in (["seed=0,1", "-m", "sweep.processes=0"], []):
        assert run(["train", *words, "task=mine", "trainer.max_epochs=1"]) == 0

    said = capsys.readouterr().err
    hook = "did you mean on_train_epoch_end?"
    assert said.count("is no hook") == 1
    assert f"Misspelt.on_train_epoch_ends is no hook of Lightning's, and is not called by it: {hook}" in said


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
