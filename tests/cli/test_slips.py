"""Slips, and words of other programs: each names what does here what it was meant to do, in three lines at most."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.cli import run

SETTINGS = {
    "lr=0.1": "did you mean optimizer.lr=0.1?",
    "epochs=10": "did you mean trainer.max_epochs=10?",
    "batch_size=32": "did you mean task.batch_size=32?",
    "batchsize=32": "did you mean task.batch_size=32?",
    "learningrate=0.1": "did you mean optimizer.lr=0.1?",
    "hidden=[8,8]": "did you mean 'model.hidden=[8,8]'?",
    "model.optimizer.lr=0.1": "did you mean optimizer.lr=0.1?",
    "data.batch_size=64": "did you mean task.batch_size=64?",
    "callbacks.model_checkpoint.monitor=val/loss": "did you mean callbacks.checkpoint.monitor=val/loss?",
    "momentum=0.9": "optimizer=rmsprop or optimizer=sgd has it: optimizer.momentum=0.9",
    "optimizer.momentum=0.9": "optimizer=rmsprop or optimizer=sgd has it: optimizer.momentum=0.9",
    "callbacks.early_stopping.patience=3": "callbacks=early_stopping has it: callbacks.early_stopping.patience=3",
    "hydra.sweeper.n_trials=3": "did you mean sweep.n_trials=3 with -m hydra/sweeper=optuna?",
    "data=mnist": "here it is task=NAME; images come from a LightningModule and a DataModule of yours",
    "task=cifar10": "images come from a LightningModule and a DataModule of yours: shoal new module",
    "data.train_val_test_split=1": "data is task here",
    "hparams_search=mnist_optuna": "-m hydra/sweeper=optuna sweep.n_trials=20",
    "ckpt_path=last.ckpt": "shoal resume RUN",
    "test=True": "shoal eval last --test",
    "debug=overfit": "trainer=overfit",
    "debug=fdr": "trainer.fast_dev_run=true",
    "hydra/launcher=joblib": "sweeps need none",
    "hydra/sweeper=ax": "hydra/sweeper=optuna",
    "sweep.bootstrap=100": "model=formula has it: model.bootstrap=100",
    "sweep.n_sample=3": "did you mean n_samples?",
    "parabola": "did you mean task=parabola?",
    "adam": "did you mean optimizer=adam?",
}
COMMANDS = {
    "list": "did you mean shoal runs?",
    "shwo": "did you mean shoal show?",
    "sweep": "did you mean shoal train -m?",
    "task=iris": "did you mean shoal train task=iris?",
    "tensorboard": "did you mean shoal board?",
    "nothing_like_it": "all commands: shoal --help",
}


@pytest.mark.parametrize("word", SETTINGS)
def test_a_word_that_is_no_setting_is_told_what_does_what_it_means(
    word: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", word])

    said = capsys.readouterr().err
    assert code == 2
    assert said.startswith(f"error: {word.partition('=')[0]}")
    assert SETTINGS[word] in said
    assert len(said.splitlines()) <= 3


@pytest.mark.parametrize("word", COMMANDS)
def test_a_word_that_is_no_command_is_told_what_it_is_called_here(
    word: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([word])

    said = capsys.readouterr().err.splitlines()
    assert code == 2
    assert said[0] == f"error: there is no command {word}"
    assert COMMANDS[word] in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--task", "parabola"], "did you mean task=parabola?"),
        (["task=parabola", "--epochs", "10"], "did you mean trainer.max_epochs=10?"),
        (["--optimizer.lr=0.1", "seed=1"], "did you mean optimizer.lr=0.1?"),
        (["--learning-rate", "0.1"], "did you mean optimizer.lr=0.1?"),
        (["--debug"], "did you mean debug=true?"),
        (["--nothing-like-it"], "settings are KEY=VALUE; --help shows them and the options"),
        (["task", "=", "parabola"], "without spaces: task=parabola"),
    ],
)
def test_a_setting_that_is_written_as_an_option_is_told_as_a_setting(
    words: list[str], meant: str, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["train", *words])

    problem, hint = capsys.readouterr().err.splitlines()
    assert code == 2
    assert problem.startswith("error: ")
    assert hint.strip() == meant


def test_an_option_that_a_command_does_not_have_may_be_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["find-lr", "--task", "parabola"]) == 2
    assert "  settings are KEY=VALUE, task=VALUE; see: shoal find-lr --help\n" in capsys.readouterr().err


def test_the_version_is_told_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.split()[0] == "shoal"


def test_where_there_are_no_runs_a_board_says_how_to_train_one(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["board"]) == 2
    assert capsys.readouterr().err == "error: there are no runs in outputs\n  train one: shoal train task=parabola\n"


def test_a_slip_of_a_sweep_is_told_the_same_way_out(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["train", "-m", "lr=0.1,0.2"])

    assert code == 2
    assert "did you mean optimizer.lr=" in capsys.readouterr().err
