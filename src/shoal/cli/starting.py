"""The commands that start code and configuration of one's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(new)
    app.command()(schema)


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
    from shoal.app.new import start_piece

    here = Path.cwd()
    started = start_piece(kind, name, here)
    for path in started.files:
        print(path.relative_to(here))
    # Pytest comes with shoal's development only, and the tests that were written need it.
    first = "" if find_spec("pytest") else "pip install pytest, then "
    print(f"\ntrain with it   {started.command}\ntest it         {first}pytest test_{name}.py")


def schema(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write them.")] = Path("schema"),
    lines: Annotated[
        bool, typer.Option("--lines", help="Also name the schema in each YAML file of yours that names none.")
    ] = False,
) -> None:
    """Write JSON Schemas, by which an editor completes and checks the YAML files in conf/ and experiments/.

    They know all that comes with shoal and the classes that your own files name. The first line of a file tells an
    editor which schema is its own: `# yaml-language-server: $schema=../../schema/task.json`.

    \b
    Examples:
      shoal schema
      shoal schema --lines
    """
    from shoal.app.schema_files import write
    from shoal.review.wording import counted

    written = write(folder, lines=lines)
    print(f"{written.folder}: {counted(written.n_files, 'schema')}")
    for path in written.lines:
        print(f"{path}: names its schema now")
