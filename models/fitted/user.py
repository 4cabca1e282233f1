"""A user's own fitted candidate: any object with ``fit`` and ``predict``, made by a factory in a Python file."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from itprobe.errors import InputError
from itprobe.models.fitted.candidate import FitReport, FittedCandidate
from itprobe.models.sources import made_by_file
from itprobe.models.user_code import user_code

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet


class UserFitted(FittedCandidate):
    """``path/to/file.py::factory``; the factory is called anew for each split.

    Parameters
    ----------
    identifier : str
    seed : int
        Torch's generator is seeded with it while the factory runs.

    Raises
    ------
    InputError
        If the file or the factory is missing, it raises, or what it makes lacks ``fit`` or ``predict``.
    """

    def __init__(self, identifier: str, seed: int) -> None:
        self.identifier, self.seed = identifier, seed
        self._made, self._source, self._neighbours = made_by_file(identifier, seed)
        lacking = [name for name in ("fit", "predict") if not callable(getattr(self._made, name, None))]
        if lacking:
            raise InputError(
                f"{identifier} returned {type(self._made).__name__}, which has no {' and no '.join(lacking)}; a fitted "
                "candidate has fit(stimuli, responses, labels) and predict(stimuli), any other is scored with a mapping"
            )

    def fresh(self, context: Mapping[str, str], reliability: np.ndarray | None = None) -> Self:
        """Call the factory anew: nothing of an earlier fit is left."""
        return type(self)(self.identifier, self.seed)

    def parameters(self) -> dict[str, object]:
        """Digest of the source, and the seed."""
        return {"source": self._source, "seed": self.seed}

    def fit(self, stimuli: "StimulusSet", responses: np.ndarray, labels: np.ndarray | None = None) -> Self:  # noqa: D102
        self._call(lambda made, *given: made.fit(*given), "fit", stimuli, responses, labels)
        self.report = FitReport(None, None, None)
        return self

    def predict(self, stimuli: "StimulusSet") -> np.ndarray:  # noqa: D102
        # What cannot be read as numbers is the user's mistake, like anything that predict raises.
        return self._call(
            lambda made, *given: np.asarray(made.predict(*given), dtype=np.float64), "predict", stimuli
        )

    def _call(self, run: Callable[..., Any], step: str, stimuli: "StimulusSet", *arguments: object) -> Any:
        with (
            self._neighbours.present(),
            user_code(f"{self.identifier}: {step} with {len(stimuli)} stimuli", "mend it"),
        ):
            return run(self._made, stimuli, *arguments)
