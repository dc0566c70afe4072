#!/usr/bin/env bash
# polars: value_counts of a series that is called `count` raises: the counts are put into a column of that name beside it.
# What is in a table's header decides, so code that has counted every column so far fails at this one.
# In shoal: a column is renamed before its values are counted.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check polars==2.1.0 || exit 2

cat > count.py <<'PYTHON'
import polars as pl

frame = pl.DataFrame({"counts": [1, 1, 2], "count": [1, 1, 2]})
for name in frame.columns:
    try:
        print(name, frame[name].value_counts(sort=True).rows())
    except Exception as error:
        print(name, type(error).__name__)
PYTHON
echo "polars 2.1.0: name of the column, its values and how many there are of each"
found=$(env/bin/python count.py 2>/dev/null); echo "$found"
[ "$found" = "counts [(1, 2), (2, 1)]
count DuplicateError" ] || { echo "changed"; exit 1; }
