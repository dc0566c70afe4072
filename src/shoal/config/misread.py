"""What YAML 1.1, in which Hydra reads, makes of words that the eye reads otherwise: `010` is 8, `1:30` is 90."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf._utils import get_yaml_loader

from shoal.config.folders import own_conf, own_experiments
from shoal.errors import ConfigError, ShoalError, UsageError, shown

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_AS_IT_LOOKS = re.compile(r"[-+]?([0-9]{1,3}(_[0-9]{3})+(\.[0-9]*)?|0x[0-9a-fA-F]+|0b[01]+)")
"""Numbers that are texts in YAML 1.2, and are read here as programmers do: digits in groups of three, other bases."""
_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}
_CONSTANTS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + dot: float(sign + "inf") for sign in ("", "-", "+") for dot in (".inf", ".Inf", ".INF")},
}


@dataclass(frozen=True)
class Misread:
    """A word of a YAML file that is not read as it looks."""

    key: str
    """The setting whose value, or part of a value, the word is; for a key, the setting that it names."""
    text: str
    value: Any
    """What it is read as."""
    meant: Any
    """What it looks like."""
    line: int
    is_key: bool
    harmless: bool
    """Whether it may still be what its writer means: `yes` for a switch, `10_000`."""

    @property
    def way_out(self) -> str:
        """What to write instead."""
        number = self.value if isinstance(self.meant, str) else self.meant
        return f"write {shown(number)}, or '{self.text}' in quotes for the text"

    def error(self, file: str) -> ShoalError:
        """What refuses it."""
        if self.is_key:
            return UsageError(
                f"{file}:{self.line}: the name {self.text} is read as {shown(self.value)}",
                hint=f"in quotes it is a name: '{self.text}'",
            )
        read = f"the text {self.text}" if isinstance(self.value, str) else shown(self.value)
        return ConfigError(self.key, self.text, f"is read as {read}", hint=self.way_out, source=f"{file}:{self.line}")


def misread(text: str) -> Iterator[Misread]:
    """The words of a file in YAML that 1.1 and the eye, which is YAML 1.2's, read differently.

    Raises:
        yaml.YAMLError: where it is not YAML.
    """
    # OmegaConf's own, by which Hydra reads: it differs from PyYAML's in floats such as `1e-3`.
    loader = get_yaml_loader()(text)
    try:
        root = loader.get_single_node()
        for key, node, role in _scalars(root, ""):
            written = text[node.start_mark.index : node.end_mark.index]
            # In quotes, or after a tag, it is what its writer says.
            if node.tag not in _PLAIN or node.style or "!" in written:
                continue
            value, meant = loader.construct_object(node), _meant(node.value)
            # By type and by text: 1 equals True, and nan not even itself.
            if type(value) is not type(meant) or repr(value) != repr(meant):
                harmless = (isinstance(value, bool) and role == "value") or bool(_AS_IT_LOOKS.fullmatch(node.value))
                yield Misread(key, node.value, value, meant, node.start_mark.line + 1, role == "key", harmless)
    finally:
        loader.dispose()


class Files(FileConfigSource):
    """Reads the files of a folder, and names each word in them that YAML does not read as it looks."""

    def load_config(self, config_path: str) -> ConfigResult:
        found = super().load_config(config_path)
        # Shoal's own files are checked by its tests, not at every start.
        if Path(self.path).resolve() not in {own_conf().resolve(), own_experiments().resolve()}:
            file = Path(self.path) / self._normalize_file_name(config_path)
            named(file.read_text(encoding="utf-8"), os.path.relpath(file), _package(found, config_path))
        return found


class Packages(ImportlibResourcesConfigSource):
    """Reads the files of a package, and names each word in them that YAML does not read as it looks."""

    def load_config(self, config_path: str) -> ConfigResult:
        found = super().load_config(config_path)
        # The others are Hydra's own files, in which `on` and `off` are meant as it reads them.
        if self.provider not in ("hydra", "schema"):
            name = self._normalize_file_name(config_path)
            text = resources.files(self.path).joinpath(name).read_text(encoding="utf-8")
            named(text, f"pkg://{self.path}/{name}", _package(found, config_path))
        return found


@contextmanager
def naming_misread() -> Iterator[None]:
    """Within this, words that Hydra reads otherwise than the eye are refused, or told where they are harmless."""
    Plugins.instance()  # it makes the registry complete
    types = SourcesRegistry.instance().types
    before = dict(types)
    types.update({Files.scheme(): Files, Packages.scheme(): Packages})
    try:
        yield
    finally:
        # Only these two: what was registered meanwhile, as the experiments, stays.
        types.update({scheme: before[scheme] for scheme in (Files.scheme(), Packages.scheme())})


def _package(found: ConfigResult, config_path: str) -> str:
    """The node that a file's settings go to: that of its group, where it says nothing else."""
    # Hydra's default since 1.1: the folder of the file.
    package = found.header.get("package") or config_path.rpartition("/")[0].replace("/", ".")
    return package.replace("_global_", "").strip(".")


def named(text: str, file: str, package: str = "") -> None:
    """Name the words of a file that are not read as they look; its settings are those of `package`.

    Raises:
        ShoalError: for the first that its writer cannot mean.
    """
    for each in misread(text):
        found = replace(each, key=f"{package}.{each.key}".strip("."))
        if not found.harmless:
            raise found.error(file)
        _warn(
            f"warning: {found.key}={found.text} ({file}:{found.line}): is read as {shown(found.value)}; {found.way_out}"
        )


@cache
def _warn(text: str) -> None:
    """Once in a process: a file is read for each job, and again for each error."""
    print(text, file=sys.stderr)


def _scalars(node: Any, key: str, role: str = "value") -> Iterator[tuple[str, Any, str]]:
    """Each word below a node: the setting it belongs to, the word, and whether it is a key, a value or in a list."""
    if isinstance(node, yaml.ScalarNode):
        yield key, node, role
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _scalars(each, key, "item")
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            whole = f"{key}.{name.value}".lstrip(".") if isinstance(name, yaml.ScalarNode) else key
            yield from _scalars(name, whole, "key")
            yield from _scalars(value, whole)


def _meant(word: str) -> Any:
    """What the core schema of YAML 1.2 reads, which is what the eye does."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if word in (".nan", ".NaN", ".NAN"):
        return float("nan")
    if _INTEGER.fullmatch(word):
        return int(word)
    for prefix, base in (("0o", 8), ("0x", 16)):
        if word.startswith(prefix) and word[2:].isalnum():
            try:
                return int(word[2:], base)
            except ValueError:
                return word
    return float(word) if _FLOAT.fullmatch(word) else word
