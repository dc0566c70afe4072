"""The configurations of many jobs, each as Hydra composes it, in a hundredth of the time.

Hydra composes a configuration from files once for each distinct choice of groups; a job with these choices gets a copy,
on which its other overrides are applied by Hydra's own function, in Hydra's order, or the nodes of a job before it with
other values in them. Whatever is more than that (overrides of Hydra's own settings, anything that fails) goes through
Hydra as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, flag_override
from omegaconf.errors import OmegaConfBaseException

from shoal.config.hydra_errors import translated
from shoal.config.multirun.composition import Composition
from shoal.config.multirun.job_overrides import Overrides, is_plain
from shoal.config.multirun.template import Template

_HYDRAS_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError, AssertionError)
"""What composing raises of an override that is wrong."""


_Found = tuple[DictConfig, Composition]
"""A job's configuration with Hydra's part, and the rest of it."""


class Composer:
    """Composes the jobs of one sweep."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        assert isinstance(loader, ConfigLoaderImpl)
        self._loader = loader
        self._master = master
        self.overrides = Overrides(loader, master)
        self._templates: dict[tuple[str, ...], Template] = {}

    def compose(self, overrides: Sequence[str], number: int = 0) -> Composition:
        """The configuration of job `number`, which has these overrides; `${hydra:...}` then reads this job's.

        Raises:
            ShoalError: where it cannot be composed.
        """
        try:
            parsed = [self.overrides.parsed(line) for line in overrides]
            found = self._quickly(parsed, overrides) if all(map(is_plain, parsed)) else None
        except _HYDRAS_ERRORS:  # `_slowly` fails too, and Hydra says why in its own words
            found = None
        whole, composition = found or self._slowly(overrides)
        job = whole.hydra.job
        job.id = job.num = number
        HydraConfig.instance().cfg = whole  # type: ignore[assignment]
        return composition

    def _quickly(self, parsed: Sequence[Override], overrides: Sequence[str]) -> _Found:
        choices = [line for line, override in zip(overrides, parsed, strict=True) if self.overrides.is_choice(override)]
        template = self._template(tuple(choices))
        # Hydra takes the choices first, wherever they stand among the overrides.
        settings = [each for each in parsed if not self.overrides.is_choice(each)]
        found = template.composition(settings, overrides)
        template.tell(overrides, parsed)
        return template.whole, found

    def _template(self, choices: tuple[str, ...]) -> Template:
        if choices not in self._templates:
            whole = self._loader.load_sweep_config(self._master, list(choices))
            self._templates[choices] = Template(_without_hydra(whole), whole)
        return self._templates[choices]

    def _slowly(self, overrides: Sequence[str]) -> _Found:
        try:
            whole = self._loader.load_sweep_config(self._master, list(overrides))
        except Exception as error:
            raise translated(
                error, overrides, lambda wanted: self._loader.load_sweep_config(self._master, wanted)
            ) from error
        return whole, Composition(_without_hydra(whole), whole.hydra, overrides, {})


def _without_hydra(config: DictConfig) -> DictConfig:
    # Once for each distinct choice; the whole goes on being what `${hydra:...}` reads.
    task = copy.deepcopy(config)
    with flag_override(task, ["struct", "readonly"], [False, False]):
        del task["hydra"]
    return task
