"""How fitted candidates are named and set, and what is said of those that cannot be."""

import re

import pytest

from itprobe.errors import InputError
from itprobe.models.fitted import FITTED_NAMES, load_fitted
from itprobe.models.fitted.networks import NETWORKS
from itprobe.models.fitted.registry import DEFAULTS, NOTES
from itprobe.models.fitted.user import UserFitted


def test_every_kind_has_a_network_defaults_and_a_note():
    kinds = {name.partition("+")[0] for name in FITTED_NAMES}
    assert kinds == set(NETWORKS) == set(DEFAULTS) == set(NOTES)
    assert FITTED_NAMES == (
        "convnet",
        "dual_task",
        "autoencoder",
        "combined+BACKBONE:LAYER",
        "readout+BACKBONE:LAYER",
        "finetuned+BACKBONE",
    )


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (
            "convnet",
            {"epochs": "7", "lr": "3e-4", "widths": "4,8", "flip": "TRUE"},
            {"epochs": 7, "lr": 3e-4, "widths": (4, 8), "flip": True},
        ),
        ("convnet", {"side": "32", "schedule": "onecycle"}, {"side": 32, "schedule": "onecycle"}),
        ("convnet", {"widths": "16"}, {"widths": (16,)}),
        ("dual_task", {"balance": "uncertainty"}, {"balance": "uncertainty"}),
        ("dual_task", {"balance": "0.5"}, {"balance": 0.5}),
        ("autoencoder", {"bottleneck": "none", "pull": "2"}, {"bottleneck": None, "pull": 2.0}),
        ("autoencoder", {"bottleneck": "12"}, {"bottleneck": 12}),
        ("combined", {"hidden": "16,8", "dropout": "0"}, {"hidden": (16, 8), "dropout": 0.0}),
        (
            "finetuned",
            {"head": "readout", "frozen_norms": "false"},
            {"head": "readout", "frozen_norms": False},
        ),
    ],
)
def test_parameters_are_read_by_their_type_and_stand_in_the_result(kind, options, expected, backbone):
    name = kind + {"combined": f"+{backbone}:first", "finetuned": f"+{backbone}"}.get(kind, "")
    plain, changed = load_fitted(name, "cpu").parameters(), load_fitted(name, "cpu", 5, options).parameters()
    assert changed == {**plain, **expected, "seed": 5}
    for key, value in expected.items():
        assert type(changed[key]) is type(value)


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("convnet", {"epoch": "3"}, r"unknown parameter of convnet: 'epoch'; did you mean epochs"),
        ("convnet", {"balance": "1"}, r"unknown parameter of convnet: 'balance'"),
        ("combined", {"side": "32"}, r"unknown parameter of combined: 'side'"),
        ("combined", {"lr": "0.1", "side": "32"}, r"unknown parameter of combined: 'side'"),
        ("convnet", {"epochs": "many"}, r"parameter epochs of convnet must be int, not 'many'"),
        ("convnet", {"epochs": "2.5"}, r"parameter epochs of convnet must be int, not '2\.5'"),
        ("convnet", {"epochs": "none"}, r"parameter epochs of convnet must be int, not 'none'"),
        ("convnet", {"lr": "fast"}, r"parameter lr of convnet must be float, not 'fast'"),
        ("convnet", {"lr": "nan"}, r"lr must be from"),
        ("convnet", {"flip": "perhaps"}, r"parameter flip of convnet must be bool, not 'perhaps'"),
        (
            "convnet",
            {"widths": "4,x"},
            r"parameter widths of convnet must be tuple\[int, \.\.\.\], not '4,x'",
        ),
        ("convnet", {"widths": "4,0"}, r"widths must be whole numbers above 0"),
        (
            "convnet",
            {"schedule": "steps"},
            r"parameter schedule of convnet must be Literal.*cosine.*not 'steps'",
        ),
        ("convnet", {"side": "0"}, r"side must be from 1 to \d+ pixels, not 0"),
        ("convnet", {"side": "-8"}, r"side must be from 1 to \d+ pixels, not -8"),
        ("convnet", {"side": "100000"}, r"side must be from 1 to \d+ pixels, not 100000"),
        ("convnet", {"dropout": "1"}, r"dropout must be at least 0 and below 1"),
        (
            "dual_task",
            {"balance": "even"},
            r"parameter balance of dual_task must be .*uncertainty.*, not 'even'",
        ),
    ],
)
def test_parameters_that_there_are_not(kind, options, text, backbone):
    name = f"combined+{backbone}:first" if kind == "combined" else kind
    with pytest.raises(InputError, match=text) as error:
        load_fitted(name, "cpu", 0, options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("convnett", r"unknown fitted candidate: 'convnett'; did you mean convnet"),
        (
            "efficientnet_lite0",
            r"unknown fitted candidate: 'efficientnet_lite0'.*scored with a mapping, e\.g\. on a -ridge",
        ),
        ("convnet@random", r"'convnet@random': convnet starts from random numbers; write convnet$"),
        ("convnet:layer", r"'convnet:layer': convnet starts from random numbers; write convnet$"),
        ("convnet+efficientnet_lite0", r"convnet starts from random numbers; write convnet$"),
        ("finetuned", r"'finetuned' needs a backbone; write e\.g\. finetuned\+efficientnet_lite0"),
        ("finetuned+", r"candidate '': the name is empty"),
        ("finetuned+nonsense", r"unknown candidate: 'nonsense'"),
        (
            "finetuned+convnet",
            r"convnet is fitted to responses itself and no backbone; write e\.g\. finetuned\+eff",
        ),
        ("combined+combined+pixels:x", r"combined\+pixels:x is fitted to responses itself and no backbone"),
        (
            "combined+pixels:pixels",
            r"pixels is no network; write e\.g\. combined\+efficientnet_lite0:_blocks\.8",
        ),
        (
            "finetuned+object_onehot",
            r"object_onehot is no network; write e\.g\. finetuned\+efficientnet_lite0$",
        ),
        ("finetuned+efficientnet_lite0@imagenet", r"unknown weights of efficientnet_lite0: 'imagenet'"),
        ("finetuned+nowhere.py::net", r"there is no file nowhere\.py"),
        ("nowhere.py::net", r"there is no file nowhere\.py"),
    ],
)
def test_names_that_mean_nothing(text, message):
    with pytest.raises(InputError, match=message) as error:
        load_fitted(text, "cpu")
    assert "\n" not in str(error.value)


def test_layers_are_checked_before_anything_is_trained(backbone):
    for kind in ("combined", "readout"):
        with pytest.raises(
            InputError, match=rf"names no layer; write e\.g\. {kind}\+.*:(first|second)[.01]*$"
        ):
            load_fitted(f"{kind}+{backbone}", "cpu")
    for kind in ("combined", "readout", "finetuned"):
        with pytest.raises(InputError, match=r"'secnd'.*did you mean second"):
            load_fitted(f"{kind}+{backbone}:secnd", "cpu")


def test_a_finetuned_network_is_read_well_before_its_end_unless_told_otherwise():
    assert load_fitted("finetuned+efficientnet_lite0@random", "cpu").parameters()["layer"] == "_blocks.12"
    named = load_fitted("finetuned+efficientnet_lite0@random:_blocks.2", "cpu")
    assert named.parameters()["layer"] == "_blocks.2"
    assert named.identifier == "finetuned+efficientnet_lite0@random:_blocks.2"


def test_what_a_result_says_of_the_backbone(backbone):
    plain = load_fitted("convnet", "cpu")
    assert (plain.track, plain.weights_kind, plain.weights_sha256) == ("fitted", None, None)
    random = load_fitted("readout+efficientnet_lite0@random:_blocks.2", "cpu")
    trained = load_fitted("readout+efficientnet_lite0:_blocks.2", "cpu")
    assert (random.weights_kind, trained.weights_kind) == ("random", "trained")
    assert re.fullmatch("[0-9a-f]{64}", trained.weights_sha256)
    assert random.weights_sha256 != trained.weights_sha256
    assert random.design.backbone != trained.design.backbone


def test_loading_leaves_the_options_and_defaults_alone():
    options = {"epochs": "3"}
    load_fitted("convnet", "cpu", 0, options)
    assert options == {"epochs": "3"}
    assert load_fitted("convnet", "cpu").parameters()["epochs"] == DEFAULTS["convnet"].epochs == 40


def test_a_factory_that_is_named_like_a_kind_is_the_users(tmp_path):
    (tmp_path / "convnet.py").write_text(
        "class Own:\n    def fit(self, *data): pass\n    def predict(self, stimuli): pass\n"
    )
    assert isinstance(load_fitted(f"{tmp_path / 'convnet.py'}::Own"), UserFitted)
    with pytest.raises(InputError, match="has parameters of its own making; set epochs in the file"):
        load_fitted(f"{tmp_path / 'convnet.py'}::Own", options={"epochs": "3"})
