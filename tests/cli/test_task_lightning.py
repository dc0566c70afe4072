"""`task=lightning`: somebody's LightningModule in one line, and the way to it from words that are not quite right."""

from __future__ import annotations

from pathlib import Path

import pytest

import shoal
from shoal.cli import run as command
from shoal.errors import ConfigError

MODULE = ["task=lightning", "task.module._target_=own_modules.Wave"]
DATA = "+task.datamodule._target_=own_modules.Loaders"


def test_a_module_and_its_data_train_by_the_names_of_their_classes(undrawn: None, workdir: Path) -> None:
    run = shoal.train([*MODULE, "+task.module.hidden=4", DATA, "trainer.max_epochs=1"])

    assert "_target_: own_modules.Wave\n    hidden: 4\n" in (run.path / "config.yaml").read_text()
    assert {"train_loss", "val_loss"} <= set(run.metrics.columns)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["task=lightning"], "conf/task/lightning.yaml): must be given"),
        ([*MODULE, "task.module.hidden=4"], "\n  +task.module.hidden=4 adds it for own_modules.Wave"),
        ([*MODULE, DATA[1:]], f"\n  task.datamodule is null: {DATA} begins it"),
        ([*MODULE, "task.module.hidden=4", DATA[1:]], "\n  +task.module.hidden=4 adds it for own_modules.Wave"),
        ([*MODULE, "task.datamodule.batch_size=4"], "\n  first +task.datamodule._target_=CLASS"),
        (["task=lightning", "task.module=own_modules.Wave"], "\n  for example task.module._target_=own_modules.Wave"),
        (["task=lightning", "task.module={_target_:own_modules.Wave,hidden:4}"], "itself: +task.module.hidden=VALUE"),
        ([*MODULE, "+task.module.hiden=4"], ": no such setting\n  did you mean hidden?"),
    ],
)
def test_words_for_a_class_that_are_not_quite_right_are_told_the_right_ones(words: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        shoal.train(words)

    assert told in caught.value.text()
    assert len(caught.value.text().splitlines()) <= 3


@pytest.mark.filterwarnings("default:Using a target size")
def test_a_run_says_of_what_its_training_was_warned(
    undrawn: None, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workdir / "shapes.py").write_text(
        "from own_modules import Wave\nimport torch\n\n\nclass Wider(Wave):\n"
        "    def training_step(self, batch, batch_idx):\n"
        "        return torch.nn.functional.mse_loss(self(batch[0]), batch[1][:, 0])\n"
    )

    command(["train", "task=lightning", "task.module._target_=shapes.Wider", DATA, "trainer.max_epochs=1"])

    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  warnings")]
    assert line.startswith("  warnings     1 in train.log, the last: shapes.py:7: UserWarning: Using a target size")
