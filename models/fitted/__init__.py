"""Networks trained on responses: architectures, one trainer, and the candidates made of them."""

from itprobe.models.fitted.candidate import FitReport, FittedCandidate, NetworkFit
from itprobe.models.fitted.export import export_fit
from itprobe.models.fitted.exported import Exported, load_exported
from itprobe.models.fitted.registry import FITTED_NAMES, load_fitted
from itprobe.models.fitted.settings import TrainingSettings

__all__ = [
    "FITTED_NAMES",
    "Exported",
    "FitReport",
    "FittedCandidate",
    "NetworkFit",
    "TrainingSettings",
    "export_fit",
    "load_exported",
    "load_fitted",
]
