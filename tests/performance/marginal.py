"""What one more lambda, and a thousand more neuroids, cost ridge, beside the machine's floor for the same work.

Run as ``python tests/performance/marginal.py`` on an idle machine. All is timed through
``itprobe.metrics.predict_held_out`` as differences between runs on the same Gram matrix, best of
``--repeats``. With n stimuli, q neuroids, L lambdas and splits that test f of them, the arithmetic is

- per lambda: the inverse of K + λ, n³ flops, and for each split the Cholesky factor of the test block and its
  triangular solve against the rest, f³/3 + f² n;
- per neuroid: for each lambda its dual coefficients, 2 n², and for each split two products with the test
  rows, 2 · 2 f n.

The floor is these flops at the rates of this machine's float64 products: symmetric for the first, (n, n) @
(n, 1000) for the second.
"""

import argparse

import numpy as np
from machine import describe_machine, product_rate, restart_with_fair_settings, seconds_of, symmetric_rate
from task import Task, add_arguments, load_task

from itprobe.metrics import Gram, RidgeMapping, gram_matrix

ASKED = 3


def main() -> None:
    """Print the marginal costs and their ratios to the floor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_arguments(parser)
    parser.add_argument(
        "--lambdas", type=int, nargs=2, default=(8, 24), help="lambdas of the two runs compared"
    )
    parser.add_argument("--neuroids", type=int, default=1000, help="neuroids added in the second comparison")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    task = load_task(options)
    few, many = options.lambdas
    added = 50 if options.quick else options.neuroids
    gram = gram_matrix(task.features)
    n, q = task.responses.shape
    print(f"{task.description}: n = {n}, p = {task.features.shape[1]}, q = {q}, {len(task.splits)} splits")
    print(describe_machine(n))

    base = seconds_for(task, gram, task.responses, few, options.repeats)
    more_lambdas = seconds_for(task, gram, task.responses, many, options.repeats)
    more_neuroids = seconds_for(task, gram, with_more(task.responses, added), few, options.repeats)
    print(
        f"{few} lambdas, {q} neuroids: {base:.2f} s; {many} lambdas: {more_lambdas:.2f} s; "
        f"{q + added} neuroids: {more_neuroids:.2f} s"
    )
    test_sizes = [len(split.test) for split in task.splits]
    report("per lambda", (more_lambdas - base) / (many - few), lambda_floor(n, test_sizes))
    per_thousand = (more_neuroids - base) / added * 1000
    report("per 1000 neuroids", per_thousand, neuroid_floor(n, test_sizes, few, added) / added * 1000)


def seconds_for(task: Task, gram: Gram, responses: np.ndarray, n_lambdas: int, repeats: int) -> float:
    """Seconds of all splits with a fixed grid of so many lambdas about the mean eigenvalue."""
    scale = np.trace(gram.values) / len(gram.values)
    mapping = RidgeMapping(tuple(scale * np.geomspace(1e-2, 1e3, n_lambdas)))
    changed = Task(task.features, responses, task.ids, task.strata, task.splits, task.description)
    return seconds_of(lambda: changed.predict(gram, mapping), repeats)


def with_more(responses: np.ndarray, added: int) -> np.ndarray:
    """Responses with `added` further neuroids, mixtures of the given ones with noise."""
    rng = np.random.default_rng(0)
    mixtures = responses @ rng.normal(size=(responses.shape[1], added)) / np.sqrt(responses.shape[1])
    return np.hstack([responses, mixtures + responses.std() * rng.normal(size=mixtures.shape)])


def lambda_floor(n: int, test_sizes: list[int]) -> float:
    """Seconds of a lambda's arithmetic at the rate of symmetric products."""
    flops = n**3 + sum(f**3 / 3 + f**2 * n for f in test_sizes)
    return flops / symmetric_rate(n)


def neuroid_floor(n: int, test_sizes: list[int], n_lambdas: int, neuroids: int) -> float:
    """Seconds of the arithmetic of so many neuroids at the rate of products with that many columns."""
    flops = n_lambdas * (2 * n**2 + sum(4 * f * n for f in test_sizes))
    return flops * neuroids / product_rate(n, neuroids)


def report(what: str, seconds: float, floor: float) -> None:
    """Print one comparison."""
    print(
        f"{what}: {seconds:.3f} s, floor {floor:.3f} s, ratio {seconds / floor:.1f} (asked: {ASKED} or less)"
    )


if __name__ == "__main__":
    restart_with_fair_settings()
    main()
