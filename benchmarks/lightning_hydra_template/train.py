"""A straightforward Lightning and Hydra program, as most people would write it: what `shoal` is compared with."""

from __future__ import annotations

import time

import hydra
import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> None:
    """Build everything from the configuration, and fit."""
    pl.seed_everything(cfg.seed, workers=True)
    data = instantiate(cfg.data)
    model = instantiate(cfg.model)
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
    trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=instantiate(cfg.logger))
    started = time.perf_counter()
    trainer.fit(model, datamodule=data)
    print(f"fit seconds: {time.perf_counter() - started:.3f}")


if __name__ == "__main__":
    main()
