"""Parameters of mappings as text."""

import pytest

from itprobe.errors import InputError
from itprobe.metrics import MAPPINGS, WHOLE_SET_MAPPINGS, CkaMapping, PcrMapping, RidgeMapping, with_options

ALL = {**MAPPINGS, **WHOLE_SET_MAPPINGS}


def test_text_becomes_parameters():
    assert with_options(PcrMapping, {"n_components": "50", "folds": "3"}) == PcrMapping(50, folds=3)
    ridge = with_options(RidgeMapping, {"lambdas": "1,10,1e3", "per_neuroid": "False"})
    assert ridge == RidgeMapping((1.0, 10.0, 1000.0), per_neuroid=False)
    assert with_options(CkaMapping, {"unbiased": "false"}) == CkaMapping(unbiased=False)
    for kind in ALL.values():
        assert with_options(kind, {}) == kind()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pls", {"folds": "3"}, "unknown parameter of pls: 'folds'"),
        ("pcr", {"n_component": "3"}, "did you mean n_components"),
        ("pcr", {"n_components": "many"}, "n_components of pcr must be a whole number, not 'many'"),
        ("pcr", {"n_components": "0"}, "at least 1, not 0"),
        ("ridge", {"lambdas": "1,-2"}, "must be positive numbers"),
        ("ridge", {"lambdas": "1,nan"}, "must be positive numbers"),
        ("ridge", {"per_neuroid": "perhaps"}, "true or false"),
        ("ridge", {"folds": "1"}, "at least 2 inner folds"),
        ("banded", {"folds": "1"}, "at least 2 inner folds"),
        ("rsa", {"distance": "manhattan"}, "unknown distance"),
        ("rsa", {"comparison": "vibes"}, "unknown comparison"),
    ],
)
def test_what_is_no_parameter_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        with_options(ALL[name], options)
