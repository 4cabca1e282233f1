"""Prepared inputs: each image once, known by its bytes; half precision where a layer is wide, and only there."""

import numpy as np
import pytest
import torch
from PIL import Image

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.fitted import inputs as module
from itprobe.models.fitted import load_fitted
from itprobe.models.fitted.inputs import (
    PreparedRows,
    layer_outputs,
    layer_shape,
    prepared_images,
    resized_images,
)


class Counting:
    """Prepares the mean of each image, and keeps the ids that it was asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, stimuli):
        ids = list(stimuli["stimulus_id"])
        self.asked += ids
        for start in range(0, len(ids), 7):
            part = ids[start : start + 7]
            images = [np.asarray(Image.open(stimuli.stimulus_paths[key])) for key in part]
            yield slice(start, start + len(part)), torch.tensor([[image.mean()] for image in images])


def means(stimuli):
    paths = [stimuli.stimulus_paths[key] for key in stimuli["stimulus_id"]]
    return np.array([[np.asarray(Image.open(path)).mean()] for path in paths])


def test_each_image_is_prepared_once_and_rows_come_in_the_order_asked_for(shown):
    prepare = Counting()
    rows = PreparedRows(prepare)
    for wanted in ([5, 3, 9], [9, 3], range(20), [19, 5, 40], range(60), [0]):
        part = shown.part(wanted)
        np.testing.assert_allclose(rows.of(part), means(part))
    assert sorted(prepare.asked) == sorted(shown.stimuli["stimulus_id"])


def test_splits_and_copies_share_what_was_prepared(shown, own_home):
    candidate = load_fitted("convnet", "cpu", 0, {"side": "16", "widths": "4", "hidden": "4", "epochs": "1"})
    prepare = Counting()
    seen = candidate.design.rows._prepare

    def counted(stimuli):
        prepare.asked += list(stimuli["stimulus_id"])
        return seen(stimuli)

    candidate.design.rows._prepare = counted
    for rows in (range(40), range(20, 60)):
        copy = candidate.fresh({}).fit(shown.part(rows), shown.responses[list(rows)])
        copy.predict(shown.part(range(60)))
    assert sorted(prepare.asked) == sorted(shown.stimuli["stimulus_id"])


def test_images_are_known_by_their_bytes(shown, tmp_path):
    """Neither an id that stands for another image nor a file that was written anew gets the rows of before."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one = shown.make(folders[0], shown.colours[:4])
    two = shown.make(folders[1], shown.colours[4:8])
    assert list(one["stimulus_id"]) == list(two["stimulus_id"])
    rows = PreparedRows(Counting())
    before = rows.of(one)
    np.testing.assert_allclose(rows.of(two), means(two))
    assert not torch.equal(before, rows.of(two))
    same = shown.make(folders[0], shown.colours[8:12])  # over the files of `one`
    np.testing.assert_allclose(rows.of(same), means(same))
    assert not torch.equal(before, rows.of(same))


def test_images_are_whole_resized_and_8_bit(shown):
    rows = resized_images(10).of(shown.part([3, 1]))
    assert rows.dtype == torch.uint8
    assert rows.shape == (2, 3, 10, 10)
    for row, index in zip(rows, [3, 1], strict=True):
        corners = row[:, [0, 0, -1, -1], [0, -1, 0, -1]].T.reshape(2, 2, 3)
        np.testing.assert_allclose(corners, shown.colours[index], atol=1)  # far from edges between quadrants


def test_images_of_a_backbone_are_what_it_takes(shown, backbone):
    network = load_candidate(backbone, "cpu")
    rows = prepared_images(network).of(shown.part(range(3)))
    paths = [shown.stimuli.stimulus_paths[key] for key in shown.stimuli["stimulus_id"][:3]]
    expected = torch.stack([network.preprocessing(Image.open(path).convert("RGB")) for path in paths])
    assert rows.dtype == torch.float16
    assert rows.shape == (3, 3, 16, 16)
    torch.testing.assert_close(rows.float(), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("layer", "shape"), [("first", (5, 8, 8)), ("second", (6, 4, 4)), ("first~pool2", (5, 2, 2))]
)
def test_layer_outputs_are_those_of_a_plain_forward_pass(layer, shape, shown, backbone):
    network = load_candidate(backbone, "cpu")
    stimuli = shown.part(range(9))
    paths = [stimuli.stimulus_paths[key] for key in stimuli["stimulus_id"]]
    images = torch.stack([network.preprocessing(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        expected = network.module.first(images)
        expected = network.module.second(expected) if layer == "second" else expected
    if "~" in layer:
        expected = expected.reshape(9, 5, 2, 4, 2, 4).mean((3, 5))
    rows = layer_outputs(network, layer).of(stimuli)
    assert layer_shape(network, layer) == shape == tuple(rows.shape[1:])
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layer", ["features.1", "features.1~pool8"])
def test_outputs_with_channels_last_become_maps_with_channels_first(layer, shown):
    network = load_candidate("torchvision/swin_t@random", "cpu")
    stimuli = shown.part(range(2))
    paths = [stimuli.stimulus_paths[key] for key in stimuli["stimulus_id"]]
    images = torch.stack([network.preprocessing(Image.open(path).convert("RGB")) for path in paths])
    with torch.no_grad():
        expected = network.module.features[:2](images).permute(0, 3, 1, 2)
    assert expected.shape == (2, 96, 56, 56)
    if "~" in layer:
        expected = expected.reshape(2, 96, 8, 7, 8, 7).mean((3, 5))
    rows = layer_outputs(network, layer).of(stimuli)
    assert layer_shape(network, layer) == tuple(rows.shape[1:]) == tuple(expected.shape[1:])
    torch.testing.assert_close(rows.float(), expected, atol=2e-3, rtol=2e-3)


def test_half_precision_where_a_layer_is_wide_whatever_is_asked_for_together(shown, backbone, monkeypatch):
    network = load_candidate(backbone, "cpu")
    full = layer_outputs(network, "first").of(shown.part(range(12)))
    size = 4 * 5 * 8 * 8
    for limit, kind in ((size, torch.float32), (size - 1, torch.float16)):
        monkeypatch.setattr(module, "WIDE", limit)
        prepared = layer_outputs(network, "first")
        for rows in ([3], range(12), [3, 11]):  # neither the number of stimuli nor their order has a say
            values = prepared.of(shown.part(rows))
            assert values.dtype == kind
            error = 1e-6 if kind == torch.float32 else 1e-3
            torch.testing.assert_close(values.float(), full[list(rows)], atol=error, rtol=error)


LOUD = """
import torch
class Loud(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 2, 1, bias=False)
        self.second = torch.nn.AdaptiveAvgPool2d(1)
        torch.nn.init.constant_(self.first.weight, 1e5)
    def forward(self, images):
        return self.second(self.first(images)).flatten(1)
def make():
    return Loud(), {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)}
"""


def test_what_half_precision_cannot_hold_is_refused(shown, tmp_path, monkeypatch, own_home):
    (tmp_path / "loud.py").write_text(LOUD)
    network = f"{tmp_path / 'loud.py'}::make"
    stimuli = shown.part(range(20))
    assert torch.isfinite(layer_outputs(load_candidate(network, "cpu"), "first").of(stimuli)).all()
    monkeypatch.setattr(module, "WIDE", 1)
    candidate = load_fitted(f"combined+{network}:first", "cpu")
    text = r"layer first of .*loud\.py::make has activations up to .*e\+05, more than half precision holds"
    with pytest.raises(InputError, match=text):
        candidate.fit(stimuli, shown.responses[:20])


def test_no_stimuli_and_missing_images(shown, tmp_path):
    with pytest.raises(InputError, match="there are no stimuli; give one at least"):
        resized_images(8).of(shown.part([]))
    stimuli = shown.make(tmp_path, shown.colours[:3])
    stimuli.stimulus_paths["im001"].unlink()
    with pytest.raises(InputError, match="im001"):
        resized_images(8).of(stimuli)


def test_images_that_half_precision_cannot_hold_are_refused(shown, tmp_path, own_home):
    (tmp_path / "loud.py").write_text(LOUD.replace('"std": (1, 1, 1)', '"std": (1e-7, 1e-7, 1e-7)'))
    network = load_candidate(f"{tmp_path / 'loud.py'}::make", "cpu")
    with pytest.raises(
        InputError, match=r"the preprocessing of .* gives values up to .*, or scale the images"
    ):
        prepared_images(network).of(shown.part(range(3)))
