"""Ridge with nested leave-one-out lambdas: ours against scikit-learn's RidgeCV, same data, same lambdas.

Run as ``python tests/performance/ridge.py``. Prints seconds and ratios, and how far the predictions are
apart. The features are those of a named layer on a simulated recording, because iteration counts and
conditioning depend on the spectrum; ours includes building the Gram matrix.
"""

import argparse
import resource
from time import perf_counter

import numpy as np
from sklearn.linear_model import RidgeCV

from itprobe.benchmarks import load_benchmark
from itprobe.metrics import RidgeMapping, gram_matrix, predict_held_out
from itprobe.models import load_candidate, parse_candidate, record_activations

LAMBDAS_PER_DECADE = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", default="simulated")
    parser.add_argument("--candidate", default="efficientnet_lite0:_blocks.8")
    parser.add_argument("--peer-splits", type=int, default=2, help="splits that the peer is timed on")
    options = parser.parse_args()
    benchmark = load_benchmark(f"{options.recording}.IT-ridge")
    target, plan = benchmark.target, benchmark.plan()
    layer = parse_candidate(options.candidate).layer
    with record_activations(load_candidate(options.candidate), target.stimulus_set, [layer]) as activations:
        features, ids = activations[layer], activations.stimulus_ids
        compare(features, ids, target, plan.splits, options.peer_splits)


def compare(features, ids, target, splits, peer_splits) -> None:
    n, p = features.shape
    q = target.responses.shape[1]
    print(f"n = {n} stimuli, p = {p} features, q = {q} neuroids, {len(splits)} splits")
    response_ids = target.stimuli["stimulus_id"].to_numpy()

    start = perf_counter()
    gram = gram_matrix(features)
    gram_seconds = perf_counter() - start
    scale = np.trace(gram.values) / n
    lambdas = tuple(scale * 10.0 ** (np.arange(-6, 10) / LAMBDAS_PER_DECADE))
    start = perf_counter()
    ours = list(predict_held_out(gram, ids, target.responses, response_ids, RidgeMapping(lambdas), splits))
    split_seconds = (perf_counter() - start) / len(splits)
    total = gram_seconds + split_seconds * len(splits)
    print(f"ours: Gram {gram_seconds:.2f} s, {split_seconds:.2f} s per split, {total:.1f} s in all")
    gemm_floor(n)

    row = {key: i for i, key in enumerate(ids)}
    response_row = {key: i for i, key in enumerate(response_ids)}
    seconds, apart = [], 0.0
    for split, mine in list(zip(splits, ours, strict=True))[:peer_splits]:
        train, test = ([row[key] for key in part] for part in (split.train, split.test))
        responses = target.responses[[response_row[key] for key in split.train]]
        start = perf_counter()
        fitted = RidgeCV(lambdas, alpha_per_target=True).fit(features[train].astype(np.float64), responses)
        predicted = fitted.predict(features[test].astype(np.float64))
        seconds.append(perf_counter() - start)
        same = np.isclose(fitted.alpha_, mine.lambdas)
        distance = np.abs(predicted - mine.predictions) / responses.std(axis=0)
        apart = max(apart, float(distance[:, same].max()))
    peer = np.mean(seconds) * len(splits)
    print(f"scikit-learn RidgeCV, leave-one-out: {np.mean(seconds):.1f} s per split, {peer:.0f} s in all")
    print(f"ratio {peer / total:.1f}x; predictions at most {apart:.1e} response sd apart")
    print(f"peak memory of both: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GB")


def gemm_floor(n: int) -> None:
    """The machine's own rate, for judging the seconds above."""
    matrix = np.random.default_rng(0).normal(size=(n, n))
    start = perf_counter()
    matrix @ matrix
    seconds = perf_counter() - start
    print(f"machine: float64 product of {n} x {n} in {seconds:.2f} s, {2e-9 * n**3 / seconds:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
