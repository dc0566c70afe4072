"""Give commands one after the other in one process; print as JSON what each of them is the first to load."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings

from shoal.cli import run

warnings.simplefilter("ignore")
RUN = "run"
COMMANDS = (
    ["predict", RUN, "--x", "0.5"],
    ["eval", RUN],
    ["export", RUN, "--format", "safetensors"],
    ["resume", RUN, "trainer.max_epochs=2"],
    ["fit", "t.csv", "y = a*x", "a=1"],
)

report: dict[str, list[str]] = {}


def give(command: list[str]) -> None:
    """Give a command, which must end well."""
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = run(command)
    assert code == 0, said.getvalue()
    report[command[0]] = sorted(set(sys.modules) - before)


for each in COMMANDS:
    give(each)
print(json.dumps(report))
