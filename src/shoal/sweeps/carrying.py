"""Run directories that are carried to a worker and back, where it shares no folder with its launcher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shoal.errors import ShoalError
from shoal.rundir.atomic import SUFFIX, remove, together, write_bytes
from shoal.sweeps.block import Block

Files = Mapping[str, bytes]
"""Contents by their paths in a folder."""
LARGEST = 64 << 20
"""Bytes of a file beside the configuration that is carried along."""


@dataclass(frozen=True)
class Parcel:
    """A block with all that lies in the directories of its runs, and the user's own files that it names."""

    block: Block
    runs: Mapping[int, Files]
    """By the number of the job."""
    state: bytes | None
    """Of the whole stack, where it was interrupted."""
    beside: Files
    """The user's own, by their paths in the launcher's folder."""

    @classmethod
    def of(cls, block: Block) -> Parcel:
        """The block as it is sent."""
        kept = block.state is not None and block.state.exists()
        runs = {each.number: _files(each.path) for each in block.assignments}
        state = block.state.read_bytes() if kept and block.state else None
        return cls(block, runs, state, _named(each.config for each in block.assignments))

    def opened(self, folder: Path) -> Block:
        """The block with its files below a folder: the sweep's own there."""
        # The working directory was made for this worker: relative paths lead there as they do at the launcher's.
        for name, content in self.beside.items():
            _write(Path.cwd() / name, content)
        moved = [replace(each, path=folder / each.path.name) for each in self.block.assignments]
        for each in moved:
            each.path.mkdir(parents=True, exist_ok=True)
            for name, content in self.runs[each.number].items():
                _write(each.path / name, content)
        state = self.block.state and folder / self.block.state.parent.name / self.block.state.name
        if state and self.state is not None:
            _write(state, self.state)
        # No lease: that is a file where the launcher is. What comes back is put in place there.
        return replace(self.block, assignments=tuple(moved), state=state, lease=None)


@dataclass(frozen=True)
class Brought:
    """What lies in a run directory at the worker's, or the state of a whole stack."""

    number: int | None
    """Of the job; None for the state."""
    files: Files

    @classmethod
    def run(cls, number: int, path: Path) -> Brought:
        """The directory of a run."""
        return cls(number, _files(path))

    @classmethod
    def state_of(cls, block: Block) -> Brought:
        """The state of a stack, or that there is none any more."""
        kept = block.state is not None and block.state.exists()
        return cls(None, {block.state.name: block.state.read_bytes()} if kept and block.state else {})

    def put(self, block: Block) -> None:
        """Let the launcher's files be those of the worker; run.json, which vouches for the others, comes last.

        Raises:
            ShoalError: where they cannot be written.
        """
        if self.number is None:
            self._put_state(block)
            return
        path = next(each.path for each in block.assignments if each.number == self.number)
        # What the run has taken away itself: an event file of an earlier try would add its curves to this one's.
        for name in _files(path).keys() - self.files.keys():
            remove(path / name)
        first = {name: content for name, content in self.files.items() if name != "run.json"}
        with together():
            for name, content in first.items():
                _within(path, name).parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path / name, content)
        if "run.json" in self.files:
            write_bytes(path / "run.json", self.files["run.json"])

    def _put_state(self, block: Block) -> None:
        if block.state is None:
            return
        if block.state.name in self.files:
            write_bytes(block.state, self.files[block.state.name])
        else:
            remove(block.state)


def _files(folder: Path) -> dict[str, bytes]:
    """All that lies there, but for what belongs to the process at work there."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != SUFFIX)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found if path.name != ".lock"}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def _within(folder: Path, name: str) -> Path:
    # The names come from another machine: none of them may lead out of the run's directory.
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ShoalError(f"a worker names {name!r}, which is no file of {folder}")
    return folder / name


def _named(configs: Iterable[Any]) -> dict[str, bytes]:
    """Files of the user's that configurations name by their paths in the working directory, and their modules there."""
    texts = {each for config in configs for each in _texts(config)}
    modules = {text.partition(".")[0] for key, text in texts if key == "_target_"}
    paths = [Path(text) for _, text in texts] + [path for name in modules for path in _sources(name)]
    return {path.as_posix(): path.read_bytes() for path in paths if _carried(path)}


def _sources(module: str) -> list[Path]:
    """Those of a module that lies in the working directory, and of what lies beside it."""
    # All of them: a module imports its neighbors, which no configuration names.
    return [*Path().glob("*.py")] if Path(f"{module}.py").is_file() else [*Path(module).rglob("*.py")]


def _carried(path: Path) -> bool:
    try:
        return not path.is_absolute() and ".." not in path.parts and path.is_file() and path.stat().st_size <= LARGEST
    except (OSError, ValueError):  # a text that is no path
        return False


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Each text of a configuration, with the key that it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, name)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, key)
