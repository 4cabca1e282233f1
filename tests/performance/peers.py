"""Ours against the peers: the same features, responses and splits, in one run.

Run as ``python tests/performance/peers.py`` on an idle machine. Every time of ours counts all splits and
the Gram matrix. A peer is timed on a few splits (``--peer-splits``) and its time extrapolated to all of
them, which is said. scikit-learn's and himalaya's times are without loading features; Brain-Score's PLS is
given PCA-1000 features that cost it nothing.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from machine import describe_machine, restart_with_fair_settings
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from tabulate import tabulate
from task import Task, add_arguments, load_task

from itprobe.metrics import PcrMapping, PlsMapping, RidgeMapping, gram_matrix, pearson_r
from itprobe.metrics.crossvalidate import SplitResult

N_LAMBDAS, LAMBDAS_PER_DECADE, N_COMPONENTS, PLS_COMPONENTS = 16, 3, 1000, 25


@dataclass(frozen=True)
class Peer:
    """A peer's times and what it predicted.

    Attributes
    ----------
    split_seconds : float
        Per split.
    timed : int
        Number of splits it was timed on.
    predictions : list of (ndarray (n_test, q), ndarray (q,) or None)
        Of the timed splits, with the lambdas.
    """

    split_seconds: float
    timed: int
    predictions: list[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Ours:
    """Our seconds for all splits, Gram matrix included, and the predictions."""

    seconds: float
    results: list[SplitResult]


Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""Features and responses to train on and features to test on -> predictions, lambdas."""


def main() -> None:
    """Print one row for each peer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument("--peer-splits", type=int, default=2, help="splits that each peer is timed on")
    parser.add_argument("--raw-pls-splits", type=int, default=1, help="the same for PLS on raw features")
    parser.add_argument("--himalaya", choices=["float64", "float32"], default="float64", help="its precision")
    options = parser.parse_args()
    task = load_task(options)
    (n, p), q, splits = task.features.shape, task.responses.shape[1], len(task.splits)
    print(f"{task.description}: n = {n} stimuli, p = {p} features, q = {q} neuroids, {splits} splits")
    print(describe_machine(n))

    start = perf_counter()
    gram = gram_matrix(task.features)
    gram_seconds = perf_counter() - start
    mean_eigenvalue = np.trace(gram.values) / n
    lambdas = tuple(mean_eigenvalue * 10.0 ** (np.arange(-6, N_LAMBDAS - 6) / LAMBDAS_PER_DECADE))
    ours = {}
    for mapping in (RidgeMapping(lambdas), PcrMapping(N_COMPONENTS, lambdas), PlsMapping(PLS_COMPONENTS)):
        start = perf_counter()
        results = task.predict(gram, mapping)
        ours[mapping.name] = Ours(gram_seconds + perf_counter() - start, results)
        print(
            f"ours, {mapping.name}: Gram {gram_seconds:.2f} s + {splits} splits "
            f"{ours[mapping.name].seconds - gram_seconds:.2f} s"
        )
    rows = compare(task, ours, lambdas, options)
    headers = ["ours", "s", "peer", "s per split", "splits timed", "s in all", "ratio", "asked", "agreement"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print("'s in all' of a peer is its time per timed split times the number of splits: extrapolated.")


def compare(
    task: Task, ours: dict[str, Ours], lambdas: tuple[float, ...], options: argparse.Namespace
) -> list[list[str]]:
    """Time the peers one after the other; returns the table's rows."""
    alphas, some = np.array(lambdas), options.peer_splits
    pls = ours["pls"]
    rows = [
        row(
            task,
            "pls",
            pls,
            "Brain-Score pls metric, PCA-1000 features",
            brainscore_pls(task, some),
            8,
            same=False,
        )
    ]
    for name, label, fit, timed, asked, same in (
        ("pls", "scikit-learn PLSRegression, raw features", raw_pls, options.raw_pls_splits, 100, True),
        ("ridge", "scikit-learn RidgeCV, leave-one-out", ridge_cv(alphas), some, 5, True),
        ("pcr", "PCA(1000, randomized) + RidgeCV", pca_ridge_cv(alphas, "randomized"), some, 6, False),
        ("pcr", "PCA(1000, full) + RidgeCV", pca_ridge_cv(alphas, "full"), 1, None, True),
        (
            "ridge",
            f"himalaya KernelRidgeCV, 5-fold, {options.himalaya}",
            himalaya(alphas, options.himalaya),
            some,
            5,
            True,
        ),
    ):
        peer = time_peer(task, fit, timed)
        rows.append(row(task, name, ours[name], label, peer, asked, same))
        if "randomized" in label:  # what it stands in for: ridge on all features
            rows.append(row(task, "ridge", ours["ridge"], label, peer, asked, same))
    return rows


def time_peer(task: Task, fit: Fit, timed: int) -> Peer:
    """Run a peer on the first `timed` splits, after a small run that takes its imports out of the clock."""
    few = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    fit(few, task.responses[:40], few)
    seconds, predictions = [], []
    for split in task.splits[:timed]:
        train, test = task.rows(split.train), task.rows(split.test)
        arguments = task.features[train], task.responses[train], task.features[test]
        start = perf_counter()
        predictions.append(fit(*arguments))
        seconds.append(perf_counter() - start)
    return Peer(float(np.mean(seconds)), len(seconds), predictions)


def raw_pls(train: np.ndarray, responses: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, None]:
    """scikit-learn's PLS as Brain-Score sets it, without a PCA before it."""
    components = min(PLS_COMPONENTS, responses.shape[0] - 1)
    return PLSRegression(components, scale=False).fit(train, responses).predict(test), None


def ridge_cv(alphas: np.ndarray) -> Fit:
    """scikit-learn's ridge with efficient leave-one-out, a lambda per neuroid."""

    def fit(train: np.ndarray, responses: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        fitted = RidgeCV(alphas, alpha_per_target=True).fit(train.astype(np.float64), responses)
        return fitted.predict(test.astype(np.float64)), fitted.alpha_

    return fit


def pca_ridge_cv(alphas: np.ndarray, solver: str) -> Fit:
    """The report's pipeline: a PCA of the training stimuli, randomized or exact, then ridge."""

    def fit(train: np.ndarray, responses: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pca = PCA(min(N_COMPONENTS, len(train) - 1), svd_solver=solver, random_state=0)
        scores = pca.fit_transform(train).astype(np.float64)
        fitted = RidgeCV(alphas, alpha_per_target=True).fit(scores, responses)
        return fitted.predict(pca.transform(test).astype(np.float64)), fitted.alpha_

    return fit


def himalaya(alphas: np.ndarray, dtype: str) -> Fit:
    """himalaya's kernel ridge from features, lambda per neuroid by 5-fold cross-validation."""
    from himalaya.kernel_ridge import KernelRidgeCV

    def fit(train: np.ndarray, responses: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        model = KernelRidgeCV(alphas, solver="eigenvalues", fit_intercept=True, cv=5, warn=False)
        fitted = model.fit(train.astype(dtype), responses.astype(dtype))
        return fitted.predict(test.astype(dtype)), np.broadcast_to(fitted.best_alphas_, responses.shape[1])

    return fit


def brainscore_pls(task: Task, timed: int) -> Peer:
    """Brain-Score's own metric, split by itself, on the leading components of the features.

    Brain-Score fits that PCA on 1000 ImageNet images, which cannot be had everywhere; here it is fitted on
    the stimuli, and not timed.
    """
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
    from brainscore_vision import load_metric

    n = len(task.features)
    scores = PCA(min(N_COMPONENTS, n - 1), svd_solver="randomized", random_state=0).fit_transform(
        task.features
    )
    presentation = {
        "stimulus_id": ("presentation", task.ids),
        "object_name": ("presentation", task.strata),
    }

    def assembly(values: np.ndarray, region: str) -> NeuroidAssembly:
        names = [f"{region}{k}" for k in range(values.shape[1])]
        neuroid = {"neuroid_id": ("neuroid", names), "region": ("neuroid", [region] * len(names))}
        return NeuroidAssembly(values, coords={**presentation, **neuroid}, dims=["presentation", "neuroid"])

    metric = load_metric(
        "pls", crossvalidation_kwargs={"stratification_coord": "object_name", "splits": timed}
    )
    source, target = assembly(scores, "model"), assembly(task.responses, "IT")
    start = perf_counter()
    score = metric(source, target)
    seconds = perf_counter() - start
    print(f"Brain-Score pls metric: median r {float(score):.4f} on {timed} splits")
    return Peer(seconds / timed, timed, [])


def row(
    task: Task, name: str, ours: Ours, label: str, peer: Peer, asked: float | None, same: bool
) -> list[str]:
    """One line of the table."""
    total = peer.split_seconds * len(task.splits)
    return [
        name,
        f"{ours.seconds:.2f}",
        label,
        f"{peer.split_seconds:.2f}",
        f"{peer.timed} of {len(task.splits)}",
        f"{total:.1f}",
        f"{total / ours.seconds:.1f}x",
        "-" if asked is None else f"{asked:g}x",
        agreement(ours, peer, same),
    ]


def agreement(ours: Ours, peer: Peer, same: bool) -> str:
    """How far predictions are apart, where both sides claim the same, and both sides' r.

    Where there are lambdas, a neuroid counts if both chose the same; the distance is in standard deviations of
    its responses.
    """
    apart, compared, total = 0.0, 0, 0
    r: list[tuple[float, float]] = []
    for mine, (predicted, lambdas) in zip(ours.results, peer.predictions, strict=False):
        r.append(
            tuple(float(np.nanmedian(pearson_r(mine.responses, x))) for x in (mine.predictions, predicted))
        )
        equal = (
            np.ones(predicted.shape[1], bool)
            if lambdas is None
            else np.isclose(lambdas, mine.lambdas, rtol=1e-5)
        )
        compared, total = compared + int(equal.sum()), total + len(equal)
        if equal.any():
            distance = np.abs(predicted - mine.predictions) / mine.responses.std(axis=0)
            apart = max(apart, float(distance[:, equal].max()))
    if not r:
        timed = ours.results[: peer.timed]
        median = np.mean([np.nanmedian(pearson_r(one.responses, one.predictions)) for one in timed])
        return f"other features; our median r {median:.4f}"
    medians = "median r {:.4f}, theirs {:.4f}".format(*np.mean(r, axis=0))
    if not same:
        return f"other method; {medians}"
    counted = "" if peer.predictions[0][1] is None else f" for {compared}/{total} with the same lambda"
    return f"{apart:.1e} sd apart{counted}; {medians}"


if __name__ == "__main__":
    restart_with_fair_settings()
    main()
