"""Models: settings that build an `nn.Module` for the inputs and outputs a task has."""

from shoal.models.affine import Affine
from shoal.models.by_module import Own
from shoal.models.dropout import Dropout
from shoal.models.formula import Formula, FormulaNetwork
from shoal.models.mlp import ACTIVATIONS, MLP
from shoal.models.model import Model
from shoal.models.scalar import Scalar
from shoal.models.upstream import Upstream

__all__ = ["ACTIVATIONS", "MLP", "Affine", "Dropout", "Formula", "FormulaNetwork", "Model", "Own", "Scalar", "Upstream"]
