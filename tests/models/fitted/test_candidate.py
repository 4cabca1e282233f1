"""Network candidates: units, order of rows, copies, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

from itprobe.errors import InputError
from itprobe.models.fitted import load_fitted
from itprobe.models.fitted.inputs import PreparedRows


def test_every_kind_predicts_in_units_of_the_responses_whatever_the_order(
    every_kind, small_options, shown, own_home, made, watched
):
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    responses = shown.responses[:45].copy()
    responses[:, 2] = 7.1  # says nothing, and is predicted as what it is
    one = made(every_kind).fresh({}).fit(train, responses, shown.labels[:45])
    predicted = one.predict(test)
    assert predicted.shape == (15, 4)
    np.testing.assert_allclose(predicted[:, 2], 7.1, rtol=1e-9)
    assert np.ptp(predicted[:, [0, 1, 3]], axis=0).min() > 0
    mean, deviation = responses.mean(0), responses.std(0)
    assert (np.abs(predicted - mean) <= 12 * deviation + 1e-6).all()

    scaled = made(every_kind).fresh({}).fit(train, responses * 3 + 5, shown.labels[:45])
    np.testing.assert_allclose(scaled.predict(test), predicted * 3 + 5, atol=3e-2)

    order = np.random.default_rng(0).permutation(15)
    shuffled = one.predict(shown.part(45 + order))
    np.testing.assert_allclose(shuffled, predicted[order], atol=1e-4)
    alone = one.predict(shown.part([47]))
    np.testing.assert_allclose(alone[0], predicted[2], atol=1e-4)
    assert one.report.n_parameters > 0
    assert len(one.report.trained.history) == len(
        watched(made(every_kind, epochs="1"), train, responses, shown.labels[:45])
    ) * int(small_options[every_kind]["epochs"])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(power=st.integers(-12, 12), shift=st.sampled_from([0.0, 5.0, -300.0]))
def test_predictions_follow_the_unit_of_the_responses(power, shift, shown, own_home, convnet):
    scale = 2.0**power
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    plain = convnet(epochs="2").fit(train, shown.responses[:45]).predict(test)
    other = convnet(epochs="2").fit(train, shown.responses[:45] * scale + shift * scale).predict(test)
    np.testing.assert_allclose(other / scale - shift, plain, atol=1e-2)
    if shift == 0:  # then standardised responses have the same bits
        np.testing.assert_array_equal(other, plain * scale)


def test_a_planted_map_is_learned_and_its_permuted_control_is_not(tmp_path, shown, own_home, convnet):
    rng = np.random.default_rng(1)
    colours = rng.integers(0, 256, (260, 2, 2, 3), dtype=np.uint8)
    stimuli = shown.make(tmp_path, colours)
    quadrants = colours.reshape(260, 4, 3).mean(2)[:, :2] / 255
    responses = np.column_stack([quadrants, quadrants[:, 0] - quadrants[:, 1]])
    responses += 0.1 * responses.std(0) * rng.normal(size=responses.shape)

    def score(targets):
        fitted = convnet(epochs="15", widths="8,8", hidden="16", lr="0.01", shift="0", batch_size="20")
        fitted.fit(_rows(stimuli, range(200)), targets[:200])
        predicted = fitted.predict(_rows(stimuli, range(200, 260)))
        return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(predicted.T, responses[200:].T, strict=True)])

    learned, control = score(responses), score(responses[rng.permutation(260)])
    assert learned > 0.8
    assert abs(control) < 0.35


def _rows(stimuli, rows):
    part = stimuli.iloc[list(rows)].reset_index(drop=True)
    part.stimulus_paths, part.identifier = stimuli.stimulus_paths, stimuli.identifier
    return part


def test_the_autoencoders_probe_is_scikit_learns_ridge_on_its_bottleneck(shown, own_home, made):
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    fitted = made("autoencoder").fit(train, shown.responses[:45])
    network = fitted.network

    def bottleneck(stimuli):
        rows = fitted.design.rows.of(stimuli).float() / 255
        with torch.no_grad():
            return network(rows)["bottleneck"].double().numpy()

    before, after = bottleneck(train), bottleneck(test)
    mean, deviation = before.mean(0), before.std(0)
    for j in range(4):
        ridge = RidgeCV(np.logspace(-4, 6, 31) * 45).fit((before - mean) / deviation, shown.responses[:45, j])
        expected = ridge.predict((after - mean) / deviation)
        np.testing.assert_allclose(fitted.predict(test)[:, j], expected, atol=1e-4)


def test_a_fit_leaves_torchs_generator_alone(shown, own_home, convnet):
    for _ in range(2):  # trained, then from the cache
        torch.manual_seed(4)
        before = torch.get_rng_state()
        convnet().fit(shown.part(range(30)), shown.responses[:30])
        assert torch.equal(torch.get_rng_state(), before)


# copies, and what they leave alone


def test_fresh_copies_know_nothing_of_each_other(shown, own_home, convnet):
    parent = convnet()
    one = parent.fresh({"split": "1"}).fit(shown.part(range(30)), shown.responses[:30])
    before = one.predict(shown.part(range(30, 60)))
    two = one.fresh({"split": "2"})
    assert two.report is None
    for unfitted in (parent, two):
        with pytest.raises(InputError, match="convnet is not fitted yet; call fit first"):
            unfitted.predict(shown.part(range(30, 60)))
    two.fit(shown.part(range(30, 60)), -3 * shown.responses[30:])
    np.testing.assert_array_equal(one.predict(shown.part(range(30, 60))), before)
    assert parent.report is None
    assert one.context == {"split": "1"}
    assert two.report.weights_sha256 != one.report.weights_sha256


def test_noise_weighting_counts_reliable_neuroids_more(shown, own_home, convnet):
    stimuli, responses = shown.part(range(45)), shown.responses[:45]
    with pytest.raises(InputError, match="noise_weighting needs a recording with repetitions; leave it out"):
        convnet(noise_weighting="true").fresh({}).fit(stimuli, responses)
    plain = convnet().fresh({}, np.ones(4)).fit(stimuli, responses)
    even = convnet(noise_weighting="true").fresh({}, np.full(4, 0.3)).fit(stimuli, responses)
    np.testing.assert_array_equal(plain.predict(stimuli), even.predict(stimuli))
    rho = np.array([1.0, 0, 0, 0])
    uneven = (
        convnet(noise_weighting="true", epochs="30", validation="0").fresh({}, rho).fit(stimuli, responses)
    )
    even = (
        convnet(noise_weighting="true", epochs="30", validation="0")
        .fresh({}, np.ones(4))
        .fit(stimuli, responses)
    )

    def errors(fitted):
        return ((fitted.predict(stimuli) - responses) ** 2).mean(0) / responses.var(0)

    assert errors(uneven)[0] < errors(even)[0]  # all of the loss is its own
    assert errors(uneven)[1:].mean() > errors(even)[1:].mean()
    assert errors(uneven)[1:].mean() > 0.9


# what is refused


def with_value(responses, value):
    responses = responses.copy()
    responses[3, 1] = value
    return responses


@pytest.mark.parametrize(
    ("kind", "change", "text"),
    [
        (
            "dual_task",
            {"labels": None},
            r"dual_task learns objects .* names no objects; .* column object_name",
        ),
        ("dual_task", {"labels": np.full(40, "cup")}, r"names 1 object; it needs"),
        ("convnet", {"rows": 10}, r"convnet: 10 training stimuli are too few; at least 16"),
        ("convnet", {"rows": 18}, r"convnet: 18 training stimuli are too few; .* validation part of 4"),
        ("convnet", {"rows": 0}, r"there are no stimuli"),
        (
            "convnet",
            {"responses": lambda r: with_value(r, np.nan)},
            r"NaN or infinite; leave those neuroids out",
        ),
        (
            "convnet",
            {"responses": lambda r: with_value(r, np.inf)},
            r"NaN or infinite; leave those neuroids out",
        ),
        (
            "convnet",
            {"responses": lambda r: r[:-1]},
            r"40 training stimuli, but responses of shape \(39, 4\)",
        ),
        ("convnet", {"responses": lambda r: r[:, 0]}, r"40 training stimuli, but responses of shape \(40,\)"),
        ("convnet", {"labels": np.full(39, "cup")}, r"40 training stimuli, but 39 labels"),
    ],
)
def test_data_that_cannot_be_fitted(kind, change, text, shown, own_home, made):
    rows = change.get("rows", 40)
    responses = change.get("responses", lambda r: r)(shown.responses[:rows])
    labels = change.get("labels", shown.labels[:rows])
    options = {"validation": "0.2"} if rows == 18 else {}
    with pytest.raises(InputError, match=text) as error:
        made(kind, **options).fit(shown.part(range(rows)), responses, labels)
    assert "\n" not in str(error.value)


def test_an_image_that_is_missing_is_named(shown, tmp_path, own_home, convnet):
    stimuli = shown.make(tmp_path, shown.colours[:30])
    fitted = convnet().fit(stimuli, shown.responses[:30])
    stimuli.stimulus_paths["im007"].unlink()
    with pytest.raises(InputError, match="im007"):
        convnet().fit(stimuli, shown.responses[:30])
    with pytest.raises(InputError, match="im007"):
        fitted.predict(stimuli)


def test_a_layer_that_is_no_map_is_refused_where_one_is_needed(shown, backbone, own_home):
    candidate = load_fitted(f"combined+{backbone}:last", "cpu")
    with pytest.raises(InputError, match=r"combined needs inputs of channels x height x width; these are 7"):
        candidate.fit(shown.part(range(40)), shown.responses[:40])


def test_inputs_of_another_candidate_object_are_not_shared(shown, own_home, convnet):
    one, two = convnet(), convnet()
    assert isinstance(one.design.rows, PreparedRows)
    assert one.design.rows is not two.design.rows
    assert one.fresh({}).design.rows is one.design.rows
    assert replace(one.design, seed=3).parameters["seed"] == 3
