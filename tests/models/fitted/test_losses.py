import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import log_loss, mean_squared_error

from itprobe.models.fitted.losses import (
    FixedBalance,
    UncertaintyBalance,
    noise_weights,
    relative_cross_entropy,
    weighted_mse,
)

reliabilities = arrays(np.float64, st.integers(1, 12), elements=st.floats(-1, 1) | st.just(math.nan))


def test_the_weighted_squared_error_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    predictions, responses = rng.standard_normal((2, 9, 4))
    weights = rng.uniform(0, 2, 4)
    weights /= weights.mean()
    loss = weighted_mse(*map(torch.tensor, (predictions, responses)), torch.tensor(weights))
    assert loss.item() == pytest.approx(
        mean_squared_error(responses, predictions, multioutput=weights / 4), rel=1e-5
    )
    plain = weighted_mse(torch.tensor(predictions), torch.tensor(responses))
    assert plain.item() == pytest.approx(mean_squared_error(responses, predictions), rel=1e-5)


def test_losses_of_half_precision_outputs_are_in_float32():
    predictions = torch.full((2, 3), 400.0, dtype=torch.float16)  # its square is beyond half precision
    loss = weighted_mse(predictions, torch.zeros(2, 3))
    assert loss.dtype == torch.float32
    assert loss.item() == 160_000


def test_a_neuroid_without_weight_is_not_learned_from():
    predictions = torch.randn(5, 3, requires_grad=True)
    weighted_mse(predictions, torch.zeros(5, 3), torch.tensor([0.0, 1.5, 1.5])).backward()
    assert (predictions.grad[:, 0] == 0).all()
    assert (predictions.grad[:, 1:] != 0).all()


@pytest.mark.parametrize("k", [2, 8, 64])
def test_guessing_evenly_among_objects_costs_one(k):
    assert relative_cross_entropy(torch.zeros(6, k), torch.arange(6) % k).item() == pytest.approx(1, rel=1e-6)


def test_the_relative_cross_entropy_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    logits, objects = rng.standard_normal((10, 5)), rng.integers(0, 5, 10)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = log_loss(objects, probabilities, labels=range(5)) / math.log(5)
    assert relative_cross_entropy(torch.tensor(logits), torch.tensor(objects)).item() == pytest.approx(
        expected, rel=1e-5
    )


@given(reliabilities)
def test_noise_weights_are_never_negative_and_have_mean_one(reliability):
    weights = noise_weights(reliability).double().numpy()
    assert weights.shape == reliability.shape
    assert (weights >= 0).all()
    assert weights.mean() == pytest.approx(1, abs=1e-5)


def test_noise_weights_are_proportional_to_reliability():
    weights = noise_weights(np.array([0.9, 0.3, 0.0, -0.5]))
    np.testing.assert_allclose(weights, [3, 1, 0, 0], rtol=1e-6)


def test_an_unknown_reliability_counts_as_the_mean_of_the_known():
    weights = noise_weights(np.array([0.9, np.nan, 0.3]))
    np.testing.assert_allclose(weights, [1.5, 1, 0.5], rtol=1e-6)


@pytest.mark.parametrize("reliability", [[np.nan, np.nan, np.nan], [0, -0.2, np.nan]])
def test_noise_weights_are_equal_where_nothing_is_known(reliability):
    np.testing.assert_array_equal(noise_weights(np.array(reliability)), [1, 1, 1])


def test_a_fixed_balance_is_the_weighted_sum():
    assert FixedBalance(0.25)(torch.tensor(2.0), torch.tensor(4.0)).item() == 3.0
    assert not list(FixedBalance(0.25).parameters())


@pytest.mark.parametrize(("regression", "classification"), [(1.0, 1.0), (0.2, 0.9), (3.0, 0.05)])
def test_uncertainty_weights_find_their_closed_form_optimum(regression, classification):
    balance = UncertaintyBalance()
    losses = torch.tensor(regression), torch.tensor(classification)
    optimiser = torch.optim.LBFGS(balance.parameters(), lr=0.5, max_iter=200, tolerance_grad=1e-9)

    def closure():
        optimiser.zero_grad()
        value = balance(*losses)
        value.backward()
        return value

    optimiser.step(closure)
    # d/ds² of L/(2 s²) + log s is zero at s² = L, of L/s² + log s at s² = 2 L.
    np.testing.assert_allclose(balance.variances().detach(), [regression, 2 * classification], rtol=1e-3)
    smallest = 0.5 + 0.5 * math.log(regression) + 0.5 + 0.5 * math.log(2 * classification)
    assert balance(*losses).item() == pytest.approx(smallest, abs=1e-5)


def test_a_memorised_task_stops_gaining_weight():
    balance = UncertaintyBalance(floor=0.01)
    with torch.no_grad():
        balance.log_variances.fill_(-50)
    value = balance(torch.tensor(0.0), torch.tensor(0.0))
    assert value.item() == pytest.approx(math.log(0.01), rel=1e-5)
