"""Where experiments lie: shoal's own folder, and `experiments/` here; to Hydra they are the group `experiment`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from shoal.config.folders import own_experiments, user_experiments
from shoal.config.misread import Files

GROUP = "experiment"
SCHEME = "experiments"
_NUMBER = re.compile(r"[a-z]\d+(?:_[a-z]\d+)*(?=_|$)")
"""The number of an experiment, with which its name begins."""


class ExperimentSource(Files):
    """A folder of experiments, which Hydra sees as the group `experiment` although it is called otherwise."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        # A name that is nobody's is left to Hydra, which names those that there are.
        return super().load_config(self._file(config_path) or config_path)

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def is_group(self, config_path: str) -> bool:
        within = _within(config_path)
        return config_path == "" or (within is not None and super().is_group(within))

    def is_config(self, config_path: str) -> bool:
        file = self._file(config_path)
        return bool(file) and super().is_config(str(file))

    def _file(self, config_path: str) -> str | None:
        """The path below the folder of the experiment that a path in the group names; its beginning is enough."""
        within = _within(config_path)
        stems = [file.stem for file in Path(self.path).glob("*.yaml")]
        return within and (named(within.removesuffix(".yaml"), stems) or within)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        within = _within(config_path)
        if within is None:
            return [GROUP] if config_path == "" and results_filter is not ObjectType.CONFIG else []
        if results_filter is ObjectType.GROUP:
            return []
        return sorted(file.stem for file in (Path(self.path) / within).glob("*.yaml"))


class ExperimentPath(SearchPathPlugin):
    """Lets every configuration that shoal composes find the experiments."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in folders():
            search_path.append(provider="experiments", path=f"{SCHEME}://{folder}")


def install() -> None:
    """Tell Hydra, in this process, about experiments."""
    # As often as one likes: the registry takes the same class again.
    SourcesRegistry.instance().register(ExperimentSource)
    Plugins.instance().register(ExperimentPath)


def folders() -> list[Path]:
    """Where experiments are looked for, the user's own first."""
    return [folder for folder in (user_experiments(), own_experiments()) if folder is not None and folder.is_dir()]


def files() -> dict[str, Path]:
    """Every experiment's file by its name; one of the user's own hides one of shoal's."""
    found: dict[str, Path] = {}
    for folder in folders():
        for file in sorted(folder.glob("*.yaml")):
            # The folders come with the user's own first: a later file of the same name is hidden.
            found.setdefault(file.stem, file)
    return found


def named(word: str, names: Iterable[str]) -> str | None:
    """The experiment that a word means: its name, its number (`a1`, `e1_e2`), or how its name alone begins.

    Of several with one number it is the first.
    """
    known = sorted(names)
    if word in known:
        return word
    numbered = [name for name in known if (found := _NUMBER.match(name)) and found[0] == word]
    begun = [name for name in known if name.startswith(f"{word}_")]
    # A number is unique to whoever numbers; the beginning of a name may be that of several.
    return numbered[0] if numbered else begun[0] if len(begun) == 1 else None


def _within(config_path: str) -> str | None:
    """The path below the folder; None for one that is not of this group."""
    first, _, rest = config_path.strip("/").partition("/")
    return rest if first == GROUP else None
