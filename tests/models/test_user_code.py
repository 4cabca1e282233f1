import pytest
import torch
from torch import nn

from itprobe.errors import InputError
from itprobe.models import load_candidate

ERRORS = [
    AttributeError("no\nx"),
    KeyError(3),
    ZeroDivisionError(),
    SystemExit(0),
    NotImplementedError("later"),
]


class Fails(nn.Module):
    """Raises an error from its n-th call on; a dry run is the first."""

    def __init__(self, error, calls):
        super().__init__()
        self.layer = nn.AvgPool2d(32)
        self.error, self.calls = error, calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return self.layer(x)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_forward_that_raises_is_an_input_error(make_stimuli, error):
    with pytest.raises(
        InputError, match=rf"Fails-\w+: the forward pass on .* raised {type(error).__name__}"
    ) as dry:
        load_candidate(Fails(error, 0), device="cpu").layers()
    stimuli = make_stimuli(5)
    ids = list(stimuli["stimulus_id"])
    with pytest.raises(
        InputError, match=rf"stimuli '{ids[2]}' to '{ids[3]}' raised {type(error).__name__}"
    ) as late:
        list(load_candidate(Fails(error, 2), device="cpu").stream(stimuli, ["layer"], batch_size=2))
    for caught in (dry, late):
        assert "\n" not in str(caught.value)
        assert type(caught.value.__cause__) is type(error)


def test_an_interrupt_passes(make_stimuli):
    with pytest.raises(KeyboardInterrupt):
        load_candidate(Fails(KeyboardInterrupt(), 0), device="cpu").layers()
    with pytest.raises(KeyboardInterrupt):
        list(load_candidate(Fails(KeyboardInterrupt(), 1), device="cpu").stream(make_stimuli(2), ["layer"]))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=repr,
)
def test_too_little_memory_says_what_needs_less(make_stimuli, error):
    with pytest.raises(InputError, match=r"fewer layers .*another device"):
        list(load_candidate(Fails(error, 1), device="cpu").stream(make_stimuli(2), ["layer"]))


class Skips(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.often = nn.AvgPool2d(32)
        self.once = nn.Flatten()

    def forward(self, x):
        self.calls += 1
        x = self.often(x)
        return self.once(x) if self.calls == 1 else x


def test_a_layer_that_does_not_run_is_named(make_stimuli):
    with pytest.raises(InputError, match="layer 'once' did not run"):
        list(load_candidate(Skips(), device="cpu").stream(make_stimuli(2), ["often", "once"]))


FILE = """
import sys, torch
def net(): return torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten())
def prepared(image): return torch.zeros(3, 16, 16)
CALLS = []
def later(image):
    CALLS.append(1)
    return prepared(image) if len(CALLS) < 3 else {late}
def at_once(image): return {late}
def net_later(): return net(), later
def net_at_once(): return net(), at_once
def leaves(): sys.exit()
def leaves_with_text(): sys.exit("usage: net.py")
"""


@pytest.mark.parametrize(
    ("late", "match"),
    [
        ("{}[3]", "raised KeyError: 3"),
        ("None", "raised RuntimeError: .*NoneType"),
        ("'text'", "raised TypeError|raised ValueError|raised RuntimeError"),
        ("torch.zeros(3)", r"gave shape \(3,\) for one image"),
        ("sys.exit(0)", "raised SystemExit: 0"),
    ],
)
def test_a_preprocessing_that_fails_names_candidate_and_stimulus(tmp_path, make_stimuli, late, match):
    path = tmp_path / "net.py"
    path.write_text(FILE.replace("{late}", late))
    with pytest.raises(
        InputError, match=rf"net.py::net_at_once: the preprocessing of a test image.*({match})"
    ):
        load_candidate(f"{path}::net_at_once", device="cpu").layers()
    stimuli = make_stimuli(1)
    name = stimuli["stimulus_id"].iloc[0]
    with pytest.raises(
        InputError, match=rf"net.py::net_later: the preprocessing of stimulus '{name}'.*({match})"
    ):
        list(load_candidate(f"{path}::net_later", device="cpu").stream(stimuli, ["0"]))


def test_a_factory_that_leaves_is_an_input_error(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(FILE.replace("{late}", "None"))
    with pytest.raises(InputError, match=r"net.py::leaves raised SystemExit; mend the factory"):
        load_candidate(f"{path}::leaves")
    with pytest.raises(InputError, match=r"leaves_with_text raised SystemExit: usage: net.py"):
        load_candidate(f"{path}::leaves_with_text")


class Uncopied(nn.Module):
    def __deepcopy__(self, memo):
        raise AttributeError("no copy")


def test_objects_that_cannot_be_copied_or_read():
    with pytest.raises(InputError, match=r"Uncopied object cannot be copied .AttributeError: no copy"):
        load_candidate(Uncopied())
    with pytest.raises(InputError, match=r"reading the weights raised RuntimeError.*uninitialized"):
        load_candidate(nn.LazyLinear(3))
