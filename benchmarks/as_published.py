"""The report's regression from network layers run as it was, with its mistakes, and each mistake by itself.

The report ("Predicting IT Neuron Activity") fits PCR (1000 principal components of a layer, then ridge) to
the responses and finds nothing: EV 1e-8, r .015. Three things went wrong. Activations were collected through
a loader that shuffles, and met responses in the recording's order. One regression, that of the last layer,
was kept, and every layer was predicted with its weights from the layer's own components. And lambda was
chosen from grids on whose edge it ended: with rows that do not belong together, the best prediction is the
mean response, and the larger lambda, the nearer to it.

Here each can be switched on alone. All of it follows from Gram matrices: the training stimuli's scores on
their components are ``Z = U S^½`` with U S Uᵀ the centred training kernel, those of the test stimuli
``K_FT U S^-½`` (K_FT about the training mean), the weights ``w = (S + λ)⁻¹ S^½ Uᵀ y``. Shuffling the rows of
features against the responses leaves U and S as they are, so a permutation null costs no decomposition.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Table
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from itprobe.benchmarks.target import Target
from itprobe.errors import InputError, unknown_name
from itprobe.metrics import Gram, PcrMapping, Split, SplitPlan, explained_variance, interval, pearson_r
from itprobe.metrics.blas import product
from itprobe.metrics.crossvalidate import check_same_stimuli
from itprobe.metrics.held_out_errors import held_out_errors
from itprobe.metrics.inner_folds import inner_folds
from itprobe.metrics.lambda_search import frame_of_spectrum, run_search, search_automatically, search_grid
from itprobe.metrics.mapping import SplitRows
from itprobe.metrics.spectrum import Spectrum, centred_spectrum
from itprobe.metrics.variance import is_constant
from itprobe.progress import progress_bar

Grid = Literal["automatic", "wide", "capped"] | tuple[float, ...]
"""The mapping's own grid; one of `DECADES`; or lambdas as they are."""

DECADES: dict[str, range] = {"wide": range(-6, 9), "capped": range(-6, -1)}
"""Powers of ten, times the largest eigenvalue, that stand in for the report's own grids, which are not known.

Its figures tell how they ended. A mean EV of 1e-8 over 168 sites beside an r of .015 takes one lambda for all
of them, far above every eigenvalue; an EV of -.04 one that could not grow enough to leave the mean response.
"""

N_NULL = 200
NULL_LEVEL = 0.99
_COLUMNS_AT_ONCE = 4000  # neuroids of several draws are solved side by side; more would only take memory


@dataclass(frozen=True)
class Mistakes:
    """Which of the report's mistakes are made; none by default.

    Attributes
    ----------
    shuffled : bool
        Rows of features are permuted against the responses, within the training and within the test part.
    last_layer_weights : bool
        Every layer is predicted from its own components with the last layer's weights.
    grid : {"automatic", "wide", "capped"} or tuple of float
        Where lambda is chosen from; one for all neuroids unless it is automatic.
    """

    shuffled: bool = False
    last_layer_weights: bool = False
    grid: Grid = "automatic"

    def __post_init__(self) -> None:
        if isinstance(self.grid, str) and self.grid not in ("automatic", *DECADES):
            raise unknown_name("lambda grid", self.grid, ("automatic", *DECADES))


def variants(grid: Grid = "wide") -> dict[str, Mistakes]:
    """All mistakes together, each alone, and none."""
    return {
        "as published": Mistakes(shuffled=True, last_layer_weights=True, grid=grid),
        "shuffled rows alone": Mistakes(shuffled=True),
        "last layer's weights alone": Mistakes(last_layer_weights=True),
        "lambda grid alone": Mistakes(grid=grid),
        "aligned": Mistakes(),
    }


@dataclass(frozen=True)
class PublishedLayer:
    """One layer under one variant of the protocol.

    Attributes
    ----------
    layer : str
    mistakes : Mistakes
    explained_variance, pearson_r : ndarray (q,)
        Of the one test part; NaN where the response is constant in it.
    lambdas : ndarray (q,)
        Infinity where the mean response was the best prediction.
    at_upper_edge : ndarray (q,) of bool
        Lambda is the largest that could be chosen.
    null_r : ndarray (n_null,)
        Mean r over neuroids under the same protocol with shuffled rows, once for each shuffle.
    """

    layer: str
    mistakes: Mistakes
    explained_variance: np.ndarray
    pearson_r: np.ndarray
    lambdas: np.ndarray
    at_upper_edge: np.ndarray
    null_r: np.ndarray

    @property
    def ev_mean(self) -> float:
        """Mean explained variance over neuroids, as the report gives it."""
        return float(np.nanmean(self.explained_variance))

    @property
    def ev_median(self) -> float:
        """Median explained variance over neuroids."""
        return float(np.nanmedian(self.explained_variance))

    @property
    def r_mean(self) -> float:
        """Mean r over neuroids, as the report gives it."""
        return float(np.nanmean(self.pearson_r))

    @property
    def r_median(self) -> float:
        """Median r over neuroids."""
        return float(np.nanmedian(self.pearson_r))

    @property
    def null99(self) -> tuple[float, float] | None:
        """Central 99 % of the null; None where no shuffles were drawn."""
        return interval(self.null_r, NULL_LEVEL) if len(self.null_r) else None

    @property
    def inside_null(self) -> bool | None:
        """Whether the mean r lies within the central 99 % of the null."""
        bounds = self.null99
        return None if bounds is None else bounds[0] <= self.r_mean <= bounds[1]


def as_published(
    layers: Table[str, Gram],
    stimulus_ids: np.ndarray,
    target: Target,
    plan: SplitPlan,
    seed: int,
    protocols: Table[str, Mistakes] | None = None,
    mapping: PcrMapping = PcrMapping(),  # noqa: B008 (a frozen dataclass)
    n_null: int = N_NULL,
) -> dict[str, dict[str, PublishedLayer]]:
    """Run the report's protocol on the layers of one network, with its mistakes together, alone and without.

    Without mistakes a layer's scores are those of `itprobe.benchmarks.evaluation.evaluate` with the same mapping.

    Parameters
    ----------
    layers : mapping of str to Gram
        From shallow to deep; the last one gives the weights where all layers share them.
    stimulus_ids : ndarray (n,)
        Of the rows of all Gram matrices.
    target : Target
    plan : SplitPlan
        With one split, as ``course`` draws it.
    seed : int
        Of the shuffles. All layers share them: they come from one pass through the loader.
    protocols : mapping of str to Mistakes, optional
        `variants` if not given.
    mapping : PcrMapping
        Number of components, inner folds, and the grid of rows without the mistake.
    n_null : int
        Shuffles of the permutation null; 0 draws none.

    Returns
    -------
    dict of str to dict of str to PublishedLayer
        Name of the protocol to layer to its scores.

    Raises
    ------
    InputError
        If there are no layers or several splits, a layer does not differ between stimuli, or the features
        are of other stimuli than the responses.
    """
    _check(layers, stimulus_ids, target, plan, n_null)
    protocols = variants() if protocols is None else protocols
    network = _network(layers, stimulus_ids, target, plan.splits[0], mapping)
    nulls: dict[tuple[str, Grid], dict[str, np.ndarray]] = {}
    table: dict[str, dict[str, PublishedLayer]] = {name: {} for name in protocols}
    with progress_bar(len(protocols) * len(layers), "as published", "layer") as bar:
        for name, mistakes in protocols.items():
            for layer in layers:
                fitted_on = list(layers)[-1] if mistakes.last_layer_weights else layer
                key = (fitted_on, mistakes.grid)
                if key not in nulls:
                    nulls[key] = network.null(*key, seed, n_null)
                table[name][layer] = network.run(layer, fitted_on, mistakes, seed, nulls[key][layer])
                bar.update()
    return table


def shuffles(
    seed: int, n_train: int, n_test: int, null: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw, again and again, which response each row of features meets: (n_train,) and (n_test,) rows.

    The first makes the shuffled rows of the table; those of the null come from another stream.
    """
    generator = np.random.default_rng([seed, int(null)])
    while True:
        yield generator.permutation(n_train), generator.permutation(n_test)


@dataclass(frozen=True)
class _Components:
    """A layer's principal components: of the training stimuli (n, k), and the test stimuli's scores (m, k).

    Each component's sign is such that its largest training score, in absolute value, is positive (as
    scikit-learn's ``svd_flip`` settles it on U), and components stand in the order of falling variance: that
    is how weights of one layer come to meet scores of another.
    """

    train: Spectrum
    test: np.ndarray

    @classmethod
    def of(cls, gram: Gram, rows: SplitRows, n_components: int) -> "_Components":
        kernel = gram.values[np.ix_(rows.train, rows.train)]
        found = centred_spectrum(kernel, gram.resolution).leading(n_components)
        largest = np.abs(found.vectors).argmax(axis=0)
        vectors = found.vectors * np.sign(found.vectors[largest, np.arange(len(largest))])
        about_mean = gram.values[np.ix_(rows.test, rows.train)] - kernel.mean(axis=0)
        scores = product(about_mean, vectors) / np.sqrt(found.eigenvalues)
        return cls(Spectrum(vectors, found.eigenvalues, found.floor), scores)

    def weights(self, responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
        """Ridge weights (k, q) of responses (n, q) on the training scores."""
        values = self.train.eigenvalues[:, None]
        return product(self.train.vectors.T, responses) * np.sqrt(values) / (values + lambdas)

    def predict(self, weights: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """Predictions (m, q) for the test stimuli with weights (k', q), of as many components as both have."""
        k = min(self.test.shape[1], len(weights))
        return product(self.test[:, :k], weights[:k]) + intercept


@dataclass(frozen=True)
class _Network:
    """Components of all layers, and what they predict: responses (n, q) and (m, q), folds of the former."""

    components: dict[str, _Components]
    train: np.ndarray
    test: np.ndarray
    folds: list[np.ndarray]
    mapping: PcrMapping

    def run(
        self, layer: str, fitted_on: str, mistakes: Mistakes, seed: int, null_r: np.ndarray
    ) -> PublishedLayer:
        train, test = self.train, self.test
        if mistakes.shuffled:
            for_train, for_test = next(shuffles(seed, len(train), len(test)))
            train, test = train[for_train], test[for_test]
        lambdas, largest = self._choose(fitted_on, train, mistakes.grid)
        predictions = self._predict(layer, fitted_on, train, lambdas)
        ev, r = explained_variance(test, predictions), pearson_r(test, predictions)
        return PublishedLayer(layer, mistakes, ev, r, lambdas, lambdas >= largest, null_r)

    def null(self, fitted_on: str, grid: Grid, seed: int, n_null: int) -> dict[str, np.ndarray]:
        """Mean r over neuroids (n_null,) of every layer predicted with one layer's weights, for each shuffle."""
        q = self.train.shape[1]
        together = grid != "automatic" or self.mapping.per_neuroid  # else a search is one for all its columns
        at_once = max(1, _COLUMNS_AT_ONCE // q) if together else 1
        draws = shuffles(seed, len(self.train), len(self.test), null=True)
        means: dict[str, list[float]] = {layer: [] for layer in self.components}
        for start in range(0, n_null, at_once):
            pairs = [next(draws) for _ in range(min(at_once, n_null - start))]
            train = np.hstack([self.train[rows] for rows, _ in pairs])
            test = np.hstack([self.test[rows] for _, rows in pairs])
            lambdas, _ = self._choose(fitted_on, train, grid)
            for layer in self.components:
                r = pearson_r(test, self._predict(layer, fitted_on, train, lambdas))
                means[layer] += np.nanmean(r.reshape(len(pairs), q), axis=1).tolist()
        return {layer: np.array(of_layer) for layer, of_layer in means.items()}

    def _choose(self, layer: str, responses: np.ndarray, grid: Grid) -> tuple[np.ndarray, float]:
        """Lambda of each column (c,) by k-fold on the layer's components, and the largest there was.

        Columns are the neuroids, or those of several shuffles one after the other.
        """
        spectrum, (_, c), mapping = self.components[layer].train, responses.shape, self.mapping
        errors_of = held_out_errors(spectrum, responses, self.folds)
        if grid != "automatic":
            lambdas = _lambdas(grid, spectrum)
            errors = errors_of(np.arange(c), lambdas).reshape(len(lambdas), -1, self.train.shape[1])
            best = errors.mean(axis=2).argmin(axis=0)
            return np.repeat(lambdas[best], self.train.shape[1]), float(lambdas[-1])
        if mapping.lambdas is None:
            search = search_automatically(c, frame_of_spectrum(spectrum), mapping.per_neuroid)
            return run_search(search, errors_of).lambdas, np.inf
        fixed = np.array(mapping.lambdas)
        return run_search(search_grid(c, fixed, mapping.per_neuroid), errors_of).lambdas, float(fixed.max())

    def _predict(self, layer: str, fitted_on: str, responses: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
        weights = self.components[fitted_on].weights(responses, lambdas)
        return self.components[layer].predict(weights, responses.mean(axis=0))


def _network(
    layers: Table[str, Gram], stimulus_ids: np.ndarray, target: Target, split: Split, mapping: PcrMapping
) -> _Network:
    order = pd.Index(stimulus_ids)
    rows = SplitRows(order.get_indexer(split.train), order.get_indexer(split.test))
    components = {layer: _Components.of(gram, rows, mapping.n_components) for layer, gram in layers.items()}
    index = pd.Index(target.stimuli["stimulus_id"])
    train, test = (index.get_indexer(ids) for ids in (split.train, split.test))
    # The folds stay with the rows of features when these are shuffled, so that all shuffles can be solved
    # together; whether they stay with these or with the responses makes no difference on average.
    folds, _ = inner_folds(len(train), mapping.folds, None if target.strata is None else target.strata[train])
    held_out = [out for _, out in folds]
    return _Network(components, target.responses[train], target.responses[test], held_out, mapping)


def _lambdas(grid: Grid, spectrum: Spectrum) -> np.ndarray:
    """Lambdas (L,), ascending, of a grid that is not automatic."""
    relative = 10.0 ** np.array(DECADES[grid]) * spectrum.eigenvalues[0] if isinstance(grid, str) else grid
    return np.sort(relative)


def _check(
    layers: Table[str, Gram], stimulus_ids: np.ndarray, target: Target, plan: SplitPlan, n_null: int
) -> None:
    check_same_stimuli(stimulus_ids, target.stimuli["stimulus_id"].to_numpy())
    if not layers:
        raise InputError("the report's protocol needs at least one layer")
    if len(plan.splits) != 1:
        raise InputError(
            f"the report's protocol has one split, not {len(plan.splits)}: use the split 'course', once per seed"
        )
    if n_null < 0:
        raise InputError(f"the number of shuffles of the null must be 0 or more, not {n_null}")
    for layer, gram in layers.items():
        if is_constant(gram):
            raise InputError(f"{layer}: no variance: every image gives the same activations; leave it out")
