"""Generated overrides and files: the program trains, or says in three lines why not; a traceback is a bug."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shoal.cli import train as main

pytestmark = pytest.mark.usefixtures("unrendered")


TINY = [
    "task.n_samples=16",
    "task.batch_size=8",
    "model.hidden=[4]",
    "trainer.max_epochs=1",
    "callbacks=quiet",
    "logger=none",
]
KEYS = [
    "task", "model", "optimizer", "scheduler", "loss", "trainer", "callbacks", "logger", "seed", "engine", "resume",
    "outputs", "task.noise", "task.domain", "task.val_fraction", "task.batch_size", "task.val_batch_size", "task.seed",
    "model.hidden", "model.activation", "model.dropout", "optimizer.lr", "optimizer.beta1", "optimizer.eps",
    "optimizer.weight_decay", "scheduler.gamma", "loss.delta", "trainer.gradient_clip_val",
    "trainer.accumulate_grad_batches", "trainer.limit_train_batches", "trainer.limit_val_batches",
    "trainer.check_val_every_n_epoch", "trainer.val_check_interval", "trainer.log_every_n_steps", "trainer.precision",
    "trainer.overfit_batches", "trainer.num_sanity_val_steps", "trainer.min_steps", "trainer.max_time",
    "callbacks.checkpoint.monitor", "callbacks.checkpoint.mode", "callbacks.checkpoint.every_n_train_steps",
    "callbacks.lr", "callbacks.lr._target_", "model._target_", "optimizer._target_", "task._target_", "debug.x",
    "hydra.job.name", "hydra.verbose", "no.such.key", "",
]  # fmt: skip
VALUES = [
    "0", "1", "2", "-1", "0.5", "1e-3", "1e400", "nan", "inf", "-inf", "true", "false", "null", "", "abc", "???",
    "[]", "[1]", "[0.5,2]", "[-1,1]", "[[1]]", "{}", "{a:1}", "{_target_:os.getpid}", "adam", "mlp", "sgd", "plateau",
    "cosine", "huber", "relu", "tanh", "val/loss", "16-mixed", "64-true", "${seed}", "${nope}", "${oc.env:HOME}",
    "shoal.models.MLP", "torch.nn.Linear", "torch.optim.SGD", "os.getpid", "'a b'", "1,2", "99999999999999999999",
    "../x", "a=b", "ü", "\\", "'", "(", "[1,", "{a", "range(3)", "1_000", "0x10", "None",
]  # fmt: skip


@st.composite
def overrides(draw: st.DrawFn) -> list[str]:
    """A few overrides, some of them valid."""
    words = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        prefix = draw(st.sampled_from([*[""] * 12, "+", "++", "~"]))
        odd = draw(st.sampled_from([False] * 9 + [True]))
        key = draw(st.text("abc._@/=", max_size=5) if odd else st.sampled_from(KEYS))
        odd = draw(st.sampled_from([False] * 4 + [True]))
        value = draw(st.text(max_size=6) | st.floats().map(str) if odd else st.sampled_from(VALUES))
        words.append(f"{prefix}{key}={value}")
    return words


LINES = st.sampled_from(
    ["lr: 0.1", "lr: [", "_target_: shoal.optimizers.SGD", "- a", "a: &x [1]", "b: *x", "\ta: 1", "lr: ${a}",
     "defaults:", "  - adam", "  - nope", "defaults: [adam, _self_]", "# @package _global_", "? a", "lr: !!int x",
     "lr: 1", "%YAML 9", "---", "optimizer: {lr: -1}", "{", "}", ": :", "lr: .nan", "momentum: 0.9", "1: 2",
     "null: 3", "~: ~", "é: ü"]
)  # fmt: skip


@contextlib.contextmanager
def empty_folder(path: Path) -> Iterator[Path]:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    before = Path.cwd()
    os.chdir(path)
    try:
        yield path
    finally:
        os.chdir(before)


def check(words: list[str]) -> None:
    """Train, or be told why not."""
    out, err = io.StringIO(), io.StringIO()

    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exit_code = main([*TINY, *words])

    said = err.getvalue()
    lines = [line for line in said.splitlines() if not line.startswith(("epoch ", "warning: "))]
    assert exit_code in (0, 1, 2), said
    assert "Traceback" not in said
    assert "debug=true shows the traceback" not in said, said
    assert len(lines) <= 3
    assert (exit_code == 0) == (not lines), said
    if exit_code == 2:
        assert not Path("outputs").exists(), said
    assert exit_code == 0 or lines[0].startswith("error: "), said


FUZZ = settings(
    max_examples=int(os.environ.get("SHOAL_FUZZ_EXAMPLES", "40")),
    deadline=timedelta(seconds=60),
    phases=[Phase.explicit, Phase.generate],
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(words=overrides())
def test_generated_overrides_train_or_are_refused_in_three_lines(tmp_path: Path, words: list[str]) -> None:
    with empty_folder(tmp_path / "here"):
        check(words)


@pytest.mark.filterwarnings("ignore")
@FUZZ
@given(lines=st.lists(LINES, max_size=6))
def test_a_generated_file_trains_or_is_refused_in_three_lines(tmp_path: Path, lines: list[str]) -> None:
    with empty_folder(tmp_path / "here") as here:
        (here / "conf" / "optimizer").mkdir(parents=True)
        (here / "conf" / "optimizer" / "mine.yaml").write_text("\n".join(lines), encoding="utf-8")

        check(["optimizer=mine"])
