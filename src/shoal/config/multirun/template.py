"""The configuration that jobs of the same choices begin with, and what a job makes of it by its other overrides."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from shoal.config.hydra_config import typed
from shoal.config.multirun.composition import Composition, Node, written
from shoal.config.multirun.job_overrides import directory_name
from shoal.config.multirun.series import Series


@dataclass(frozen=True)
class Template:
    """What jobs of the same choices have in common."""

    task: DictConfig
    """Their configuration without Hydra's part, before any other override is applied."""
    whole: DictConfig
    """The same with Hydra's part, which shows the job that was composed last."""
    _pickled: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    _series: dict[tuple[Any, ...], Series] = field(default_factory=dict)

    def composition(self, settings: Sequence[Override], overrides: Sequence[str]) -> Composition:
        """The configuration of a job that has these settings beside its choices; `overrides` are both.

        Raises:
            HydraException: where a setting is wrong, among others.
        """
        kind = tuple((each.type, each.package, each.key_or_group) for each in settings)
        series = self._series.get(kind)
        if series and (nodes := series.nodes(settings)) is not None:
            return Composition(None, self.whole.hydra, overrides, nodes)
        shared = self._shared(settings)
        task = self._copied(shared)
        ConfigLoaderImpl._apply_overrides_to_config(list(settings), task)
        found = Composition(task, self.whole.hydra, overrides, shared)
        if series:
            series.learn(settings, found)
        else:
            self._series[kind] = Series(settings, found)
        return found

    def tell(self, overrides: Sequence[str], parsed: Sequence[Override]) -> None:
        """Let `${hydra:...}` read a job's overrides."""
        # In what all jobs of these choices share: a copy for each would cost as much as all the rest.
        hydra = self.whole.hydra
        told = typed(hydra)
        if len(told) != len(overrides):
            hydra.overrides.task = list(overrides)
        for number, (before, now) in enumerate(zip(told, overrides, strict=False)):
            if before != now:
                hydra.overrides.task[number] = now
        hydra.job.override_dirname = directory_name(parsed, hydra)

    def _shared(self, overrides: Sequence[Override]) -> dict[str, Node]:
        """The nodes that these overrides do not touch and that refer to no other node."""
        touched = {each.key_or_group.partition(".")[0] for each in overrides}
        return {key: node for key, node in self._without_references.items() if key not in touched}

    @cached_property
    def _without_references(self) -> dict[str, Node]:
        # `???` counts as a reference: what is missing is told of each job, by the same way as everything else.
        nodes = {str(key): written(self.task._get_node(key)) for key in self.task}
        marked = ("${", "???")
        return {k: Node(k, node, node) for k, node in nodes.items() if not any(mark in repr(node) for mark in marked)}

    def _copied(self, shared: Iterable[str]) -> DictConfig:
        """A copy of `task` that has the `shared` nodes in common with it, in a tenth of the time of `deepcopy`."""
        # Copied by pickling: OmegaConf's deepcopy walks every node in Python, pickle does it in C. The shared nodes are
        # not in the pickle. Their names are, as persistent ids, which the reader looks up in the template itself. Jobs
        # whose overrides touch the same nodes leave out the same names, so a sweep pickles once and reads many times.
        names = tuple(shared)
        if names not in self._pickled:
            self._pickled[names] = self._without(names)
        copied: DictConfig = _Reader(self._pickled[names], self.task).load()
        return copied

    def _without(self, names: Iterable[str]) -> bytes:
        """`task`, pickled, with only the names of these nodes."""
        left_out = {id(self.task._get_node(name)): name for name in names}
        file = io.BytesIO()
        _Writer(file, left_out).dump(self.task)
        return file.getvalue()


class _Writer(pickle.Pickler):
    """Writes names in the place of some nodes, by identity: an equal node elsewhere in the tree is another one."""

    def __init__(self, file: io.BytesIO, left_out: Mapping[int, str]) -> None:
        super().__init__(file, protocol=5)
        self._left_out = left_out

    def persistent_id(self, obj: Any) -> str | None:
        """The name that stands for a node."""
        return self._left_out.get(id(obj))


class _Reader(pickle.Unpickler):
    """Takes nodes by their names from another configuration."""

    def __init__(self, content: bytes, shared: DictConfig) -> None:
        super().__init__(io.BytesIO(content))
        self._shared = shared

    def persistent_load(self, pid: Any) -> Any:
        """The node of a name."""
        return self._shared._get_node(pid)
