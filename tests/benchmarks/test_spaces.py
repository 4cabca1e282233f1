"""Feature spaces of a layer, brought into one order of stimuli."""

import numpy as np
import torch

from itprobe.benchmarks import spaces
from itprobe.metrics import gram_matrix
from itprobe.models import load_candidate


def test_spaces_that_come_in_another_order_are_brought_into_the_first(monkeypatch):
    """As from the store, where the same images may have been computed in another order."""
    rng = np.random.default_rng(0)
    x, z, ids = rng.normal(size=(12, 5)), rng.normal(size=(12, 7)), np.array([f"s{i}" for i in range(12)])
    order = rng.permutation(12)
    monkeypatch.setattr(
        spaces,
        "layer_grams",
        lambda *_: iter([("0", gram_matrix(x), ids), ("1", gram_matrix(z[order]), ids[order])]),
    )
    net = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.AvgPool2d(2))
    ((layer, (first, second), rows),) = spaces.space_grams(
        load_candidate(net), None, "", ["0,1"], "banded", None
    )
    assert layer == "0,1"
    np.testing.assert_array_equal(rows, ids)
    np.testing.assert_allclose(first.values, gram_matrix(x).values)
    np.testing.assert_allclose(second.values, gram_matrix(z).values, atol=1e-12)


def test_only_banded_takes_a_layer_apart():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=8), torch.nn.AvgPool2d(4), torch.nn.Flatten())
    candidate = load_candidate(net)
    assert spaces.spaces_of(candidate, "0", "ridge") == ["0"]
    assert spaces.spaces_of(candidate, "0", "banded") == ["0", "0~pool4", "0~pool1"]
    assert spaces.spaces_of(candidate, "0~pool4", "banded") == ["0~pool4"]
    assert spaces.spaces_of(candidate, "2", "banded") == ["2"]
    assert spaces.spaces_of(candidate, "0,1,0", "banded") == ["0", "1"]
    assert spaces.spaces_of(load_candidate("pixels"), "pixels", "banded") == ["pixels"]
