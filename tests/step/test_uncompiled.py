"""Where nothing can be compiled, torch goes on, and the log says why."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from shoal.step.compiled import library
from shoal.step.compiled.program import Heat, of_graph

pytestmark = pytest.mark.usefixtures("compiling_at_once")


def refused(caplog: pytest.LogCaptureFixture) -> str:
    """What the log says of a function that cannot be compiled, and computes all the same."""
    inputs = [torch.linspace(-1, end, 8 * 32).view(8, 32) for end in (1, 3)]
    made = of_graph(make_fx(lambda a, b: (a + b) * b)(*inputs), Heat(), "function")
    with caplog.at_level(logging.INFO, logger="shoal"):
        made(*inputs)
    assert not made.compiled
    assert torch.equal(made(*inputs), (inputs[0] + inputs[1]) * inputs[1])
    return caplog.messages[-1]


def test_without_a_compiler_nothing_is_compiled_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refused(caplog) == "The function is not compiled: there is no C compiler"


def test_a_compiler_that_fails_is_no_failure_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'kernels.c: no room' >&2\nexit 4\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))

    assert refused(caplog) == "The function is not compiled: kernels.c: no room"
    assert list((tmp_path / "shoal" / "kernels").iterdir()) == []


def test_where_nothing_can_be_kept_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CC", sys.executable)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert "Not a directory" in refused(caplog)


@pytest.mark.parametrize(
    ("machine", "flag"),
    [("x86_64", "-march=native"), ("AMD64", "-march=native"), ("aarch64", "-mcpu=native"), ("arm64", "-mcpu=native")],
)
def test_the_compiler_is_asked_for_the_processor_in_words_that_it_knows(machine: str, flag: str) -> None:
    assert library.native(machine) == flag
