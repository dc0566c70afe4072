"""Run directories that are carried to a worker and back."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from shoal.errors import ShoalError
from shoal.rundir import RunInfo, Status
from shoal.sweeps.block import Assignment, Block
from shoal.sweeps.carrying import Brought, Parcel

INFO = RunInfo(id="r", task="parabola", status=Status.RUNNING, engine="lightning", seed=0)
FILES = {"run.json": b"{}", "metrics.csv": b"step\n", "checkpoints/last.ckpt": b"weights", ".hydra/config.yaml": b""}


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Block:
    """Of one run that was interrupted, in a sweep of the folder `here`; the working directory is `there`."""
    path = tmp_path / "here" / "sweep" / "0000"
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    (path / ".lock").touch()
    (path / ".run.json.partial").touch()
    state = path.parent / ".blocks" / "0000x1.ckpt"
    state.parent.mkdir()
    state.write_bytes(b"state")
    for name in ("here/data.csv", "here/mine.py", "here/beside.py", "here/unused.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    config = {"task": {"_target_": "mine.Task", "path": "data.csv", "title": "a text\0 that is no path"}}
    return Block((Assignment(0, path, config, INFO),), stacked=True, state=state, lease=path / "lease")


def sent(block: Block) -> Block:
    """The block as a worker opens it."""
    there = Path.cwd()
    os.chdir(block.assignments[0].path.parents[1])
    parcel = pickle.loads(pickle.dumps(Parcel.of(block)))
    os.chdir(there)
    opened: Block = parcel.opened(there / "far")
    return opened


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_block_takes_along_what_its_runs_have_and_what_they_name(block: Block) -> None:
    far = sent(block)

    assert contents(far.assignments[0].path) == FILES
    assert far.state is not None
    assert far.state.read_bytes() == b"state"
    assert far.lease is None
    assert sorted(path.name for path in Path().iterdir()) == ["beside.py", "data.csv", "far", "mine.py"]


def test_what_a_worker_has_made_of_a_run_takes_the_place_of_what_was_there(block: Block) -> None:
    far, here = sent(block).assignments[0].path, block.assignments[0].path
    (far / "metrics.csv").write_text("step\n1\n")
    (far / "checkpoints" / "last.ckpt").unlink()
    (far / "figures").mkdir()
    (far / "figures" / "fit.png").write_bytes(b"png")

    Brought.run(0, far).put(block)

    found = contents(here)
    assert found.pop(".lock") == b""
    assert found == contents(far)


def test_the_state_of_a_stack_comes_back_or_is_gone(block: Block) -> None:
    far = sent(block)
    assert far.state is not None
    assert block.state is not None

    far.state.write_bytes(b"further")
    Brought.state_of(far).put(block)
    kept = block.state.read_bytes()
    far.state.unlink()
    Brought.state_of(far).put(block)

    assert kept == b"further"
    assert not block.state.exists()


def test_a_worker_puts_no_file_outside_of_its_run(block: Block) -> None:
    with pytest.raises(ShoalError, match="is no file of"):
        Brought(0, {"../0001/run.json": b""}).put(block)
