"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def references_to(ctx: typer.Context, incomplete: str) -> list[str]:
    """What a reference to a run may go on as, for the completion of a shell."""
    from shoal.review.reference import completions

    return completions(Path(ctx.params.get("root") or "outputs"), incomplete)


Root = Annotated[Path, typer.Option("--root", metavar="FOLDER", envvar="SHOAL_OUTPUTS", help="The folder of all runs.")]
Reference = Annotated[str, typer.Argument(metavar="RUN", autocompletion=references_to, show_default=False)]
References = Annotated[list[str], typer.Argument(metavar="RUN", autocompletion=references_to, show_default=False)]
Paths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH", help="Folders to look in, or sweeps; else the root.")
]
Where = Annotated[
    str | None, typer.Option("--where", "-w", metavar="CONDITION", help="SQL over names: see shoal runs -h.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OUTPUTS = Path("outputs")
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", show_default=False)]
Trust = Annotated[
    list[str] | None, typer.Option("--trust", metavar="MODULE", help="Code of your own that the run may name.")
]
