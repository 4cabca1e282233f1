"""r²_ER and FEVE of held-out predictions, against planted truth and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from itprobe.benchmarks import prepare_target
from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.noise_corrected import NoiseCorrected, noise_corrected, noise_corrected_section
from itprobe.benchmarks.summary import summarise
from itprobe.data import build_assembly, load_recording
from itprobe.metrics import SPLITS, HeldOut, RidgeMapping, gram_matrix, pearson_r
from itprobe.metrics.inference import Resampled
from itprobe.provenance import per_neuroid


def held_out_of(target, plan, predictions):
    """Predictions (n, q), rows as the target's, in the test parts of a plan."""
    row_of = {key: row for row, key in enumerate(target.stimuli["stimulus_id"])}
    rows = [[row_of[key] for key in split.test] for split in plan.splits]
    return HeldOut(
        [split.test for split in plan.splits],
        [target.responses[part] for part in rows],
        [predictions[part] for part in rows],
        target.neuroids["neuroid_id"].to_numpy(),
        target.neuroids["animal"].to_numpy(),
    )


def in_order(target, plant, values):
    """Rows of values (n, q), in the order of the planted ids, in the target's order."""
    return values[np.searchsorted(plant.ids, target.stimuli["stimulus_id"].to_numpy().astype(str))]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_planted_share_is_found_where_plain_scores_fall_short(plant, tmp_path, share):
    estimates, plain = [], []
    for seed in range(12):
        signal = plant.trials(seed, noise=0)[:, 0]
        trials = plant.trials(seed, noise=2.0)
        target = prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")
        other = np.random.default_rng([seed, 5]).normal(size=signal.shape)
        # uncorrelated with the rest of the signal, and of its size
        centred = signal - signal.mean(axis=0)
        other -= other.mean(axis=0) + centred * (other * centred).sum(axis=0) / (centred**2).sum(axis=0)
        other *= centred.std(axis=0) / other.std(axis=0)
        missed = (1 - share) * centred + np.sqrt(share * (1 - share)) * other  # Var(missed) = 1 - share
        plan = SPLITS["kfold"](target.stimuli, 1)
        held_out = held_out_of(target, plan, in_order(target, plant, signal - missed))
        corrected = noise_corrected(held_out, target.noise)
        estimates.append([np.nanmedian(corrected.r2_er), np.nanmedian(corrected.feve)])
        plain.append(
            np.median(
                [pearson_r(y, z) ** 2 for y, z in zip(held_out.responses, held_out.predictions, strict=True)]
            )
        )
    np.testing.assert_allclose(np.mean(estimates, axis=0), share, atol=0.04)
    assert np.mean(plain) < share - 0.1


def test_scores_of_a_split_by_hand(plant, planted):
    target = prepare_target(planted, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    evaluation = evaluate(gram_matrix(plant.features()), plant.ids, target, RidgeMapping(), plan, 1)
    held_out, trials = evaluation.held_out, plant.trials().astype(np.float32).astype(np.float64)
    for k, j in ((0, 0), (7, 3)):
        rows = np.searchsorted(plant.ids, held_out.stimulus_ids[k].astype(str))
        y, z = trials[rows, :, j].mean(axis=1), held_out.predictions[k][:, j]
        m = len(rows)
        noise = trials[rows, :, j].var(axis=1, ddof=1).mean() / 6
        y0, z0 = y - y.mean(), z - z.mean()
        r2 = ((y0 @ z0) ** 2 - noise * (z0 @ z0)) / ((z0 @ z0) * (y0 @ y0 - (m - 1) * noise))
        feve = 1 - (((y - z) ** 2).mean() - noise) / (y.var() - noise * (m - 1) / m)
        assert evaluation.corrected.r2_er[k, j] == pytest.approx(r2, rel=1e-6)
        assert evaluation.corrected.feve[k, j] == pytest.approx(feve, rel=1e-6)
    rows = per_neuroid(evaluation, ["features"])
    assert rows[3].r2_er == pytest.approx(evaluation.corrected.r2_er[:, 3].mean())
    assert rows[3].feve == pytest.approx(evaluation.corrected.feve[:, 3].mean())
    section = evaluation.summary["noise_corrected"]
    assert section["r2_er"]["median"] == pytest.approx(np.median(evaluation.corrected.r2_er, axis=1).mean())
    for name in ("r2_er", "feve"):
        low, high = section[name]["ci95"]
        assert low < section[name]["median"] < high


def test_noise_is_of_the_regions_kept_neuroids_and_their_own_trials(plant, tmp_path):
    trials = plant.trials()
    trials[np.random.default_rng(3).random(trials.shape) < 0.3] = np.nan
    trials[:, 0, :] = plant.trials()[:, 0, :]  # every neuroid has a response to every stimulus
    trials[9, :, 4] = np.nan  # but one, which is kept out
    assembly = plant.assembly(trials, tmp_path / "stimuli")
    assembly = build_assembly(
        assembly.values,
        assembly["stimulus_id"].values,
        assembly["repetition"].values,
        assembly.attrs["stimulus_set"],
        {"neuroid_id": assembly["neuroid_id"].values, "region": ["V4", *["IT"] * 11]},
        identifier="planted",
        visual_degrees=8,
        citation="planted truth",
    )
    shuffled = assembly.isel(
        presentation=np.random.default_rng(0).permutation(assembly.sizes["presentation"])
    )
    shuffled.attrs = assembly.attrs
    kept = [1, 2, 3, *range(5, 12)]
    for each in (assembly, shuffled):
        target = prepare_target(each, "IT")
        assert target.neuroids["neuroid_id"].tolist() == [f"n{j:02d}" for j in kept]
        ids = plant.ids[[17, 3, 80]]
        single = np.float32(trials)
        own = [[single[i, np.isfinite(single[i, :, j]), j] for j in kept] for i in (17, 3, 80)]
        repeated = [[len(values) > 1 for values in row] for row in own]
        expected = np.array([[np.var(v, ddof=1) / len(v) if len(v) > 1 else 0 for v in row] for row in own])
        found = target.noise.at(ids)
        np.testing.assert_allclose(found[repeated], expected[repeated], rtol=1e-4)
        means = target.noise.means[np.searchsorted(target.noise.stimulus_ids.astype(str), ids)]
        rows = [target.stimuli["stimulus_id"].tolist().index(key) for key in ids]
        np.testing.assert_allclose(means, target.responses[rows], rtol=1e-6)


def test_each_presentation_to_one_animal_only_is_no_repetition(plant, tmp_path):
    """Two presentations of every stimulus, of which either animal saw one."""
    trials = plant.trials()[:, :2]
    trials[:, 0, ::2] = np.nan
    trials[:, 1, 1::2] = np.nan
    target = prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")
    assert target.noise is target.reliability is None
    assert any("0 stimuli were shown more than once" in warning for warning in target.warnings)


def test_without_repetitions_nothing_is_corrected(plant, tmp_path):
    averaged = plant.assembly(plant.trials().mean(axis=1, keepdims=True), tmp_path / "stimuli", averaged=True)
    target = prepare_target(averaged, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    evaluation = evaluate(gram_matrix(plant.features()), plant.ids, target, RidgeMapping(), plan, 1)
    assert target.noise is evaluation.corrected is evaluation.summary["noise_corrected"] is None
    assert {(row.r2_er, row.feve) for row in per_neuroid(evaluation, ["features"])} == {(None, None)}


def test_aggregates_of_a_small_case_by_hand():
    r2_er = np.array([[0.2, 0.4, np.nan, 9.0], [0.6, 0.8, -3.0, np.nan]])
    corrected = NoiseCorrected(r2_er, np.full_like(r2_er, np.nan))
    rho = np.array([0.9, 0.3, 0.1, np.nan])
    columns = np.array([[0, 1, 2, 3], [0, 0, 2, 2], [2, 2, 3, 3]])
    draws = Resampled(
        *[np.broadcast_to(r2_er, (3, 2, 4))] * 2,
        columns,
        np.broadcast_to(r2_er, (3, 2, 4)),
        np.full((3, 2, 4), np.nan),
    )
    section = noise_corrected_section(corrected, draws, rho, 0.3)
    assert section["n_reliable"] == 2
    assert section["least_reliability"] == 0.3
    ours = section["r2_er"]
    assert ours["median"] == pytest.approx((0.4 + 0.6) / 2)
    assert ours["mean_reliable"] == pytest.approx((0.3 + 0.7) / 2)
    assert ours["n_undefined"] == 2
    # means over the reliable: .5 of the first draw, .4 of the second, none of the third
    np.testing.assert_allclose(ours["ci95_mean_reliable"], np.quantile([0.5, 0.4], [0.025, 0.975]))
    medians = [(0.4 + 0.6) / 2, (0.2 + (0.6 - 3.0) / 2) / 2, (9.0 - 3.0) / 2]
    np.testing.assert_allclose(ours["ci95"], np.quantile(medians, [0.025, 0.975]))
    assert section["feve"] == {
        "median": None,
        "mean_reliable": None,
        "ci95": None,
        "ci95_mean_reliable": None,
        "n_undefined": 4,
    }


def test_neuroids_of_noise_alone_are_counted_and_do_not_move_the_mean_of_the_reliable(plant, tmp_path):
    trials = plant.trials(noise=0.5)
    trials[:, :, 8:] = 5 + np.random.default_rng(0).normal(size=(120, 6, 4))
    target = prepare_target(plant.assembly(trials, tmp_path / "stimuli"), "IT")
    assert (target.reliability.rho[8:] < 0.3).all()
    plan = SPLITS["kfold"](target.stimuli, 1)
    signal = plant.trials(noise=0)[:, 0]
    held_out = held_out_of(target, plan, in_order(target, plant, signal))
    r = np.array([pearson_r(y, z) for y, z in zip(held_out.responses, held_out.predictions, strict=True)])
    summary = summarise(held_out, r, r, target, 1, noise_corrected(held_out, target.noise))
    for name in ("r2_er", "feve"):
        section = summary["noise_corrected"][name]
        assert 1 <= section["n_undefined"] <= 4
        assert section["mean_reliable"] == pytest.approx(1, abs=0.05)
        low, high = section["ci95_mean_reliable"]
        assert low < 1 < high
    assert summary["noise_corrected"]["n_reliable"] == 8


def test_the_units_of_responses_do_not_matter(plant, tmp_path):
    corrected = []
    for unit in (1.0, 1e-6):
        target = prepare_target(plant.assembly(plant.trials() * unit, tmp_path / "stimuli"), "IT")
        plan = SPLITS["kfold"](target.stimuli, 1)
        predictions = in_order(target, plant, plant.trials(noise=0)[:, 0]) * unit
        corrected.append(noise_corrected(held_out_of(target, plan, predictions), target.noise))
    np.testing.assert_allclose(corrected[0].r2_er, corrected[1].r2_er, rtol=1e-3)
    np.testing.assert_allclose(corrected[0].feve, corrected[1].feve, rtol=1e-3)


def test_correction_needs_the_noise_of_exactly_these_stimuli(plant, planted):
    target = prepare_target(planted, "IT")
    plan = SPLITS["brainscore"](target.stimuli, 1)
    held_out = held_out_of(target, plan, target.responses)
    renamed = replace(
        held_out, stimulus_ids=[np.char.add("x", ids.astype(str)) for ids in held_out.stimulus_ids]
    )
    with pytest.raises(ValueError, match="no trials of 12 stimuli"):
        noise_corrected(renamed, target.noise)


def test_simulated_recording_gives_the_scores_that_its_noiseless_signal_has():
    """The whole way, Poisson noise with a shared gain included: what trials leave out is found again."""
    assembly = load_recording("simulated_small")
    target = prepare_target(assembly, "IT")
    objects = target.stimuli["object_name"].to_numpy()
    features = (objects[:, None] == np.unique(objects)).astype(float)
    ids = target.stimuli["stimulus_id"].to_numpy()
    plan = SPLITS["kfold"](target.stimuli, 1)
    evaluation = evaluate(gram_matrix(features), ids, target, RidgeMapping(), plan, 1)
    truth = assembly.attrs["truth"]["signal"]
    rows = {str(key): row for row, key in enumerate(truth["stimulus_id"].values)}
    columns = [
        list(truth["neuroid_id"].values.astype(str)).index(key) for key in target.neuroids["neuroid_id"]
    ]
    expected = {"r2_er": [], "feve": []}
    for split_ids, z in zip(evaluation.held_out.stimulus_ids, evaluation.held_out.predictions, strict=True):
        y = truth.values[np.ix_([rows[key] for key in split_ids], columns)]
        expected["r2_er"].append(pearson_r(y, z) ** 2)
        expected["feve"].append(1 - ((y - z) ** 2).mean(axis=0) / y.var(axis=0))
    reliable = target.reliability.rho >= 0.3
    for name, values in expected.items():
        section = evaluation.summary["noise_corrected"][name]
        true_mean = np.mean(np.array(values)[:, reliable])
        assert section["mean_reliable"] == pytest.approx(true_mean, abs=0.03)
        low, high = section["ci95_mean_reliable"]
        assert low < true_mean < high
        assert section["median"] == pytest.approx(np.median(values, axis=1).mean(), abs=0.04)
    plain = evaluation.summary["explained_variance"]["mean"]
    assert plain < np.mean(expected["feve"]) - 0.02
