"""Network candidates: units, order of rows, the cache of fits, interruptions, and what they refuse."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV

from itprobe.errors import InputError
from itprobe.models.fitted import load_fitted
from itprobe.models.fitted.finished import CONFIG, WEIGHTS
from itprobe.models.fitted.inputs import PreparedRows
from itprobe.models.fitted.networks import ConvNet


class Stop(Exception):
    """What a test stops a training with."""


SMALL = {
    "convnet": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3", "lr": "0.01"},
    "dual_task": {"side": "16", "widths": "4", "head_widths": "4", "hidden": "8", "epochs": "3"},
    "autoencoder": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3"},
    "autoencoder pulled": {"side": "16", "widths": "4,4", "hidden": "8", "epochs": "3", "pull": "1"},
    "combined": {"widths": "4", "hidden": "8", "epochs": "3"},
    "readout": {"epochs": "3"},
    "finetuned": {"epochs": "2"},
    "finetuned with a readout": {"epochs": "2", "head": "readout"},
    "finetuned from pools": {"epochs": "2", "head": "pool"},
}


def made(kind, backbone, seed=0, **options):
    name = kind.partition(" ")[0]
    after = {"combined": f"+{backbone}:second", "readout": f"+{backbone}:first", "finetuned": f"+{backbone}"}
    return load_fitted(name + after.get(name, ""), "cpu", seed, {**SMALL[kind], **options})


def convnet(seed=0, checkpoints=None, **options):
    return load_fitted("convnet", "cpu", seed, {**SMALL["convnet"], **options}, checkpoints)


def watched(candidate, *data):
    """Fit and give the epochs that were trained or gone through again."""
    seen = []
    candidate.watch = lambda number, epoch: seen.append(number)
    candidate.fit(*data)
    return seen


@pytest.mark.parametrize("kind", list(SMALL))
def test_every_kind_predicts_in_units_of_the_responses_whatever_the_order(kind, shown, backbone, own_home):
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    responses = shown.responses[:45].copy()
    responses[:, 2] = 7.1  # says nothing, and is predicted as what it is
    one = made(kind, backbone).fresh({}).fit(train, responses, shown.labels[:45])
    predicted = one.predict(test)
    assert predicted.shape == (15, 4)
    np.testing.assert_allclose(predicted[:, 2], 7.1, rtol=1e-9)
    assert np.ptp(predicted[:, [0, 1, 3]], axis=0).min() > 0
    mean, deviation = responses.mean(0), responses.std(0)
    assert (np.abs(predicted - mean) <= 12 * deviation + 1e-6).all()

    scaled = made(kind, backbone).fresh({}).fit(train, responses * 3 + 5, shown.labels[:45])
    np.testing.assert_allclose(scaled.predict(test), predicted * 3 + 5, atol=3e-2)

    order = np.random.default_rng(0).permutation(15)
    shuffled = one.predict(shown.part(45 + order))
    np.testing.assert_allclose(shuffled, predicted[order], atol=1e-4)
    alone = one.predict(shown.part([47]))
    np.testing.assert_allclose(alone[0], predicted[2], atol=1e-4)
    assert one.report.n_parameters > 0
    assert len(one.report.trained.history) == len(
        watched(made(kind, backbone, epochs="1"), train, responses, shown.labels[:45])
    ) * int(SMALL[kind]["epochs"])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(power=st.integers(-12, 12), shift=st.sampled_from([0.0, 5.0, -300.0]))
def test_predictions_follow_the_unit_of_the_responses(power, shift, shown, own_home):
    scale = 2.0**power
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    plain = convnet(epochs="2").fit(train, shown.responses[:45]).predict(test)
    other = convnet(epochs="2").fit(train, shown.responses[:45] * scale + shift * scale).predict(test)
    np.testing.assert_allclose(other / scale - shift, plain, atol=1e-2)
    if shift == 0:  # then standardised responses have the same bits
        np.testing.assert_array_equal(other, plain * scale)


def test_a_planted_map_is_learned_and_its_permuted_control_is_not(tmp_path, shown, own_home):
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


def test_the_autoencoders_probe_is_scikit_learns_ridge_on_its_bottleneck(shown, backbone, own_home):
    train, test = shown.part(range(45)), shown.part(range(45, 60))
    fitted = made("autoencoder", backbone).fit(train, shown.responses[:45])
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


# the cache of finished fits


def test_what_was_fitted_is_not_trained_again_and_anything_else_is(shown, own_home, tmp_path):
    stimuli, responses, labels = shown.part(range(40)), shown.responses[:40], shown.labels[:40]
    seen = watched(convnet(), stimuli, responses, labels)
    assert seen == [0, 1, 2]
    first = convnet().fit(stimuli, responses, labels)
    again = convnet()
    assert watched(again, stimuli, responses, labels) == []
    assert again.report.weights_sha256 == first.report.weights_sha256
    assert again.report == first.report
    np.testing.assert_array_equal(again.predict(stimuli), first.predict(stimuli))

    other_responses = responses.copy()
    other_responses[3, 1] += 1e-9
    changed_image = shown.make(tmp_path, np.vstack([shown.colours[:39], 255 - shown.colours[39:40]]))
    assert list(changed_image["stimulus_id"]) == list(stimuli["stimulus_id"])
    others = [
        (convnet(), stimuli, other_responses, labels),
        (convnet(), stimuli, responses, labels[::-1]),
        (convnet(), stimuli, responses, None),
        (convnet(seed=1), stimuli, responses, labels),
        (convnet(lr="0.02"), stimuli, responses, labels),
        (convnet(hidden="9"), stimuli, responses, labels),
        (convnet(side="17"), stimuli, responses, labels),
        (convnet(), shown.part(range(39, -1, -1)), responses, labels),
        (convnet(), changed_image, responses, labels),
        (convnet().fresh({"recording": "another"}), stimuli, responses, labels),
        (convnet().fresh({}, np.ones(4)), stimuli, responses, labels),
    ]
    for number, (candidate, *data) in enumerate(others):
        assert watched(candidate, *data) == [0, 1, 2], number
    assert len(list((own_home / "fits").iterdir())) == 1 + len(others)
    assert watched(convnet(), stimuli, responses, labels) == []


def test_candidates_on_backbones_never_share_a_fit(shown, backbone, own_home, tmp_path):
    other = tmp_path / "net.py"
    other.write_text(Path(backbone.partition("::")[0]).read_text() + "\n# another file\n")
    names = [
        f"combined+{backbone}:second",
        f"combined+{backbone}:first",
        f"combined+{backbone}@random-3:second",
        f"combined+{other}::net:second",
        f"readout+{backbone}:second",
        f"finetuned+{backbone}",
        f"finetuned+{backbone}:first",
        "convnet",
    ]
    for name in names:
        candidate = load_fitted(name, "cpu", 0, {"epochs": "1"})
        assert watched(candidate, shown.part(range(24)), shown.responses[:24]) == [0], name
    assert len(list((own_home / "fits").iterdir())) == len(names)
    text = other.read_text()
    other.write_text(text.replace("return Net()", "torch.manual_seed(8); return Net()"))  # its weights change
    candidate = load_fitted(f"combined+{other}::net:second", "cpu", 0, {"epochs": "1"})
    assert watched(candidate, shown.part(range(24)), shown.responses[:24]) == [0]


def test_an_empty_checkpoint_is_one_line(shown, own_home):
    broken = convnet()
    broken.watch = lambda number, epoch: (_ for _ in ()).throw(Stop)
    with pytest.raises(Stop):
        broken.fit(shown.part(range(30)), shown.responses[:30])
    ((checkpoint,),) = [list(folder.iterdir()) for folder in (own_home / "fits").iterdir()]
    checkpoint.write_bytes(b"")
    with pytest.raises(InputError, match=r"the checkpoint .* cannot be read .*; remove it to train anew"):
        convnet().fit(shown.part(range(30)), shown.responses[:30])


@pytest.mark.parametrize("spoil", ["weights", "config", "no weights", "other format"])
def test_a_damaged_fit_is_trained_again(spoil, shown, own_home):
    data = (shown.part(range(30)), shown.responses[:30])
    first = convnet().fit(*data)
    (folder,) = (own_home / "fits").iterdir()
    weights, config = folder / WEIGHTS, folder / CONFIG
    if spoil == "weights":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif spoil == "config":
        config.write_text(config.read_text()[:-40])
    elif spoil == "no weights":
        weights.unlink()
    else:
        config.write_text(config.read_text().replace('"format": 2', '"format": 99'))
    again = convnet()
    assert watched(again, *data) == [0, 1, 2]
    assert again.report.weights_sha256 == first.report.weights_sha256
    assert watched(convnet(), *data) == []


def test_a_folder_of_ones_own_holds_one_fit_and_refuses_another(shown, tmp_path, own_home):
    folder = tmp_path / "mine"
    convnet(checkpoints=folder).fit(shown.part(range(30)), shown.responses[:30])
    assert {file.name for file in folder.iterdir()} == {WEIGHTS, CONFIG}
    with pytest.raises(
        InputError, match=r"another responses: '\w+' there, '\w+' asked for; choose another folder"
    ):
        convnet(checkpoints=folder).fit(shown.part(range(30)), shown.responses[:30] + 1)
    assert not (own_home / "fits").exists()


def test_a_fit_leaves_torchs_generator_alone(shown, own_home):
    for _ in range(2):  # trained, then from the cache
        torch.manual_seed(4)
        before = torch.get_rng_state()
        convnet().fit(shown.part(range(30)), shown.responses[:30])
        assert torch.equal(torch.get_rng_state(), before)


# interruptions


@pytest.mark.parametrize("kind", ["convnet", "autoencoder", "finetuned"])
def test_an_interrupted_fit_goes_on_to_the_same_weights(kind, shown, backbone, tmp_path, monkeypatch):
    data = (shown.part(range(45)), shown.responses[:45], shown.labels[:45])
    options = {"epochs": "6", "patience": "0", "validation": "0" if kind == "finetuned" else "0.1"}
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "whole"))
    whole = made(kind, backbone, **options).fit(*data)

    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "broken"))
    trained = []

    def stop_at(last):
        def watch(number, epoch):
            trained.append(number)
            if number == last and trained.count(number) == 1:
                raise Stop

        return watch

    for last in (1, 4):
        broken = made(kind, backbone, **options)
        broken.watch = stop_at(last)
        with pytest.raises(Stop):
            broken.fit(*data)
        assert broken.report is None
        with pytest.raises(InputError, match="not fitted yet"):
            broken.predict(data[0])
    resumed = made(kind, backbone, **options)
    resumed.watch = stop_at(None)
    resumed.fit(*data)
    assert trained == [0, 1, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5]  # earlier epochs are told of again, not trained
    losses = [[epoch.loss for epoch in one.report.trained.history] for one in (resumed, whole)]
    assert losses[0] == losses[1]
    assert resumed.report.weights_sha256 == whole.report.weights_sha256
    np.testing.assert_array_equal(resumed.predict(data[0]), whole.predict(data[0]))
    (folder,) = (tmp_path / "broken" / "fits").iterdir()
    assert {file.name for file in folder.iterdir()} == {WEIGHTS, CONFIG}


def test_a_fit_that_ran_out_of_memory_after_some_epochs_is_gone_on_from_with_half_the_batch(
    shown, tmp_path, monkeypatch
):
    """Neither of the two takes the other's checkpoint for its own, whichever is interrupted."""
    data, options = (shown.part(range(45)), shown.responses[:45]), {"epochs": "5", "patience": "0"}
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "whole"))
    whole = convnet(batch_size="8", **options).fit(*data)
    forward, steps = ConvNet.forward, []

    def needs_memory(network, inputs):
        if network.training and len(inputs) > 9:  # the last of 41 joins a batch of 8
            steps.append(len(inputs))
            if len(steps) > 7:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return forward(network, inputs)

    monkeypatch.setattr(ConvNet, "forward", needs_memory)
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "broken"))
    broken, told = convnet(batch_size="16", **options), []

    def watch(number, epoch):
        told.append(number)
        if told.count(1) == 2:
            raise Stop

    broken.watch = watch
    with pytest.warns(UserWarning, match="batches of 16; training anew with 8"), pytest.raises(Stop):
        broken.fit(*data)
    assert told == [0, 1, 0, 1]  # two epochs of full batches, then two of halves
    resumed = convnet(batch_size="16", **options)
    with pytest.warns(UserWarning, match="batches of 16; training anew with 8"):
        trained = watched(resumed, *data)
    assert trained == [0, 1, 0, 1, 2, 3, 4]  # of both, those that were known
    assert resumed.report.trained.batch_size == 8
    np.testing.assert_array_equal(resumed.predict(data[0]), whole.predict(data[0]))
    (folder,) = (tmp_path / "broken" / "fits").iterdir()
    assert {file.name for file in folder.iterdir()} == {WEIGHTS, CONFIG}


CHILD = """
import sys
import numpy as np, pandas as pd, torch
from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet
from itprobe.models.fitted import load_fitted
threads, table, responses = sys.argv[1:]
torch.set_num_threads(int(threads))
table = pd.read_csv(table)
stimuli = StimulusSet(table[["stimulus_id", "object_name"]])
stimuli.stimulus_paths, stimuli.identifier = dict(zip(table.stimulus_id, table.path)), "quadrants"
options = dict(side="16", widths="4,4", hidden="8", epochs="60", patience="0", lr="0.01", shift="0.1")
candidate = load_fitted("convnet", "cpu", 0, options)
candidate.watch = lambda number, epoch: print("epoch", number, flush=True)
candidate.fit(stimuli, np.load(responses))
"""


def test_a_process_killed_at_any_moment_is_gone_on_from(shown, tmp_path, monkeypatch):
    stimuli, responses = shown.part(range(45)), shown.responses[:45]
    paths = [str(stimuli.stimulus_paths[key]) for key in stimuli["stimulus_id"]]
    stimuli.assign(path=paths).to_csv(tmp_path / "table.csv")
    np.save(tmp_path / "responses.npy", responses)
    home = tmp_path / "killed"
    arguments = [str(torch.get_num_threads()), str(tmp_path / "table.csv"), str(tmp_path / "responses.npy")]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        env={**os.environ, "ITPROBE_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    epoch, delay = random.randrange(50), random.random() * 0.05
    for line in child.stdout:
        if line.split() == ["epoch", str(epoch)]:
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            break
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL, f"was to be killed {delay:.3f} s after epoch {epoch}"
    options = {"epochs": "60", "patience": "0", "shift": "0.1"}
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "whole"))
    whole = convnet(**options).fit(stimuli, responses)
    monkeypatch.setenv("ITPROBE_HOME", str(home))
    (folder,) = (home / "fits").iterdir()
    assert not (folder / CONFIG).exists(), "there was nothing left to go on with"
    resumed = convnet(**options).fit(stimuli, responses)
    assert [e.loss for e in resumed.report.trained.history] == [e.loss for e in whole.report.trained.history]
    assert resumed.report.weights_sha256 == whole.report.weights_sha256


# copies


def test_fresh_copies_know_nothing_of_each_other(shown, own_home):
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


def test_noise_weighting_counts_reliable_neuroids_more(shown, own_home):
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
def test_data_that_cannot_be_fitted(kind, change, text, shown, backbone, own_home):
    rows = change.get("rows", 40)
    responses = change.get("responses", lambda r: r)(shown.responses[:rows])
    labels = change.get("labels", shown.labels[:rows])
    options = {"validation": "0.2"} if rows == 18 else {}
    with pytest.raises(InputError, match=text) as error:
        made(kind, backbone, **options).fit(shown.part(range(rows)), responses, labels)
    assert "\n" not in str(error.value)


def test_an_image_that_is_missing_is_named(shown, tmp_path, own_home):
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


def test_inputs_of_another_candidate_object_are_not_shared(shown, own_home):
    one, two = convnet(), convnet()
    assert isinstance(one.design.rows, PreparedRows)
    assert one.design.rows is not two.design.rows
    assert one.fresh({}).design.rows is one.design.rows
    assert replace(one.design, seed=3).parameters["seed"] == 3
