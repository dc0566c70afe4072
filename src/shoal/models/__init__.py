"""Models: settings that build an `nn.Module` for the inputs and outputs a task has."""

from shoal.models.affine import Affine
from shoal.models.dropout import Dropout
from shoal.models.fitted_functions import Curves, Formulas, OwnCode
from shoal.models.formula import Formula
from shoal.models.formula_network import FormulaNetwork
from shoal.models.integration import integrated
from shoal.models.mlp import ACTIVATIONS, MLP
from shoal.models.model import Model
from shoal.models.own_model import Own
from shoal.models.scalar import Scalar
from shoal.models.torch_model import TorchModel

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Affine",
    "Curves",
    "Dropout",
    "Formula",
    "FormulaNetwork",
    "Formulas",
    "Model",
    "Own",
    "OwnCode",
    "Scalar",
    "TorchModel",
    "integrated",
]
