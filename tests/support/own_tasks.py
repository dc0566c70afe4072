"""A task of a user's own: a file with its module, and one of the configuration, in the working directory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shoal.build.named_constructor import constructor


@contextmanager
def own_task(folder: Path, *, module: str, code: str, task: str, conf: str) -> Iterator[Path]:
    """The folder, in which `task=TASK` finds the module; whoever writes one of this name later has its own."""
    (folder / f"{module}.py").write_text(code)
    path = folder / f"conf/task/{task}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(conf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        yield folder
    sys.modules.pop(module, None)
    constructor.cache_clear()
