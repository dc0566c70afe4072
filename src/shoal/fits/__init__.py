"""What a formula's fit says beside its parameters: errors, intervals, what the data do not determine."""

from shoal.fits.bands import Bands, bands, possible
from shoal.fits.covariance import Covariance, covariance
from shoal.fits.fit import Fit, Parameter
from shoal.fits.grouped_fit import measured_fit

__all__ = ["Bands", "Covariance", "Fit", "Parameter", "bands", "covariance", "measured_fit", "possible"]
