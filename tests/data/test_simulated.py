"""The simulated recordings as a whole, their images and the hidden teacher."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from itprobe.data import stimulus_set_sha256
from itprobe.data.simulated import (
    PLANTED_BLOCK,
    load_simulated,
    make_simulated,
    recording,
    teacher,
    teacher_features,
)
from itprobe.data.simulated.backgrounds import background
from itprobe.data.simulated.images import draw_stimuli
from itprobe.data.simulated.objects import make_objects, object_names
from itprobe.data.simulated.render import render
from itprobe.data.simulated.scenes import make_latents
from itprobe.data.simulated.solids import Material, box, bullet, cylinder, ellipsoid, rotation, wedge
from itprobe.errors import InputError

BLACK = np.zeros((128, 128), dtype=np.float32)
MATT = Material(0.8, 0.0)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """simulated_small of 64 stimuli and 4 sites, in a cache of its own."""
    monkeypatch.setitem(recording.SIMULATED, "simulated_small", recording.Size(64, 4, 4))
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path))
    return tmp_path / "recordings" / "simulated_small-v1-seed0"


# --- the recording -----------------------------------------------------------------------------


def test_small_recording_keeps_the_contract():
    assembly = load_simulated("simulated_small")
    stimulus_set, truth = assembly.attrs["stimulus_set"], assembly.attrs["truth"]
    assert assembly.dims == ("presentation", "neuroid")
    assert assembly.dtype == np.float32
    assert (assembly.values >= 0).all()
    assert (assembly.values == np.round(assembly.values)).all()
    assert len(stimulus_set) == 640
    assert assembly.sizes["neuroid"] == 40
    assert assembly.attrs["simulated"] is True
    assert assembly.attrs["averaged"] is False
    assert assembly.attrs["citation"] == "simulated by itprobe (no real neurons)"
    assert set(assembly["region"].values) == {"IT"}
    assert set(assembly["animal"].values) == {"Simulated1", "Simulated2"}
    _, repetitions = np.unique(assembly["stimulus_id"].values.astype(str), return_counts=True)
    assert repetitions.min() == 18
    assert repetitions.max() == 22
    assert (truth["stimulus_id"].values == stimulus_set["stimulus_id"]).all()
    assert (truth["neuroid_id"].values == assembly["neuroid_id"].values).all()
    assert truth["signal"].shape == (640, 40)
    assert (truth["fano"] > 1).all()
    assert truth.attrs["planted_block"] == PLANTED_BLOCK
    image = Image.open(stimulus_set.stimulus_paths[stimulus_set["stimulus_id"][0]])
    assert (image.mode, image.size) == ("RGB", (128, 128))


def test_same_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path):
    first, again, other = (
        make_simulated(64, 4, seed, folder=tmp_path / name, repetitions=4)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    files = sorted((tmp_path / "a").iterdir())
    assert len(files) == 64
    for path in files:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert first.values.tobytes() == again.values.tobytes()
    assert first.attrs["sha256"] == again.attrs["sha256"]
    assert first.attrs["truth"].equals(again.attrs["truth"])
    assert first.attrs["sha256"] != other.attrs["sha256"]
    assert not np.array_equal(first.attrs["truth"]["signal"], other.attrs["truth"]["signal"])
    sets = [assembly.attrs["stimulus_set"] for assembly in (first, again, other)]
    assert stimulus_set_sha256(sets[0]) == stimulus_set_sha256(sets[1]) != stimulus_set_sha256(sets[2])


def test_seed_reaches_shapes_backgrounds_and_teacher():
    shapes = [make_objects(seed)["car1"] for seed in (0, 1)]
    assert not np.allclose(shapes[0][0].matrix, shapes[1][0].matrix)
    scenes = make_latents(1, 0)
    images = [next(draw_stimuli(scenes, seed)) for seed in (0, 1)]
    corner = np.s_[:20, :20]
    assert not np.array_equal(images[0][corner], images[1][corner])
    weights = [teacher(seed).get_submodule("block4")[0].weight for seed in (0, 1)]
    assert not torch.equal(*weights)


def test_torch_global_generator_is_left_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    make_simulated(64, 2, 0, folder=tmp_path, repetitions=2)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    "part", ["simulated_small.nc", "simulated_small.stimuli/simulated0-00007.png", "simulated_small.sha256"]
)
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_damaged_cache_is_made_again(tiny, part, how):
    whole = load_simulated("simulated_small")
    path = tiny / part
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()
    again = load_simulated("simulated_small")
    assert again.attrs["sha256"] == whole.attrs["sha256"]
    np.testing.assert_array_equal(again.values, whole.values)
    assert path.is_file()
    assert again.attrs["truth"].equals(whole.attrs["truth"])


def test_flipped_byte_of_the_truth_is_noticed(tiny):
    whole = load_simulated("simulated_small")
    path = tiny / "simulated_small.nc"
    content = bytearray(path.read_bytes())
    place = content.find(whole.attrs["truth"]["signal"].values.tobytes()[:64])
    assert place > 0
    content[place + 3] ^= 255
    path.write_bytes(content)
    assert load_simulated("simulated_small").attrs["truth"].equals(whole.attrs["truth"])


def test_cache_is_used(tiny, monkeypatch):
    whole = load_simulated("simulated_small")
    monkeypatch.setattr(recording, "make_simulated", None)
    assert load_simulated("simulated_small").attrs["sha256"] == whole.attrs["sha256"]


@pytest.mark.parametrize("stage", ["write_stimuli", "draw_counts", "save_recording"])
def test_interrupted_making_leaves_nothing(tiny, monkeypatch, stage):
    genuine = getattr(recording, stage)

    def interrupted(*args, **kwargs):
        genuine(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(recording, stage, interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_simulated("simulated_small")
    assert list(tiny.parent.iterdir()) == []


def test_bad_input_is_one_clear_line(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="did you mean simulated_small"):
        load_simulated("simulatd_small")
    for n_stimuli, n_neuroids, seed in ((63, 4, 0), (64, 1, 0), (64, 4, -1)):
        with pytest.raises(InputError, match="give at least"):
            make_simulated(n_stimuli, n_neuroids, seed, folder=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="choose another"):
        load_simulated("simulated_small")


@pytest.mark.slow
def test_full_recording():
    assembly = load_simulated("simulated")
    assert len(assembly.attrs["stimulus_set"]) == 3200
    assert assembly.sizes["neuroid"] == 168
    assert (assembly.attrs["truth"]["reliability"] < 0.3).sum() == 13


# --- latents -----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_latents_lie_within_the_ranges_of_their_level(seed):
    latents = make_latents(640, seed)
    for level, turn, shift, factor in ((0, 0, 0, 1), (3, 45, 0.3, 1.3), (6, 90, 0.6, 1.6)):
        rows = latents[latents["variation"] == level]
        assert (rows[["ryz", "rxz", "rxy"]].abs() <= turn).all(axis=None)
        assert (rows[["ty", "tz"]].abs() <= shift).all(axis=None)
        assert rows["s"].between(1 / factor - 1e-6, factor + 1e-6).all()
        if level:
            assert rows["ryz"].abs().max() > 0.9 * turn


def test_objects_categories_and_levels_are_balanced():
    latents = make_latents(640, 0)
    assert latents["object_name"].nunique() == 64
    assert set(latents["category_name"].value_counts()) == {80}
    per_object = latents.groupby(["object_name", "variation"]).size().unstack()
    assert (per_object == [1, 6, 3]).all(axis=None)
    assert latents["stimulus_id"].is_unique
    assert make_latents(700, 0)[:640].equals(latents)
    assert [name for name, _ in object_names()][:2] == ["animal1", "animal2"]


def test_objects_fit_the_image_in_canonical_pose():
    for name, parts in make_objects(0).items():
        low = np.min([part.centre - part.half_extent() for part in parts], axis=0)
        high = np.max([part.centre + part.half_extent() for part in parts], axis=0)
        assert np.linalg.norm((high - low)[1:]) == pytest.approx(2), name


def test_background_does_not_depend_on_the_object():
    scenes = make_latents(64, 0)
    swapped = scenes.assign(object_name=np.roll(scenes["object_name"], 8))
    images = np.stack([np.stack(list(draw_stimuli(s, 0))) for s in (scenes, swapped)])
    same = (images[0] == images[1]).mean(axis=(1, 2))
    assert (same > 0.3).all()
    assert (same < 1).all()


def test_background_has_the_spectrum_of_natural_images():
    power = np.zeros((64, 64))
    for seed in range(40):
        image = background(np.random.default_rng(seed), 64)
        power += np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    band = (frequency > 2 / 64) & (frequency < 0.4)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert -3.6 < slope < -1.8  # power f^-2 to f^-3.5


# --- renderer ----------------------------------------------------------------------------------


def covered(solids) -> np.ndarray:
    return render(solids, BLACK) > 0


def area(solids) -> float:
    """Area of the silhouette in units of the world (the image is 2 x 2), with soft edges."""
    return float((1 - render_share_of_background(solids)).mean() * 4)


def render_share_of_background(solids) -> np.ndarray:
    dark = render(solids, BLACK).astype(float)
    light = render(solids, np.ones_like(BLACK) * 0.2).astype(float)
    return (light - dark) / 51


@pytest.mark.parametrize(
    ("solid", "expected"),
    [
        (ellipsoid((0, 0, 0), (0.5, 0.5, 0.5), material=MATT), np.pi * 0.25),
        (ellipsoid((0, 0.1, -0.2), (0.9, 0.6, 0.3), material=MATT), np.pi * 0.18),
        (box((0, 0, 0), (0.2, 0.5, 0.4), material=MATT), 0.8),
        (box((0, 0, 0), (0.2, 0.5, 0.4), taper=(1.0, 0.0), material=MATT), 0.4),
        (box((0, 0, 0), (0.4, 0.4, 0.4), rotation("x", 30), material=MATT), 0.64),
        (box((0, 0, 0), (0.4, 0.4, 0.4), rotation("z", 45), material=MATT), 0.8 * 0.8 * np.sqrt(2)),
        (cylinder((0, -0.5, 0), (0, 0.5, 0), 0.2, material=MATT), 0.4),
        (cylinder((-0.5, 0, 0), (0.5, 0, 0), 0.4, material=MATT), np.pi * 0.16),
        (bullet((0, 0, -0.5), (0, 0, 0.5), 0.5, material=MATT), 2 / 3),
        (wedge([(0, -0.5, 0), (0, 0.5, 0), (0, -0.5, 0.8)], 0.1, "x", material=MATT), 0.4),
        (wedge([(0, -0.17, 0.2), (0, -0.95, 0.1), (0, -0.17, 0.9)], 0.1, "x", material=MATT), 0.273),
        (wedge([(0, 0, 0), (0, 0.2, 0.6), (0, 0.5, 0.6), (0, 0.6, 0)], 0.1, "x", material=MATT), 0.27),
    ],
)
def test_silhouettes_have_the_area_of_geometry(solid, expected):
    assert area([solid]) == pytest.approx(expected, abs=0.02)


def test_quarter_turns_bring_axes_to_axes():
    long = ellipsoid((0, 0, 0), (0.2, 0.6, 0.3), material=MATT)
    zero = np.zeros(3)
    upright = covered([long.moved(rotation("x", 90), zero)])
    np.testing.assert_array_equal(upright, np.rot90(covered([long])))
    assert area([long.moved(rotation("z", 90), zero)]) == pytest.approx(np.pi * 0.06, abs=0.02)
    assert area([long.moved(rotation("y", 90), zero)]) == pytest.approx(np.pi * 0.12, abs=0.02)


def test_shift_to_the_right_and_up_moves_the_image_so():
    rows, columns = np.nonzero(covered([ellipsoid((0, 0.5, 0.25), (0.1,) * 3, material=MATT)]))
    assert columns.mean() == pytest.approx(0.75 * 128 - 0.5, abs=0.6)
    assert rows.mean() == pytest.approx(0.375 * 128 - 0.5, abs=0.6)


def test_nearer_solids_hide_farther_ones_in_any_order():
    near = box((0.5, 0, 0), (0.1, 0.3, 0.3), material=Material(0.9, 0.0))
    far = ellipsoid((-0.5, 0, 0), (0.4, 0.6, 0.6), material=Material(0.3, 0.0))
    image = render([near, far], BLACK)
    np.testing.assert_array_equal(image, render([far, near], BLACK))
    np.testing.assert_array_equal(image[50:78, 50:78], render([near], BLACK)[50:78, 50:78])


def test_matt_sphere_is_brightest_towards_the_light():
    image = render([ellipsoid((0, 0, 0), (0.8, 0.8, 0.8), material=MATT)], BLACK)
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert row < 64  # the light comes from above, left and in front
    assert column < 64
    assert image[row, column] > 2 * image[64 + 40, 64 + 30]


# --- teacher -----------------------------------------------------------------------------------


def test_teacher_is_in_evaluation_mode_and_its_blocks_have_names():
    network = teacher(0)
    assert not network.training
    assert [name for name, _ in network.named_children()][1:] == [f"block{k}" for k in range(1, 6)]
    assert not any(parameter.requires_grad for parameter in network.parameters())
    shapes = []
    network.get_submodule(PLANTED_BLOCK).register_forward_hook(lambda *args: shapes.append(args[2]))
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128), dtype=np.uint8)
    network(torch.from_numpy(images[:, None].astype(np.float32) / 255))
    np.testing.assert_allclose(shapes[0].numpy(), teacher_features(network, images), atol=1e-5)


def test_teacher_ignores_colour_channels_and_the_scale_of_the_input():
    images = torch.rand((2, 1, 128, 128), generator=torch.Generator().manual_seed(0))
    network = teacher(0)
    plain = network(images)
    normalised = network((images.expand(-1, 3, -1, -1) - 0.45) / 0.225)
    torch.testing.assert_close(plain, normalised, rtol=1e-3, atol=1e-3)


def test_teacher_tells_images_apart():
    images = np.stack(list(draw_stimuli(make_latents(64, 0), 0)))
    features = teacher_features(teacher(0), images).reshape(64, -1)
    correlation = np.corrcoef(features - features.mean(axis=0))
    assert np.abs(correlation[np.triu_indices(64, 1)]).max() < 0.9
    assert np.isfinite(features).all()
