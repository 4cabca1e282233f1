"""A user's own fitted candidate: made anew for each split, and its mistakes told in one line."""

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.models.fitted import load_fitted

GOOD = """
import numpy as np
import torch
from helper import SEEN

class Mean:
    def __init__(self):
        self.fits, self.drawn = [], torch.rand(3)
    def fit(self, stimuli, responses, labels):
        self.fits.append(len(stimuli))
        SEEN.append(len(stimuli))
        self.mean, self.labels = responses.mean(axis=0), labels
    def predict(self, stimuli):
        return np.tile(self.mean, (len(stimuli), 1))

def make():
    return Mean()
"""


@pytest.fixture
def write(tmp_path):
    """Write a file whose factory is ``make`` and give its id."""

    def write(text):
        (tmp_path / "own.py").write_text(text)
        return f"{tmp_path / 'own.py'}::make"

    return write


def test_it_is_fitted_and_predicts(write, tmp_path, shown):
    (tmp_path / "helper.py").write_text("SEEN = []\n")
    candidate = load_fitted(write(GOOD), seed=4)
    fitted = candidate.fresh({}).fit(shown.part(range(20)), shown.responses[:20], shown.labels[:20])
    predicted = fitted.predict(shown.part(range(20, 25)))
    np.testing.assert_allclose(predicted, np.tile(shown.responses[:20].mean(axis=0), (5, 1)))
    assert predicted.dtype == np.float64
    assert fitted.track == "fitted"
    assert fitted.weights_sha256 is None
    assert (fitted.report.weights_sha256, fitted.report.n_parameters, fitted.report.trained) == (
        None,
        None,
        None,
    )
    np.testing.assert_array_equal(fitted._made.labels, shown.labels[:20])


def test_the_factory_runs_anew_for_each_split_and_nothing_is_left_of_the_last_one(write, tmp_path, shown):
    """Neither in the object nor in a module that lies beside the file."""
    (tmp_path / "helper.py").write_text("SEEN = []\n")
    candidate = load_fitted(write(GOOD), seed=4)
    for _ in range(3):
        copy = candidate.fresh({})
        copy.fit(shown.part(range(20)), shown.responses[:20])
        assert copy._made.fits == [20]
        assert copy._made.fit.__globals__["SEEN"] == [20]
        assert copy.report is not None
    assert candidate._made.fits == []
    assert candidate.report is None


def test_the_seed_reaches_torchs_generator_and_the_source_the_result(write, tmp_path):
    (tmp_path / "helper.py").write_text("SEEN = []\n")
    name = write(GOOD)
    drawn = {seed: load_fitted(name, seed=seed)._made.drawn.tolist() for seed in (1, 2)}
    assert drawn[1] != drawn[2]
    assert load_fitted(name, seed=1)._made.drawn.tolist() == drawn[1]
    before = load_fitted(name, seed=1).parameters()
    assert before["seed"] == 1
    (tmp_path / "helper.py").write_text("SEEN = []  # another\n")
    assert load_fitted(name, seed=1).parameters()["source"] != before["source"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def make():\n    return 3\n",
            r"::make returned int, which has no fit and no predict; a fitted candidate has",
        ),
        ("class make:\n    def fit(self, *data): pass\n", r"returned make, which has no predict;"),
        (
            "class make:\n    fit = None\n    def predict(self, s): pass\n",
            r"returned make, which has no fit;",
        ),
        (
            "def make():\n    raise KeyError('colour')\n",
            r"::make raised KeyError: 'colour'; mend the factory",
        ),
        ("def make(:\n", r"importing .*own\.py raised SyntaxError"),
        ("import nothing_of_this_name\n", r"importing .*own\.py raised ModuleNotFoundError"),
        ("def mak():\n    pass\n", r"unknown factory in .*own\.py: 'make'; did you mean mak"),
    ],
)
def test_what_cannot_be_made(text, message, write):
    with pytest.raises(InputError, match=message) as error:
        load_fitted(write(text))
    assert "\n" not in str(error.value)


STEPS = """
class make:
    def fit(self, stimuli, responses, labels):
        {fit}
    def predict(self, stimuli):
        {predict}
"""


@pytest.mark.parametrize(
    ("fit", "predict", "message"),
    [
        (
            "raise RuntimeError('two\\nlines')",
            "pass",
            r"::make: fit with 20 stimuli raised RuntimeError: two lines; mend it",
        ),
        ("raise SystemExit(3)", "pass", r"::make: fit with 20 stimuli raised SystemExit: 3; mend it"),
        ("import not_there", "pass", r"::make: fit with 20 stimuli raised ModuleNotFoundError"),
        ("pass", "1 / 0", r"::make: predict with 5 stimuli raised ZeroDivisionError"),
        (
            "pass",
            "return 'no numbers'",
            r"::make: predict with 5 stimuli raised ValueError: could not convert",
        ),
        ("pass", "return [[1], [2, 3]]", r"::make: predict with 5 stimuli raised ValueError"),
        (
            "pass",
            "import torch; return torch.ones(5, 4, requires_grad=True)",
            r"predict with 5 .* RuntimeError",
        ),
    ],
)
def test_what_its_steps_raise_is_told_in_one_line(fit, predict, message, write, shown):
    candidate = load_fitted(write(STEPS.format(fit=fit, predict=predict))).fresh({})
    with pytest.raises(InputError, match=message) as error:
        candidate.fit(shown.part(range(20)), shown.responses[:20]).predict(shown.part(range(20, 25)))
    assert "\n" not in str(error.value)


def test_numbers_in_any_form_are_taken(write, shown):
    for text in (
        "return [[1, 2]] * len(stimuli)",
        "import torch; return torch.tensor([[1, 2]] * len(stimuli))",
    ):
        candidate = load_fitted(write(STEPS.format(fit="pass", predict=text)))
        predicted = candidate.fit(shown.part(range(20)), shown.responses[:20]).predict(shown.part(range(3)))
        np.testing.assert_array_equal(predicted, [[1, 2]] * 3)
        assert predicted.dtype == np.float64
