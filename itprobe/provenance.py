"""Where a number comes from: each neuroid's share in it, versions, device, seed, time and memory."""

import platform
import resource
import sys
from importlib.metadata import version

import numpy as np

from itprobe.benchmarks import Evaluation, SimilarityEvaluation
from itprobe.leaderboard.result import Neuroid, Provenance
from itprobe.metrics import mean_over_splits
from itprobe.models import Candidate


def per_neuroid(evaluation: Evaluation | SimilarityEvaluation) -> list[Neuroid] | None:
    """Scores of each neuroid, means over the splits in which they are defined; None for a similarity."""
    if isinstance(evaluation, SimilarityEvaluation):
        return None
    r, ev = mean_over_splits(evaluation.pearson_r), mean_over_splits(evaluation.explained_variance)
    infinite = np.isinf(evaluation.lambdas)
    log_alpha = mean_over_splits(np.log(np.where(infinite, np.nan, evaluation.lambdas)))
    target = evaluation.target
    rho = target.reliability.rho if target.reliability else np.full(len(r), np.nan)
    return [
        Neuroid(
            neuroid_id=str(neuroid_id),
            pearson_r=_number(r[j]),
            explained_variance=_number(ev[j]),
            reliability=_number(rho[j]),
            alpha=_number(np.exp(log_alpha[j])),
            mean_predictor_splits=int(infinite[:, j].sum()),
        )
        for j, neuroid_id in enumerate(target.neuroids["neuroid_id"])
    ]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def provenance(candidate: Candidate, seed: int, started: str, seconds: float) -> Provenance:
    """Describe the running process.

    Parameters
    ----------
    candidate : Candidate
        Its device is stated; controls run on the cpu.
    seed : int
    started : str
        ISO time.
    seconds : float
        Forward pass and mapping together.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Provenance(
        itprobe=version("itprobe"),
        brainscore_vision=version("brainscore_vision"),
        torch=version("torch"),
        numpy=version("numpy"),
        python=platform.python_version(),
        device=str(getattr(candidate, "device", "cpu")),
        seed=seed,
        started=started,
        seconds=round(seconds, 3),
        peak_memory_mb=round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
    )
