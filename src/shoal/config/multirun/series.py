"""Jobs that set the same settings: what differs in plain values alone is put into the nodes of the first of them.

To compose is to copy a configuration, to set values in it and to resolve all references, and nearly all of that comes
out as it did for the job before. Here a value is put where it stands, and where a reference leads to it. What may have
a say elsewhere is left to OmegaConf: a reference that computes something, a value that is none itself, a place that has
a type. And it composes the second job of a series too, with which is compared what would be made of the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import AnyNode, ListConfig

from shoal.config.multirun.composition import Composition, Node, written

_Path = tuple[str, ...]
_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_REFERENCE = re.compile(rf"\$\{{({_PLACE.pattern})\}}")
_MARKS = ("${", "???")
"""In texts that OmegaConf resolves, or that stand for a value that is missing."""
_SETS = (OverrideType.CHANGE, OverrideType.FORCE_ADD)


class Series:
    """Jobs of the same choices, whose other overrides have the same keys in the same order."""

    def __init__(self, settings: Sequence[Override], first: Composition) -> None:
        assert first.config is not None
        self._settings = settings
        self._first = first
        self._config = first.config
        self._holds: bool | None = None
        self._made: dict[tuple[str, str], Node] = {}

    def nodes(self, settings: Sequence[Override]) -> Mapping[str, Node] | None:
        """The nodes of the job with these settings; None where OmegaConf has to compose it."""
        return self._derived(settings) if self._holds else None

    def learn(self, settings: Sequence[Override], composition: Composition) -> None:
        """Compare a job that OmegaConf has composed with what would be made of the first one."""
        if self._holds is None and (made := self._derived(settings)) is not None:
            # As texts: 1, 1.0 and true are equal, and nan is not equal to itself.
            self._holds = _shown(made) == _shown(composition.nodes)

    def _derived(self, settings: Sequence[Override]) -> Mapping[str, Node] | None:
        changed = self._changed(settings)
        if changed is None or self._references is None:
            return None
        followed = {path: changed[target] for path, target in self._references.items() if target in changed}
        nodes = dict(self._first.nodes)
        for key in dict.fromkeys(path[0] for path in (*changed, *followed)):
            nodes[key] = self._node(nodes[key], _within(key, changed), _within(key, followed))
        return nodes

    def _node(self, first: Node, changed: Mapping[_Path, Any], followed: Mapping[_Path, Any]) -> Node:
        """A node of the first job with other values; the same object for all jobs that have these."""
        known = first.key, repr((changed, followed))
        if known not in self._made:
            here, there = _put(first.written, changed), _put(first.value, {**changed, **followed})
            self._made[known] = Node(first.key, here, there)
        return self._made[known]

    def _changed(self, settings: Sequence[Override]) -> dict[_Path, Any] | None:
        """Values by their places, where they are others than the first job's; None where one may be more than that."""
        found: dict[_Path, Any] = {}
        for own, other in zip(self._settings, settings, strict=True):
            if own.input_line != other.input_line:
                value, path = other.value(), self._free.get(own.key_or_group)
                # A number in the place of a list is another kind of node.
                if path is None or not _is_plain(value) or isinstance(value, list) != isinstance(own.value(), list):
                    return None
                found[path] = value
        return found

    @cached_property
    def _free(self) -> Mapping[str, _Path]:
        """The places of those keys whose values stand there and have no say in what else is set."""
        keys = [each.key_or_group for each in self._settings]
        places = {key: tuple(key.split(".")) for key in keys if _PLACE.fullmatch(key)}
        # Of all keys, as one of them might name a free one's place in another way, or lie behind a reference to it.
        if len(places) < len(keys) or not all(isinstance(_at(self._written, p[:-1]), dict) for p in places.values()):
            return {}
        free = [
            each.key_or_group for each in self._settings if each.type in _SETS and _is_alone(each.key_or_group, keys)
        ]
        return {
            key: places[key]
            for key in free
            if _is_plain(_at(self._written, places[key])) and self._takes_any(places[key])
        }

    @cached_property
    def _references(self) -> Mapping[_Path, _Path] | None:
        """Where each reference leads to; None where one is more than the name of a plain value."""
        found: dict[_Path, _Path] = {}
        for path, text in _marked(self._written):
            found_in = _REFERENCE.fullmatch(text)
            target = tuple(found_in[1].split(".")) if found_in else ()
            # Within a list, of which a place has a number, values are not put one by one.
            named = all(isinstance(word, str) for word in path)
            if not named or not _is_plain(_at(self._written, target)) or not self._takes_any(path):
                return None
            found[path] = target
        return found

    def _takes_any(self, path: _Path) -> bool:
        """Whether what stands at a place has no type that a value would be made to fit."""
        node: Any = self._config
        for word in path:
            node = node._get_node(word)
        return type(node) is AnyNode or (isinstance(node, ListConfig) and node._metadata.element_type is Any)

    @cached_property
    def _written(self) -> dict[str, Any]:
        return {str(key): written(self._config._get_node(key)) for key in self._config}


def _is_plain(value: Any) -> bool:
    """Whether a value is what it says: nothing to resolve, and no mapping, which would be merged with another."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if type(value) is str:
        return not any(mark in value for mark in _MARKS)
    return value is None or type(value) in (bool, int, float)


def _is_alone(key: str, keys: Sequence[str]) -> bool:
    """Whether no other of the keys is of the same place, of one around it or of one within."""
    return sum(f"{each}.".startswith(f"{key}.") or f"{key}.".startswith(f"{each}.") for each in keys) == 1


def _at(tree: Any, path: _Path) -> Any:
    """What stands at a place; `...` where nothing does, or where it is not within mappings alone."""
    for word in path:
        if not isinstance(tree, Mapping) or word not in tree:
            return ...
        tree = tree[word]
    return tree


def _put(tree: Any, values: Mapping[_Path, Any]) -> Any:
    """A tree with other values at some places; it shares with the first one all that lies beside them."""
    if () in values:
        return values[()]
    inner: dict[str, dict[_Path, Any]] = {}
    for path, value in values.items():
        inner.setdefault(path[0], {})[path[1:]] = value
    return {**tree, **{word: _put(tree[word], own) for word, own in inner.items()}}


def _marked(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The places of texts that OmegaConf would do something with."""
    if isinstance(tree, str) and not _is_plain(tree):
        yield path, tree
    elif isinstance(tree, list):
        for number, each in enumerate(tree):
            yield from _marked(each, (*path, number))
    elif isinstance(tree, Mapping):
        for key, each in tree.items():
            yield from _marked(each, (*path, key))


def _within(key: str, values: Mapping[_Path, Any]) -> dict[_Path, Any]:
    """Those of the places that lie in a node, as they are called within."""
    return {path[1:]: value for path, value in values.items() if path[0] == key}


def _shown(nodes: Mapping[str, Node]) -> str:
    return repr([(node.key, node.written, node.value) for node in nodes.values()])
