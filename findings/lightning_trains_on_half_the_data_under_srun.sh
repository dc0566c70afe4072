#!/usr/bin/env bash
# One process that srun started (`srun --ntasks=1 python train.py`) and Trainer(devices=2, strategy="ddp"): Lightning takes
# the number of processes from SLURM, which is 1, and the share of the data from its own devices, of which there are 2. So
# it trains on every other sample, and says nothing. It compares the two only where SLURM_NTASKS_PER_NODE is set.
# In shoal: a number of processes that is not devices x nodes is refused, with the srun to call.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > half.py <<'PYTHON'
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(1, 1), set()

    def training_step(self, batch):
        self.seen |= set(batch[0].flatten().tolist())
        return self.layer(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


module = Line()
samples = DataLoader(TensorDataset(torch.arange(64.0)[:, None]), batch_size=8, shuffle=True)
off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = pl.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, **off)
trainer.fit(module, samples)
print(f"{torch.distributed.get_world_size()} process, {len(module.seen)} of 64 samples seen in the epoch")
PYTHON
step="SLURM_JOB_ID=1 SLURM_JOB_NAME=train SLURM_STEP_ID=0 SLURM_NTASKS=1 SLURM_NNODES=1 SLURM_NODELIST=localhost"
step="$step SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 MASTER_ADDR=127.0.0.1"
echo "pytorch-lightning 2.6.6"
seen=$(env $step env/bin/python half.py 2>errors.txt) || { cat errors.txt; echo "changed: it does not train"; exit 1; }
echo "$seen"; ! grep -i warn errors.txt | grep -iE "slurm|devices|process"
[ "$seen" = "1 process, 32 of 64 samples seen in the epoch" ] || { echo "changed"; exit 1; }
