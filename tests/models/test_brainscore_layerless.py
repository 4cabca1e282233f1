"""Models of Brain-Score's zoo that have no layers and respond for each region in a way of their own."""

import numpy as np
import pytest
from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
from PIL import Image

from itprobe.errors import InputError


class Brain:
    """A BrainModel of its own: no layers, a response of its own for each region, rows in another order."""

    identifier = "brain"

    def __init__(self, visual_degrees=8, time_bins=1, rows=None):
        self._degrees, self._bins, self._rows = visual_degrees, time_bins, rows

    def visual_degrees(self):
        return self._degrees

    def start_recording(self, recording_target, time_bins):
        assert time_bins == [(70, 170)]
        self.region = recording_target

    def look_at(self, stimuli, number_of_trials=1):
        print("a model that talks")
        ids = list(stimuli["stimulus_id"])[::-1][: self._rows]
        images = np.array([pixels(stimuli.get_stimulus(key)) for key in ids])
        values = images.mean(axis=(1, 2)) * (2 if self.region == "IT" else 1)
        coords = {
            "stimulus_id": ("presentation", ids),
            "more": ("presentation", ids),
            "neuroid_id": ("neuroid", [0, 1, 2]),
            "region": ("neuroid", [self.region] * 3),
            "time_bin_start": ("time_bin", [70] * self._bins),
            "time_bin_end": ("time_bin", [170] * self._bins),
        }
        stacked = np.stack([values] * self._bins, axis=-1)
        return NeuroidAssembly(stacked, coords=coords, dims=["presentation", "neuroid", "time_bin"])


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_a_brain_model_of_its_own_is_looked_at(make_stimuli, zoo_gives, capsys):
    stimuli = make_stimuli(5)
    candidate = zoo_gives(Brain())
    assert candidate.layers() == ["IT"]
    expected = [pixels(stimuli.get_stimulus(key)).mean(axis=(0, 1)) for key in stimuli["stimulus_id"]]
    both = [part for _, part in candidate.stream(stimuli, ["IT", "V4"], batch_size=2)]
    np.testing.assert_allclose(
        np.concatenate([part["IT"] for part in both]), 2 * np.array(expected), rtol=1e-5
    )
    np.testing.assert_allclose(np.concatenate([part["V4"] for part in both]), expected, rtol=1e-5)
    assert capsys.readouterr().out == ""
    with pytest.raises(InputError, match="unknown layer"):
        candidate.check_layer("layer4")


def test_what_a_brain_model_may_not_return(make_stimuli, zoo_gives):
    stimuli = make_stimuli(4)
    with pytest.raises(InputError, match="2 time bins"):
        list(zoo_gives(Brain(time_bins=2)).stream(stimuli, ["IT"]))
    with pytest.raises(InputError, match="3 rows for 4 stimuli"):
        list(zoo_gives(Brain(rows=3)).stream(stimuli, ["IT"]))
