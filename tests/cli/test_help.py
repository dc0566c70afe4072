"""`shoal train --help` is for people: groups, the settings used most, then any group, choice or setting by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from shoal.cli import _COMMANDS, application, run
from shoal.config.help import USED_MOST

TOPICS = {
    "optimizer": ["optimizer=adamw", "Stochastic gradient descent", "--help optimizer=adam"],
    "optimizer=sgd": ["optimizer.momentum=0.0", "Share of the last update kept", "(a number from 0 to below 1)"],
    "task=csv": ["task.path=???", "task.missing=error", "Column to predict;"],
    "optimizer.lr": ["optimizer.lr=0.001", "Step size.", "Allowed: a number greater than 0"],
    "lr": ["optimizer.lr=0.001"],
    "callbacks=early_stopping": ["callbacks.early_stopping.patience=10"],
    "trainer": ["trainer=overfit", "trainer.max_epochs=100", "trainer.gradient_clip_val=null"],
    "trainer.precision": ["16-mixed"],
    "sweep": ["sweep.halving=", "sweep.n_trials=null", "how many trials to search with"],
    "experiment": ["b2_quadratic", "B2: minimise (x - 5)^2"],
    "expect": ["What an experiment expects"],
    "check": ["check=reload", "Train the job, save it"],
}


def shown(capsys: pytest.CaptureFixture[str], *topics: str) -> str:
    assert run(["train", "--help", *topics]) == 0
    return capsys.readouterr().out


def test_the_help_has_groups_with_choices_and_the_settings_used_most(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys)

    assert "adam, adamw, lbfgs, lm, muon, own, rmsprop, sgd" in " ".join(text.split())
    for key in USED_MOST:
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{key}="))
        assert len(line.split()) > 2, "a setting without a sentence"
    assert "shoal train -m" in text


@pytest.mark.parametrize("topic", ["", *TOPICS])
def test_no_line_of_the_help_is_wider_than_a_terminal(
    topic: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, *([topic] if topic else []))

    assert max(map(len, text.splitlines())) <= 80
    for said in TOPICS.get(topic, []):
        assert said in " ".join(text.split())


def test_the_help_on_a_choice_of_ones_own_is_that_of_its_constructor(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["new", "task", "pendulum"])
    capsys.readouterr()

    text = " ".join(shown(capsys, "task=pendulum").split())

    assert "task.damping=0.3 How fast the swing dies out, per second. (a number of at least 0)" in text


@pytest.mark.parametrize(
    ("topic", "said"), [("optimzer", "did you mean optimizer?"), ("task=irs", "did you mean iris?")]
)
def test_a_topic_that_is_not_there_is_refused_with_the_nearest(
    topic: str, said: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", "--help", topic])

    assert code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("commands", _COMMANDS.values())
def test_a_command_is_found_without_the_modules_of_others(commands: tuple[str, ...]) -> None:
    found = typer.main.get_command(application(commands[0])).commands  # type: ignore[attr-defined]

    assert tuple(found) == commands
