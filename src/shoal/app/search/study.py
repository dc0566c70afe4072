"""A study, from the overrides that ask for it to its last trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from shoal.app.multirun.sweep_and_workers import checked_for, terms_of
from shoal.app.search.request import requested
from shoal.app.search.studies import begun, check_installed, copied, opened, quietly
from shoal.config.hydra_config import typed
from shoal.config.origins import Origins, located
from shoal.rundir import claim
from shoal.startup import cheap_imports


def search(
    launcher: Any, config: DictConfig, context: HydraContext, arguments: Sequence[str], params: Mapping[str, Any]
) -> list[JobReturn]:
    """Do what is missing of the study that the overrides ask for; what became of each job.

    Raises:
        ShoalError: where what is asked for is wrong (nothing was trained), or the search was interrupted.
    """
    check_installed()
    with checked_for(config):
        asked = requested(config, context, arguments, params)
    with quietly(), located(Origins(typed(config.hydra))):
        with cheap_imports():
            from shoal.app.search.searching import Search
        common = terms_of(config).settings
        if common.dry_run:
            study = copied(asked.settings.storage, asked.name, asked.folder, asked.directions)
            Search(asked, study, launcher).preview()
            return []
        asked.folder.path.mkdir(parents=True, exist_ok=True)
        kept = opened(asked.settings.storage, asked.folder)
        with claim(asked.folder, asked.folder.study_lock), kept as storage:
            wanted = {"objectives": asked.directions, "space": asked.info.over}
            OmegaConf.save(config, asked.folder.path / "multirun.yaml")
            study = begun(storage, asked.name, wanted, asked.folder.path if asked.settings.storage else None)
            return Search(asked, study, launcher).run(retry_failed=common.retry_failed, fail_fast=common.fail_fast)
