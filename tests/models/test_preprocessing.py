import numpy as np
import pytest
import torch
from brainscore_vision.model_helpers.activations.pytorch import load_preprocess_images
from PIL import Image

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.preprocessing import Preprocessing, read_image


def _save(path, mode, rng):
    rgba = Image.fromarray(rng.integers(0, 256, (50, 80, 4), dtype=np.uint8))
    image = (
        rgba.convert("RGB").quantize(16) if mode == "P" else rgba if mode == "RGBA" else rgba.convert(mode)
    )
    image.save(path)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
@pytest.mark.parametrize("size", [32, 224])
def test_the_same_as_brain_score(tmp_path, mode, size):
    path = tmp_path / "image.png"
    _save(path, mode, np.random.default_rng(0))
    ours = Preprocessing(size=(size, size))(read_image(path, "a"))
    theirs = load_preprocess_images([str(path)], image_size=size)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_whole_image_is_seen():
    image = Image.new("RGB", (300, 100))
    image.paste((255, 255, 255), (0, 0, 10, 100))
    prepared = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))(image)
    assert prepared.shape == (3, 224, 224)
    assert prepared[:, :, 0].min() == 1
    assert prepared[:, :, 20:].max() == 0


def test_sixteen_bit_grey_keeps_its_levels(tmp_path):
    levels = np.array([[0, 257 * 100, 257 * 255]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.asarray(read_image(tmp_path / "deep.png", "a"))[0, :, 1].tolist() == [0, 100, 255]


def test_unreadable_images_are_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    for name in ("cut.png", "text.png", "missing.png", "float.tiff"):
        with pytest.raises(InputError, match=f"stimulus 'id7' .*{name}"):
            read_image(tmp_path / name, "id7")


@pytest.mark.parametrize(
    "value",
    [{"sise": 3}, {"size": "big"}, {"size": (1, 2, 3)}, {"mean": 0.5}, {"interpolation": "cubic"}, 3],
)
def test_wrong_preprocessing_is_refused(value):
    with pytest.raises(InputError):
        Preprocessing.from_user(value)


def test_a_callable_must_give_one_image():
    image = Image.new("RGB", (8, 8))
    assert Preprocessing.from_user(lambda _: np.ones((3, 4, 4)))(image).dtype == torch.float32
    with pytest.raises(InputError, match="channel, height, width"):
        Preprocessing.from_user(lambda _: torch.ones(1, 3, 4, 4))(image)


@pytest.mark.parametrize(
    ("candidate", "size", "mean", "interpolation"),
    [
        ("torchvision/resnet18@random", 224, (0.485, 0.456, 0.406), "bilinear"),
        ("torchvision/efficientnet_b1@random", 240, (0.485, 0.456, 0.406), "bilinear"),
        ("torchvision/efficientnet_b2@random", 288, (0.485, 0.456, 0.406), "bicubic"),
        ("timm/vit_tiny_patch16_224@random", 224, (0.5, 0.5, 0.5), "bicubic"),
        ("efficientnet_lite0", 224, (0.5, 0.5, 0.5), "bilinear"),
    ],
)
def test_preprocessing_travels_with_the_weights(candidate, size, mean, interpolation):
    made = load_candidate(candidate, device="cpu").preprocessing
    assert (made.size, made.mean, made.interpolation) == ((size, size), mean, interpolation)
