"""Training from Python: the same code path as the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shoal.config.origins import COMMAND_LINE
from shoal.config.quoting import quoted
from shoal.errors import ConfigError
from shoal.runs.run import Run


def train(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Run:
    """Train a run as the command line does: `train(["task=parabola", "optimizer.lr=0.01"])`.

    Raises:
        ConfigError: where the configuration is wrong; nothing was written.
        ShoalError: where the run failed or diverged; it is recorded.
    """
    overrides = quoted(overrides)
    resumed = [word.partition("=")[2] for word in overrides if word.startswith("resume=")]
    if resumed and resumed[-1] != "null":
        from shoal.app.resume import resume

        run, _ = resume(Path(resumed[-1]), [word for word in overrides if not word.startswith("resume=")])
    else:
        from shoal.app.start import start

        folder = str(config_dir) if config_dir else None
        try:
            run, _ = start(overrides, config_dir=folder, command=["shoal.train", *overrides])
        except ConfigError as error:
            raise error.at(source="shoal.train" if error.source == COMMAND_LINE else None) from error
    return Run(run.path)
