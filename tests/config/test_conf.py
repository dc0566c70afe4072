"""Every file under conf/ composes and builds; what must be light imports no torch; completion knows groups and keys."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.build.checked_job import job
from shoal.config.compose import composed
from shoal.config.folders import own_conf
from shoal.errors import ConfigError
from shoal.rundir.log import quiet_logging

GROUPS = ("task", "model", "optimizer", "scheduler", "loss", "trainer", "callbacks", "logger")
NEEDS = {
    "task=csv": ["task.path=data.csv", "task.target=y"],
    "loss=cross_entropy": ["task=iris"],
    "loss=poisson": ["task=samples", "task.x=[1,2]", "task.y=[2,4]"],
    "loss=binomial": ["task=samples", "task.x=[1,2]", "task.y=[0.2,0.4]"],
    "task=lightning": ["task.module._target_=own_modules.Wave", "+task.samples._target_=shoal.tasks.Parabola"],
    "task=hare_lynx": ["model.expression=[a*year,b*year]", "model.start={a:1,b:1}"],
    "task=nist": ["model.expression=a*x", "model.start={a:1}"],
    "task=samples": ["task.x=[1,2]", "task.y=[2,4]"],
    "task=function": ["task.expression='sin(x)'"],
    "trainer=gpu": ["trainer.accelerator=cpu"],
    "logger=many": ["logger.mlflow=null"],
    "model=scalar": ["task=minimize_quadratic"],
    "optimizer=lm": ["model=formula", "model.expression=a*x", "model.start={a:1}", "task.batch_size=null"],
    "optimizer=lbfgs": ["task.batch_size=null"],
    "model=formula": ["model.expression=a*x", "model.start={a:1}"],
}
"""What a choice cannot be built without, here."""
OWN = ["model=own", "optimizer=own", "loss=own"]
"""Choices that leave to a LightningModule of the user's what it does itself; they are built in test_own_module."""
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((own_conf() / group).glob("*.yaml"))]


@pytest.mark.parametrize("choice", sorted(set(CHOICES) - set(OWN)))
def test_every_choice_of_every_group_composes_and_builds(choice: str, workdir: Path) -> None:
    (workdir / "data.csv").write_text("x,y\n" + "\n".join(f"{i},{2 * i}" for i in range(100)))

    if choice in ("logger=mlflow", "logger=wandb"):
        pytest.importorskip(choice.removeprefix("logger="))

    with quiet_logging(), composed([choice, *NEEDS.get(choice, [])]) as found:
        built = job(found.values())

    module = built.module()
    assert sum(each.numel() for each in module.parameters()) > 0
    assert len(built.data.train) > 0


def test_jobs_with_the_same_trainer_share_nothing_that_one_can_change() -> None:
    with quiet_logging(), composed(["trainer.profiler={_target_:pytorch_lightning.profilers.SimpleProfiler}"]) as found:
        first, second = job(found.values()), job(found.values())

    assert first.trainer.keys() == second.trainer.keys()
    assert first.trainer is not second.trainer
    assert first.trainer["profiler"] is not second.trainer["profiler"]


@pytest.mark.parametrize("choice", OWN)
def test_a_choice_for_an_own_lightning_module_is_refused_without_one(choice: str) -> None:
    with (
        quiet_logging(),
        composed([choice]) as found,
        pytest.raises(ConfigError, match="a task with a LightningModule"),
    ):
        job(found.values())


@pytest.mark.parametrize(
    "words", [["--help", "task=csv"], ["--cfg", "job"], ["task=parabla"], ["optimizer.lrr=1"], ["--info", "plugins"]]
)
def test_help_configuration_and_composition_errors_import_no_torch(words: list[str], workdir: Path) -> None:
    script = (
        "import sys\nfrom shoal.cli import train as main\n"
        "try:\n    code = main(sys.argv[1:])\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'pytorch_lightning', 'pydantic', 'polars', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    ended = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["optim"], {"optimizer=", "optimizer."}),
        (["optimizer=ad"], {"optimizer=adam", "optimizer=adamw"}),
        (["optimizer", "=", "ad"], {"adam", "adamw"}),
        (["optimizer", "="], {"adam", "adamw", "lbfgs", "lm", "muon", "own", "rmsprop", "sgd"}),
        (["model.act"], {"model.activation="}),
        (["model.hid"], {"model.hidden="}),
        (["task=csv", "task.pa"], {"task.path="}),
        (["task", "=", "csv", "optimizer.lr", "=", "0.1", "task.ta"], {"task.target="}),
        (["task=cvs", "task.n_s"], {"task.n_samples="}),
    ],
)
def test_completion_offers_groups_choices_and_keys(line: list[str], expected: set[str]) -> None:
    from shoal.config.completion import completions

    offered = completions(line[:-1], line[-1])

    assert set(offered) >= expected if line == ["optim"] else set(offered) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_commands_complete_overrides(shell: str, workdir: Path) -> None:
    line = "shoal train optimizer=ad"
    asked = {
        "bash": {"COMP_WORDS": "shoal train optimizer = ad", "COMP_CWORD": "4"},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]

    ended = subprocess.run(
        [Path(sys.executable).with_name("shoal")],
        env={**os.environ, **asked, "_SHOAL_COMPLETE": f"complete_{shell}"},
        capture_output=True,
        text=True,
    )

    assert "adamw" in ended.stdout
    assert "sgd" not in ended.stdout
