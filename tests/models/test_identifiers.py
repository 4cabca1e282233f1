import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.models.identifiers import (
    FITTED,
    FITTED_ON_BACKBONE,
    CandidateId,
    FittedId,
    LayerName,
    parse_candidate,
    parse_fitted,
    parse_layer,
)

WORD = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,8}", fullmatch=True)
PLAIN_NAME = st.one_of(WORD, st.tuples(WORD, WORD).map("/".join)).filter(
    lambda name: name not in ("convnet", "dual_task", "autoencoder")
)
FILE_NAME = st.tuples(st.from_regex(r"[a-z@:+/ ]{1,8}", fullmatch=True), WORD).map(
    lambda parts: f"{re.sub(':+', ':', parts[0]).strip(':')}x.py::{parts[1]}"
)
WEIGHTS = st.one_of(
    st.just("random"), st.integers(0, 99).map("random-{}".format), WORD, WORD.map("/a+b@c/{}.pth".format)
)
LAYER = st.tuples(WORD, st.sampled_from(["", "~pool4", "~pool1"])).map("".join)


@given(PLAIN_NAME | FILE_NAME, st.none() | WEIGHTS, st.none() | LAYER)
def test_an_id_survives_being_written_and_read(name, weights, layer):
    candidate = CandidateId(name, weights, layer)
    assert parse_candidate(str(candidate)) == candidate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pixels", CandidateId("pixels")),
        ("torchvision/resnet50:layer3", CandidateId("torchvision/resnet50", None, "layer3")),
        (
            "torchvision/resnet50@random-3:layer3~pool4",
            CandidateId("torchvision/resnet50", "random-3", "layer3~pool4"),
        ),
        (
            "a+b/my:models@home/net.py::small@w.safetensors:0.conv",
            CandidateId("a+b/my:models@home/net.py::small", "w.safetensors", "0.conv"),
        ),
        ("efficientnet_lite0@/data/w.pth", CandidateId("efficientnet_lite0", "/data/w.pth", None)),
    ],
)
def test_parts_are_read_in_the_documented_order(text, expected):
    assert parse_candidate(text) == expected


@pytest.mark.parametrize(
    "text",
    ["combined+torchvision/resnet50:layer3", "readout+file.py::f:x", "convnet", "finetuned+timm/vit@random"],
)
def test_fitted_candidates_are_no_frozen_ones(text):
    with pytest.raises(
        InputError, match=r"fitted to the responses themselves; score it on a -fitted benchmark"
    ):
        parse_candidate(text)


@given(st.sampled_from(FITTED_ON_BACKBONE), PLAIN_NAME | FILE_NAME, st.none() | WEIGHTS, st.none() | LAYER)
def test_a_fitted_id_survives_being_written_and_read(kind, name, weights, layer):
    backbone = CandidateId(name, weights, layer)
    if name.partition("+")[0] in (*FITTED, *FITTED_ON_BACKBONE):
        return
    assert parse_fitted(f"{kind}+{backbone}") == FittedId(kind, backbone)
    assert str(FittedId(kind, backbone)) == f"{kind}+{backbone}"


@given(PLAIN_NAME | FILE_NAME, st.none() | WEIGHTS, st.none() | LAYER)
def test_what_is_frozen_names_no_fitted_candidate(name, weights, layer):
    if name not in FITTED_ON_BACKBONE:
        assert parse_fitted(str(CandidateId(name, weights, layer))) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("convnet", FittedId("convnet", None)),
        ("dual_task", FittedId("dual_task", None)),
        ("autoencoder", FittedId("autoencoder", None)),
        (
            "combined+torchvision/resnet50@random-3:layer3",
            FittedId("combined", CandidateId("torchvision/resnet50", "random-3", "layer3")),
        ),
        (
            "readout+some/dir+more/net.py::small:first~pool4",
            FittedId("readout", CandidateId("some/dir+more/net.py::small", None, "first~pool4")),
        ),
        ("finetuned+efficientnet_lite0", FittedId("finetuned", CandidateId("efficientnet_lite0"))),
        ("convnet.py::make", None),
        ("dir+combined/net.py::make", None),
        ("pixels", None),
        ("convnett", None),
        ("", None),
    ],
)
def test_fitted_ids(text, expected):
    assert parse_fitted(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("convnet@random", "'convnet@random': convnet starts from random numbers; write convnet$"),
        ("autoencoder:layer", "autoencoder starts from random numbers; write autoencoder$"),
        ("dual_task+efficientnet_lite0", "dual_task starts from random numbers; write dual_task$"),
        ("readout", "'readout' needs a backbone; write e.g. readout\\+efficientnet_lite0"),
        ("finetuned+", "the name is empty"),
        ("finetuned+net:", "the layer after ':' is empty"),
        (
            "finetuned+dual_task",
            "dual_task is fitted to responses itself and no backbone; write e.g. finetuned",
        ),
        ("combined+readout+pixels", "readout\\+pixels is fitted to responses itself and no backbone"),
    ],
)
def test_fitted_ids_that_mean_nothing(text, message):
    for parse in (parse_fitted, parse_candidate):
        with pytest.raises(InputError, match=message):
            parse(text)


@pytest.mark.parametrize("text", ["", "pixels:", "a@", "@random", ":layer", "::factory", "file.py::", "a@:b"])
def test_empty_parts_are_refused(text):
    with pytest.raises(InputError, match="empty"):
        parse_candidate(text)


def test_pooled_layers():
    assert parse_layer("layer3~pool4") == LayerName("layer3", 4)
    assert parse_layer("layer3") == LayerName("layer3")
    for text in ("layer3~", "layer3~pool", "layer3~pool0", "layer3~max4", "~pool4", ""):
        with pytest.raises(InputError, match="cannot be read"):
            parse_layer(text)
