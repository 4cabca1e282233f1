"""Where a number comes from: each neuroid's share in it, versions, device, seed, time and memory."""

import platform
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from itprobe.benchmarks import Evaluation, SimilarityEvaluation
from itprobe.leaderboard.result import Neuroid, Provenance, TrainingInfo
from itprobe.metrics import mean_over_splits
from itprobe.models import Candidate

if TYPE_CHECKING:
    from itprobe.models.fitted import FitReport, FittedCandidate


def versions() -> dict[str, str]:
    """Versions of the packages that compute scores, and of Python."""
    names = ("itprobe", "brainscore_vision", "torch", "numpy")
    return {**{name: version(name) for name in names}, "python": platform.python_version()}


def per_neuroid(evaluation: Evaluation | SimilarityEvaluation, spaces: Sequence[str]) -> list[Neuroid] | None:
    """Scores of each neuroid, means over the splits in which they are defined; None for a similarity.

    r²_ER and FEVE are there only where every split defines them: to average those splits in which a noisy
    neuroid happened to vary more than its noise would be to choose among its values. `spaces` are the
    names of the evaluation's feature spaces.
    """
    if isinstance(evaluation, SimilarityEvaluation):
        return None
    r, ev = mean_over_splits(evaluation.pearson_r), mean_over_splits(evaluation.explained_variance)
    infinite = np.isinf(evaluation.lambdas)
    log_alpha = mean_over_splits(np.log(np.where(infinite, np.nan, evaluation.lambdas)))
    target = evaluation.target
    undefined = np.full(len(r), np.nan)
    rho = target.reliability.rho if target.reliability else undefined
    corrected = evaluation.corrected
    r2_er, feve = (
        (undefined, undefined)
        if corrected is None
        else (corrected.r2_er.mean(axis=0), corrected.feve.mean(axis=0))
    )
    shares = None if evaluation.shares is None else mean_over_splits(evaluation.shares)
    return [
        Neuroid(
            neuroid_id=str(neuroid_id),
            pearson_r=_number(r[j]),
            explained_variance=_number(ev[j]),
            r2_er=_number(r2_er[j]),
            feve=_number(feve[j]),
            reliability=_number(rho[j]),
            alpha=_number(np.exp(log_alpha[j])),
            mean_predictor_splits=int(infinite[:, j].sum()),
            shares=None if shares is None else dict(zip(spaces, map(_number, shares[:, j]), strict=True)),
        )
        for j, neuroid_id in enumerate(target.neuroids["neuroid_id"])
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def training_info(evaluation: Evaluation | SimilarityEvaluation) -> list[TrainingInfo] | None:
    """How each split's fit was trained; None for frozen candidates and a user's own fitted ones."""
    if isinstance(evaluation, SimilarityEvaluation) or evaluation.fits is None:
        return None
    return training_of(evaluation.fits)


def training_of(fits: "Sequence[FitReport]") -> list[TrainingInfo] | None:
    """How fits were trained; None for those of a user's own candidate."""
    infos = []
    for fit in fits:
        if fit.trained is None or fit.weights_sha256 is None or fit.n_parameters is None:
            return None
        best = fit.trained.history[fit.trained.best_epoch]
        infos.append(
            TrainingInfo(
                weights_sha256=fit.weights_sha256,
                n_parameters=fit.n_parameters,
                n_train=fit.trained.n_train,
                n_validation=fit.trained.n_validation,
                batch_size=fit.trained.batch_size,
                epochs=len(fit.trained.history),
                best_epoch=fit.trained.best_epoch + 1,
                train_loss=best.loss,
                validation_loss=_number(best.validation_loss),
                validation_r=_number(best.validation_r),
                seconds=round(fit.trained.seconds, 3),
            )
        )
    return infos


def provenance(
    candidate: "Candidate | FittedCandidate", features: str, seed: int, started: str, seconds: float
) -> Provenance:
    """Describe the running process.

    Parameters
    ----------
    candidate : Candidate or FittedCandidate
        Its device is stated; controls run on the cpu.
    features : str
        Type in which features were kept.
    seed : int
    started : str
        ISO time.
    seconds : float
        Forward pass and mapping together.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Provenance(
        **versions(),
        device=str(getattr(candidate, "device", "cpu")),
        precision=str(getattr(candidate, "precision", "full")),
        features=features,
        seed=seed,
        started=started,
        seconds=round(seconds, 3),
        peak_memory_mb=round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
    )
