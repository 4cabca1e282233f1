"""The report's protocol with its mistakes: each alone, all together, and none, against scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import explained_variance_score
from sklearn.model_selection import StratifiedKFold

from itprobe.benchmarks.as_published import DECADES, Mistakes, as_published, shuffles, variants
from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.target import Target
from itprobe.errors import InputError
from itprobe.metrics import SPLITS, PcrMapping, Split, SplitPlan, gram_matrix
from itprobe.metrics.inner_folds import FOLD_SEED

N, Q = 200, 12
IDS = np.array([f"im{i:03d}" for i in range(N)])
SMALL = PcrMapping(n_components=30)


def target_of(responses):
    stimuli = pd.DataFrame({"stimulus_id": IDS, "object_name": np.resize(list("abcdefgh"), N)})
    q = responses.shape[1]
    return Target(
        region="IT",
        stimuli=stimuli,
        stimulus_set=StimulusSet(stimuli),
        responses=responses,
        neuroids=pd.DataFrame(
            {"neuroid_id": [f"n{j}" for j in range(q)], "animal": np.resize(["x", "y"], q)}
        ),
        reliability=None,
        noise=None,
        repetitions_median=1.0,
        recording={},
        warnings=[],
    )


@pytest.fixture(scope="module")
def features():
    """Three layers with falling spectra, each mixed anew from the one before."""
    rng = np.random.default_rng(5)
    first = rng.normal(size=(N, 60)) * np.linspace(3, 0.3, 60)
    second = np.tanh(first @ rng.normal(size=(60, 50)) / 8) * np.linspace(2, 0.5, 50)
    return {"one": first, "two": second, "three": second @ rng.normal(size=(50, 45))}


@pytest.fixture(scope="module")
def target(features):
    rng = np.random.default_rng(6)
    signal = features["three"] @ rng.normal(size=(45, Q))
    return target_of(5 + signal / signal.std(axis=0) + 0.4 * rng.normal(size=(N, Q)))


@pytest.fixture(scope="module")
def grams(features):
    return {layer: gram_matrix(x) for layer, x in features.items()}


@pytest.fixture(scope="module")
def plan(target):
    return SPLITS["course"](target.stimuli, 1)


@pytest.fixture(scope="module")
def table(grams, target, plan):
    return as_published(grams, IDS, target, plan, seed=1, mapping=SMALL)


def parts(values, plan):
    """Rows of values (N, ...) in the training and in the test part."""
    index = pd.Index(IDS)
    return tuple(values[index.get_indexer(ids)] for ids in (plan.splits[0].train, plan.splits[0].test))


def run(grams, target, plan, mistakes, mapping=SMALL, seed=1, n_null=0, ids=IDS):
    return as_published(grams, ids, target, plan, seed, {"this": mistakes}, mapping, n_null)["this"]


def scores(measured, predicted):
    """Explained variance and r per neuroid, by scikit-learn and numpy."""
    ev = explained_variance_score(measured, predicted, multioutput="raw_values")
    return ev, np.array([np.corrcoef(y, z)[0, 1] for y, z in zip(measured.T, predicted.T, strict=True)])


@pytest.mark.parametrize("lambdas", [None, (1.0, 30.0, 1e3)])
@pytest.mark.parametrize("per_neuroid", [True, False])
def test_without_mistakes_it_is_the_ordinary_pcr(grams, target, plan, lambdas, per_neuroid):
    mapping = PcrMapping(n_components=40, lambdas=lambdas, per_neuroid=per_neuroid)
    aligned = run(grams, target, plan, Mistakes(), mapping)
    for layer, gram in grams.items():
        ordinary = evaluate(gram, IDS, target, mapping, plan, 1)
        np.testing.assert_allclose(aligned[layer].pearson_r, ordinary.pearson_r[0], rtol=0, atol=1e-8)
        np.testing.assert_allclose(
            aligned[layer].explained_variance, ordinary.explained_variance[0], rtol=0, atol=1e-8
        )
        np.testing.assert_allclose(aligned[layer].lambdas, ordinary.lambdas[0])


def test_without_mistakes_it_is_sklearn_pca_and_ridge_on_the_same_folds(features, grams, target, plan):
    grid = (0.1, 1.0, 10.0, 100.0, 1000.0)
    ours = run(grams, target, plan, Mistakes(), PcrMapping(n_components=30, lambdas=grid))["one"]
    x, x_test = parts(features["one"], plan)
    y, y_test = parts(target.responses, plan)
    labels, _ = parts(target.strata, plan)
    pca = PCA(30, svd_solver="full").fit(x)
    z, z_test = pca.transform(x), pca.transform(x_test)
    errors = np.zeros((len(grid), Q))
    for train, held_out in StratifiedKFold(5, shuffle=True, random_state=FOLD_SEED).split(z, labels):
        for row, value in enumerate(grid):
            predicted = Ridge(value).fit(z[train], y[train]).predict(z[held_out])
            errors[row] += ((y[held_out] - predicted) ** 2).mean(axis=0)
    best = np.array(grid)[errors.argmin(axis=0)]
    np.testing.assert_allclose(ours.lambdas, best)
    ev, r = scores(y_test, Ridge(best).fit(z, y).predict(z_test))
    np.testing.assert_allclose(ours.explained_variance, ev, atol=1e-7)
    np.testing.assert_allclose(ours.pearson_r, r, atol=1e-7)


def test_the_reports_grids_have_one_lambda_for_all_neuroids(grams, target, plan):
    grid = (0.1, 10.0, 1000.0, 1e5)
    ours = run(grams, target, plan, Mistakes(grid=grid[::-1]))
    shared = PcrMapping(n_components=30, lambdas=grid, per_neuroid=False)
    for layer, gram in grams.items():
        ordinary = evaluate(gram, IDS, target, shared, plan, 1)
        np.testing.assert_allclose(ours[layer].lambdas, ordinary.lambdas[0])
        np.testing.assert_allclose(ours[layer].pearson_r, ordinary.pearson_r[0], atol=1e-8)


def test_the_last_layers_weights_meet_each_layers_own_components(features, grams, target, plan):
    mistakes = Mistakes(last_layer_weights=True, grid=(20.0,))
    ours = run(grams, target, plan, mistakes, PcrMapping(n_components=30))
    y, y_test = parts(target.responses, plan)

    def components(layer):
        """Scores by a singular value decomposition; signs by each component's largest training score."""
        x, x_test = parts(features[layer], plan)
        u, _, axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
        signs = np.sign(u[np.abs(u).argmax(axis=0), np.arange(u.shape[1])])
        return [(part - x.mean(axis=0)) @ (axes.T * signs)[:, :30] for part in (x, x_test)]

    ridge = Ridge(20.0).fit(components("three")[0], y)
    for layer in grams:
        ev, r = scores(y_test, ridge.predict(components(layer)[1]))
        np.testing.assert_allclose(ours[layer].explained_variance, ev, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(ours[layer].pearson_r, r, atol=1e-6)


def test_fewer_components_of_a_layer_meet_the_first_weights_only(features, target, plan):
    narrow = {"one": gram_matrix(features["one"][:, :7]), "three": gram_matrix(features["three"])}
    ours = run(narrow, target, plan, Mistakes(last_layer_weights=True, grid=(20.0,)))
    alone = run({"three": narrow["three"]}, target, plan, Mistakes(grid=(20.0,)))
    np.testing.assert_array_equal(ours["three"].pearson_r, alone["three"].pearson_r)
    assert np.isfinite(ours["one"].pearson_r).all()


def test_shuffled_rows_are_sklearn_on_shuffled_features(features, grams, target, plan):
    ours = run(grams, target, plan, Mistakes(shuffled=True, grid=(20.0,)), seed=3)["two"]
    x, x_test = parts(features["two"], plan)
    y, y_test = parts(target.responses, plan)
    for_train, for_test = next(shuffles(3, len(x), len(x_test)))
    # Features row i meets response for_train[i]: response j meets the features row that was sent to it.
    x, x_test = x[np.argsort(for_train)], x_test[np.argsort(for_test)]
    pca = PCA(30, svd_solver="full").fit(x)
    ev, r = scores(y_test, Ridge(20.0).fit(pca.transform(x), y).predict(pca.transform(x_test)))
    np.testing.assert_allclose(ours.explained_variance, ev, atol=1e-7)
    np.testing.assert_allclose(ours.pearson_r, r, atol=1e-7)


def test_the_published_rows_lie_within_the_null_and_the_aligned_ones_far_outside(table):
    for layer, published in table["as published"].items():
        aligned, shuffled = table["aligned"][layer], table["shuffled rows alone"][layer]
        assert published.inside_null
        assert shuffled.inside_null
        low, high = aligned.null99
        assert -0.2 < low < 0 < high < 0.2
        assert aligned.r_mean > 3 * high
        assert not aligned.inside_null
        # The mean response but for a millionth: what an EV of 1e-8 beside an r of .01 means.
        assert published.at_upper_edge.all()
        assert np.abs(published.explained_variance).max() < 1e-4
        assert len(published.null_r) == 200


def test_each_mistake_alone_does_what_theory_says(table):
    aligned = table["aligned"]
    # A grid that ends far above holds good lambdas too: by itself it costs next to nothing.
    for layer, result in table["lambda grid alone"].items():
        assert abs(result.r_mean - aligned[layer].r_mean) < 0.02
    # The last layer is predicted with its own weights; the others with weights that mean nothing to them.
    weights = table["last layer's weights alone"]
    np.testing.assert_array_equal(weights["three"].pearson_r, aligned["three"].pearson_r)
    for layer in ("one", "two"):
        assert abs(weights[layer].r_mean) < 0.5 * aligned[layer].r_mean
    # Shuffled rows say nothing, whatever the grid.
    assert all(result.ev_mean < 0.02 for result in table["shuffled rows alone"].values())


def test_without_a_lambda_that_reaches_the_mean_shuffled_rows_have_a_negative_ev(grams, target, plan):
    capped = run(grams, target, plan, Mistakes(shuffled=True, grid="capped"), n_null=200)
    wide = run(grams, target, plan, Mistakes(shuffled=True, grid="wide"))
    for layer, result in capped.items():
        assert result.ev_mean < -0.02 < wide[layer].ev_mean
        assert result.at_upper_edge.all()
        assert result.inside_null


def test_the_null_holds_as_many_shuffles_as_it_says(grams, target, plan):
    """Of independent shuffles about 1 % may lie outside; 5 of 60 would have a chance of .0004."""
    one = {"two": grams["two"]}
    results = [
        run(one, target, plan, Mistakes(shuffled=True), seed=seed, n_null=200 if seed == 0 else 0)["two"]
        for seed in range(60)
    ]
    low, high = results[0].null99
    assert sum(not low <= result.r_mean <= high for result in results) < 5
    assert abs(results[0].null_r.mean()) < 4 * results[0].null_r.std() / np.sqrt(200)


def test_shuffles_solved_side_by_side_are_those_solved_one_by_one(grams, target, plan):
    one = {"two": grams["two"]}
    single = PcrMapping(n_components=30, lambdas=(20.0,), per_neuroid=False)  # solves each shuffle by itself
    many = PcrMapping(n_components=30, lambdas=(20.0,))
    nulls = [run(one, target, plan, Mistakes(), m, n_null=7)["two"].null_r for m in (single, many)]
    np.testing.assert_allclose(*nulls, atol=1e-12)


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_neither_the_unit_of_features_nor_the_order_of_rows_matters(features, target, plan, scale, seed):
    order = np.random.default_rng(seed).permutation(N)
    for mistakes in variants().values():
        results = [
            run({"a": gram_matrix(x[rows] * unit)}, target, plan, mistakes, ids=IDS[rows])["a"]
            for x, rows, unit in ((features["one"], np.arange(N), 1), (features["one"], order, scale))
        ]
        np.testing.assert_allclose(results[0].pearson_r, results[1].pearson_r, atol=1e-5)


def test_responses_to_test_stimuli_change_no_prediction(grams, target, plan):
    """Of two recordings that differ in the test part only, lambdas are the same."""
    other = target.responses.copy()
    other[pd.Index(IDS).get_indexer(plan.splits[0].test)] = np.random.default_rng(0).normal(size=(18, Q))
    for mistakes in variants().values():
        one, two = (run(grams, t, plan, mistakes)["two"] for t in (target, target_of(other)))
        np.testing.assert_array_equal(one.lambdas, two.lambdas)


def test_variants_make_every_mistake_alone_and_together():
    table = variants("capped")
    assert table["as published"] == Mistakes(True, True, "capped")
    assert table["aligned"] == Mistakes()
    made = [(m.shuffled, m.last_layer_weights, m.grid != "automatic") for m in table.values()]
    assert [sum(each) for each in made] == [3, 1, 1, 1, 0]
    assert set(DECADES) == {"wide", "capped"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": {}}, "at least one layer"),
        ({"plan": SplitPlan([Split(IDS[:100], IDS[100:])] * 2, None, [])}, "one split, not 2: use .*course"),
        ({"n_null": -1}, "0 or more, not -1"),
        ({"stimulus_ids": np.append(IDS[:-1], "other")}, "stimuli do not match"),
        ({"layers": {"dead": gram_matrix(np.ones((N, 3)))}}, "dead: no variance"),
    ],
)
def test_what_cannot_be_run_is_refused(grams, target, plan, change, message):
    given_ = {"layers": grams, "stimulus_ids": IDS, "target": target, "plan": plan, "seed": 1}
    with pytest.raises(InputError, match=message):
        as_published(**(given_ | change))


def test_unknown_grids_are_refused():
    with pytest.raises(InputError, match=r"unknown lambda grid: 'wid'; did you mean wide"):
        Mistakes(grid="wid")


def test_no_shuffles_no_null(grams, target, plan):
    result = run({"two": grams["two"]}, target, plan, Mistakes())["two"]
    assert result.null99 is None
    assert result.inside_null is None
