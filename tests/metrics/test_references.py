"""RSA against rsatoolbox 0.2.0, the field's own package.

rsatoolbox divides squared Euclidean distances by the number of features and calls the result
"euclidean"; its correlation distance is ours. Its comparisons take the upper triangles as they are.

Other references stand where the code they judge is tested: scipy's pdist in test_rdm.py, Brain-Score's CKA
in test_similarity.py, Brain-Score's PLS metric in test_pls.py.
"""

import numpy as np
import pytest
from rsatoolbox.data import Dataset
from rsatoolbox.rdm import calc_rdm, compare

from itprobe.metrics import gram_matrix
from itprobe.metrics.rdm import rdm
from itprobe.metrics.similarity import compare_rdms

RSATOOLBOX_NAMES = {
    "spearman": "spearman",
    "pearson": "corr",
    "kendall": "tau-a",
    "cosine": "cosine",
    "whitened_correlation": "corr_cov",
    "whitened_cosine": "cosine_cov",
}


def two_representations(n=25, p=300, q=40):
    """Features and responses with offsets, a constant column and latents in common."""
    rng = np.random.default_rng(3)
    latents = rng.normal(size=(n, 8))
    x = latents @ rng.normal(size=(8, p)) + rng.normal(size=(n, p)) + 4
    y = latents[:, :4] @ rng.normal(size=(4, q)) + rng.normal(size=(n, q)) + 2
    x[:, 1] = 3.0
    return x, y


@pytest.mark.parametrize("p", [12, 300])
@pytest.mark.parametrize(
    ("distance", "theirs", "features_per_unit"),
    [("correlation", "correlation", False), ("sqeuclidean", "euclidean", True)],
)
def test_rdms_equal_rsatoolboxs(p, distance, theirs, features_per_unit):
    for x in two_representations(p=p):
        expected = calc_rdm(Dataset(x), method=theirs).get_matrices()[0]
        if features_per_unit:
            expected = expected * x.shape[1]
        np.testing.assert_allclose(rdm(gram_matrix(x), distance), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", RSATOOLBOX_NAMES)
@pytest.mark.parametrize(
    ("distance", "theirs"), [("correlation", "correlation"), ("sqeuclidean", "euclidean")]
)
def test_comparisons_equal_rsatoolboxs(method, distance, theirs):
    x, y = two_representations()
    reference = [calc_rdm(Dataset(values), method=theirs) for values in (x, y)]
    expected = float(compare(*reference, method=RSATOOLBOX_NAMES[method])[0, 0])
    ours = compare_rdms(*(rdm(gram_matrix(values), distance) for values in (x, y)), method)
    assert 0.1 < expected < 0.99
    assert ours == pytest.approx(expected, abs=1e-8)
