"""Tasks whose samples are the rows of a table. Imported only where one is used: polars takes its time."""

from shoal.tasks.tables.file import TableFile
from shoal.tasks.tables.hare_lynx import HareLynx
from shoal.tasks.tables.iris import Iris
from shoal.tasks.tables.nist import Nist
from shoal.tasks.tables.restored import Restored
from shoal.tasks.tables.table import Table

__all__ = ["HareLynx", "Iris", "Nist", "Restored", "Table", "TableFile"]
