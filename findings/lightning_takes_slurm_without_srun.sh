#!/usr/bin/env bash
# Lightning decides whether SLURM started its processes by SLURM_NTASKS alone. That is set in every batch script, where a
# plain `python train.py` is the one process there is: with --ntasks=2 no Trainer can be made, not even one with
# devices=1; with --ntasks-per-node=2 and devices=2 it waits for a process that nobody starts (not shown here). And where
# an `srun` is on the PATH, as on each login node, every Trainer warns that it was not used.
# In shoal: SLURM is Lightning's launcher only where SLURM_STEP_ID says that srun started the process.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6 || exit 2
unset ${!SLURM_@} LOCAL_RANK RANK

cat > trainer.py <<'PYTHON'
import warnings

import pytorch_lightning as pl

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        pl.Trainer(accelerator="cpu", devices=1, logger=False)
        print("made", end="; ")
    except RuntimeError as error:
        print(f"RuntimeError: {error}", end="; ")
print(sum("srun" in str(warning.message) for warning in caught), "warnings of srun")
PYTHON
mkdir bin; printf '#!/bin/sh\nexit 1\n' > bin/srun; chmod +x bin/srun
batch="SLURM_JOB_ID=1 SLURM_JOB_NAME=train SLURM_NTASKS=2 SLURM_NNODES=2 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0"
echo "pytorch-lightning 2.6.6"
plain=$(PATH=$folder env/bin/python trainer.py 2>/dev/null); echo "without SLURM: $plain"  # whatever is installed here
login=$(PATH=$folder/bin:$PATH env/bin/python trainer.py 2>/dev/null); echo "srun on the PATH: $login"
script=$(env $batch env/bin/python trainer.py 2>/dev/null); echo "batch script, --ntasks=2: $script"
[ "$plain" = "made; 0 warnings of srun" ] && [[ $login == made* && $login != *" 0 warnings"* ]] \
  && [[ $script == RuntimeError:*--ntasks=2* ]] || { echo "changed"; exit 1; }
