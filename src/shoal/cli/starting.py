"""The command that starts code of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(new)


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="task, model, optimizer, loss or module.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it will be called: small letters, digits, _.")],
) -> None:
    """Start a task, model, optimizer, loss or LightningModule of your own, in the working directory.

    Writes NAME.py, its settings in conf/, and tests that pass; nothing that is there is overwritten.

    \b
    Examples:
      shoal new task spring
      shoal new optimizer lion
    """
    from shoal.app.new import start

    here = Path.cwd()
    started = start(kind, name, here)
    for path in started.files:
        print(path.relative_to(here))
    print(f"\ntrain with it   {started.command}\ntest it         pytest test_{name}.py")
