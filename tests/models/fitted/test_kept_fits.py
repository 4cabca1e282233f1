"""Fits on disk: what was fitted is not trained again, anything else is, and interrupted fits go on as they were."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from itprobe.errors import InputError
from itprobe.models.fitted import load_fitted
from itprobe.models.fitted.finished import CONFIG, WEIGHTS
from itprobe.models.fitted.networks import ConvNet


class Stop(Exception):
    """What a test stops a training with."""


def test_what_was_fitted_is_not_trained_again_and_anything_else_is(
    shown, own_home, tmp_path, convnet, watched
):
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


def test_candidates_on_backbones_never_share_a_fit(shown, backbone, own_home, tmp_path, watched):
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


def test_an_empty_checkpoint_is_one_line(shown, own_home, convnet):
    broken = convnet()
    broken.watch = lambda number, epoch: (_ for _ in ()).throw(Stop)
    with pytest.raises(Stop):
        broken.fit(shown.part(range(30)), shown.responses[:30])
    ((checkpoint,),) = [list(folder.iterdir()) for folder in (own_home / "fits").iterdir()]
    checkpoint.write_bytes(b"")
    with pytest.raises(InputError, match=r"the checkpoint .* cannot be read .*; remove it to train anew"):
        convnet().fit(shown.part(range(30)), shown.responses[:30])


@pytest.mark.parametrize("spoil", ["weights", "config", "no weights", "other format"])
def test_a_damaged_fit_is_trained_again(spoil, shown, own_home, convnet, watched):
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


def test_a_folder_of_ones_own_holds_one_fit_and_refuses_another(shown, tmp_path, own_home, convnet):
    folder = tmp_path / "mine"
    convnet(checkpoints=folder).fit(shown.part(range(30)), shown.responses[:30])
    assert {file.name for file in folder.iterdir()} == {WEIGHTS, CONFIG}
    with pytest.raises(
        InputError, match=r"another responses: '\w+' there, '\w+' asked for; choose another folder"
    ):
        convnet(checkpoints=folder).fit(shown.part(range(30)), shown.responses[:30] + 1)
    assert not (own_home / "fits").exists()


# interruptions


@pytest.mark.parametrize("kind", ["convnet", "autoencoder", "finetuned"])
def test_an_interrupted_fit_goes_on_to_the_same_weights(kind, shown, tmp_path, monkeypatch, made):
    data = (shown.part(range(45)), shown.responses[:45], shown.labels[:45])
    options = {"epochs": "6", "patience": "0", "validation": "0" if kind == "finetuned" else "0.1"}
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "whole"))
    whole = made(kind, **options).fit(*data)

    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "broken"))
    trained = []

    def stop_at(last):
        def watch(number, epoch):
            trained.append(number)
            if number == last and trained.count(number) == 1:
                raise Stop

        return watch

    for last in (1, 4):
        broken = made(kind, **options)
        broken.watch = stop_at(last)
        with pytest.raises(Stop):
            broken.fit(*data)
        assert broken.report is None
        with pytest.raises(InputError, match="not fitted yet"):
            broken.predict(data[0])
    resumed = made(kind, **options)
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
    shown, tmp_path, monkeypatch, convnet, watched
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


def test_a_process_killed_at_any_moment_is_gone_on_from(shown, tmp_path, monkeypatch, convnet):
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
