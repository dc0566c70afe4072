"""What every test stands on: annotations run, one thread, and nothing written outside a temporary directory."""

from __future__ import annotations

import gc
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from omegaconf import OmegaConf

import signatures
from pictures import PIXEL

signatures.check()
settings.register_profile("untimed", deadline=None)  # how long an example takes is a matter of the machine
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Models that are trained for a moment are no better than the mean: saying so is no mistake of a test."""
    config.addinivalue_line("filterwarnings", "ignore::shoal.errors.Caution")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Refuse tests for each of a set, whose order is another in each process: those side by side must agree."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        assert not isinstance(mark.args[1], set | frozenset), f"sort what {metafunc.definition.nodeid} is run for"


def pytest_collection_finish() -> None:
    """Spare the garbage collector what has been imported; it costs a tenth of the time of the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """No function leaves the garbage collector off: whatever process calls it would grow for good."""
    assert gc.isenabled(), f"{item.nodeid} has turned the garbage collector off"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two threads only slow down models this small, and the tests run side by side; so do the processes they start."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What was compiled and found out before does not count; what is compiled and found out serves all tests."""
    base = tmp_path_factory.getbasetemp()
    os.environ["XDG_CACHE_HOME"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")


@pytest.fixture(scope="session", autouse=True)
def parsed_once() -> Iterator[None]:
    """The same few files of `conf/` are composed some thousand times: parse a text once, and give a copy each time."""
    real, parsed = OmegaConf.load, dict[str, bytes]()

    def load(file: Any) -> Any:
        if not hasattr(file, "seek"):
            return real(file)
        text = file.read()
        if text not in parsed:
            file.seek(0)
            parsed[text] = pickle.dumps(real(file))
        return pickle.loads(parsed[text])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load)
        yield


@pytest.fixture(scope="session", autouse=True)
def still_collected() -> Iterator[None]:
    """A command spares for good all that is alive when it ends, garbage too; these processes do not end then.

    That there is something spared need not be counted, which takes a twentieth of a second and is asked at every start.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "freeze", lambda: None)
        patch.setattr(gc, "unfreeze", lambda: None)
        patch.setattr(gc, "get_freeze_count", lambda: 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Wait for no disk: whether a file reached it shows only when the power fails.

    Injected faults are none the fewer: `faults.Faults` counts and fails a call before it is made, whatever it then
    does. `make torture`, which is no test, injects them into calls that do reach the disk.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses a descriptor that is closed or none, as fsync does
        yield


@pytest.fixture
def compiling_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stacks are compiled at their first step, if they can be."""
    from shoal.step.compiled import program
    from shoal.step.compiled.library import Library

    ready = Library.ready

    def awaited(library: Library) -> bool:
        if library._compiling is not None:
            library._compiling.join()
        return ready(library)

    monkeypatch.setattr(program, "HOT", 0.0)
    monkeypatch.setattr(Library, "ready", awaited)


@pytest.fixture
def compiled_at_once(compiling_at_once: None) -> None:
    """Stacks train with compiled kernels from their second step on: on every processor, if there is a compiler."""
    from shoal.step.compiled import library

    try:
        library._compiler()
    except library.CannotCompileError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that `outputs/` lands there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def houses_csv(workdir: Path) -> Path:
    """A file in the working directory with a table of houses."""
    from houses import houses

    houses().write_csv(workdir / "houses.csv")
    return workdir / "houses.csv"


@pytest.fixture
def misra1a(workdir: Path) -> Path:
    """A working directory whose t.csv is a set of NIST's."""
    from fitting import MISRA1A

    (workdir / "t.csv").write_text(MISRA1A)
    return workdir


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose figures, but leave out their rendering, which takes longer than the training of most tests."""
    monkeypatch.setattr("shoal.pictures.rendering.png", lambda figure: PIXEL)


@pytest.fixture
def undrawn(unrendered: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no figures composed either, nor the one of a sweep: a file in the place of each run's is all there is."""
    monkeypatch.setattr("shoal.record.figures.run_figure.fit_chart", lambda *_, **__: None)
    monkeypatch.setattr("shoal.record.figures.run_figure.drawn", lambda picture: PIXEL)
    monkeypatch.setattr("shoal.app.multirun.sweep_end.Closing.draw", lambda *_: [])
