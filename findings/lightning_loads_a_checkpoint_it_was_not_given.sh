#!/usr/bin/env bash
# Under SLURM, trainer.fit(module) without a ckpt_path goes on from any `hpc_ckpt_1.ckpt` in the working directory, whichever
# program left it there: the new training begins at the epoch, and with the weights, of the old one.
# In shoal: a Trainer loads the checkpoint that it is given, or none.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > fit.py <<'PYTHON'
import sys

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.epochs = torch.nn.Linear(1, 1), 0

    def on_train_epoch_start(self):
        self.epochs += 1

    def training_step(self, batch):
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


module = Line()
off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=5, **off)
trainer.fit(module, DataLoader(torch.ones(8, 1), batch_size=4))
print(f"{module.epochs} of 5 epochs trained")
if len(sys.argv) > 1:
    trainer.save_checkpoint(sys.argv[1])
PYTHON
step="SLURM_JOB_ID=2 SLURM_JOB_NAME=train SLURM_STEP_ID=0 SLURM_NTASKS=1 SLURM_NTASKS_PER_NODE=1 SLURM_NNODES=1"
step="$step SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0"
echo "pytorch-lightning 2.6.6"
first=$(env/bin/python fit.py hpc_ckpt_1.ckpt 2>/dev/null); echo "without SLURM, in an empty folder: $first"
beside=$(env/bin/python fit.py 2>/dev/null); echo "without SLURM, beside hpc_ckpt_1.ckpt: $beside"
under=$(env $step env/bin/python fit.py 2>/dev/null); echo "under srun, beside hpc_ckpt_1.ckpt: $under"
[ "$first" = "5 of 5 epochs trained" ] && [ "$beside" = "$first" ] && [ "$under" = "0 of 5 epochs trained" ] \
  || { echo "changed"; exit 1; }
