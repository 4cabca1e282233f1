import sys

import numpy as np
import pytest

from itprobe.errors import InputError
from itprobe.models import load_candidate

NET = """
import torch
import helper
from parts import scale
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.pool = torch.nn.AdaptiveAvgPool2d(1)
        self.out = torch.nn.Flatten()
        self.last = torch.nn.ReLU()
    def forward(self, x):
        {lazy}
        return self.last(self.out(self.pool(x)).abs() * helper.K + scale.SHIFT)
def net():
    return Net()
def fails():
    import late
    raise KeyError("x")
"""


@pytest.fixture
def folders(tmp_path):
    """Two folders with the same files, whose neighbours hold different numbers."""

    def make(lazy="pass"):
        for name, k in (("fa", 3), ("fb", 9)):
            folder = tmp_path / name
            (folder / "parts").mkdir(parents=True)
            (folder / "net.py").write_text(NET.format(lazy=lazy))
            (folder / "helper.py").write_text(f"K = {k}")
            (folder / "late.py").write_text(f"K = {10 * k}")
            (folder / "parts" / "scale.py").write_text(f"SHIFT = {k}.5")
            (folder / "parts" / "deep.py").write_text(f"K = {k}")
        return tmp_path / "fa" / "net.py", tmp_path / "fb" / "net.py"

    return make


def _features(candidate, stimuli):
    return next(candidate.stream(stimuli, ["last"]))[1]["last"]


def test_each_file_has_its_own_neighbours(folders, make_stimuli):
    stimuli = make_stimuli(2)
    path, modules = sys.path.copy(), set(sys.modules)
    candidates = [load_candidate(f"{file}::net", device="cpu") for file in folders()]
    assert sys.path == path
    assert not {"helper", "parts", "parts.scale"} & set(sys.modules)
    assert not [name for name in set(sys.modules) - modules if name.startswith("itprobe_candidate")]
    a, b = (_features(candidate, stimuli) for candidate in candidates)
    np.testing.assert_allclose((a - 3.5) / 3, (b - 9.5) / 9, rtol=1e-5)
    assert (a >= 3.5).all()
    assert (b >= 9.5).all()
    assert candidates[0].weights_sha256 != candidates[1].weights_sha256
    assert not {"helper", "parts"} & set(sys.modules)


@pytest.mark.parametrize("lazy", ["import helper", "from parts import deep as helper"])
def test_imports_inside_forward_find_the_same_neighbours(folders, make_stimuli, lazy):
    stimuli = make_stimuli(2)
    a, b = (load_candidate(f"{file}::net", device="cpu") for file in folders(lazy))
    np.testing.assert_allclose(
        (_features(a, stimuli) - 3.5) / 3, (_features(b, stimuli) - 9.5) / 9, rtol=1e-5
    )
    np.testing.assert_array_equal(_features(a, stimuli), _features(a, stimuli))
    assert not {"helper", "parts", "parts.deep"} & set(sys.modules)


def test_a_first_import_inside_forward_is_refused_in_one_line(folders):
    file, _ = folders("import late")
    with pytest.raises(
        InputError, match=r"forward pass .* raised ModuleNotFoundError: No module named 'late'"
    ):
        load_candidate(f"{file}::net", device="cpu").layers()


def test_failures_leave_nothing_behind(folders):
    path = sys.path.copy()
    for file in folders():
        with pytest.raises(InputError, match="raised KeyError"):
            load_candidate(f"{file}::fails")
        file.write_text("import sys, helper\nsys.path.clear()\nsys.exit(0)")
        with pytest.raises(InputError, match=r"importing .*net.py raised SystemExit: 0"):
            load_candidate(f"{file}::net")
        assert sys.path == path
        assert not {"helper", "late", "parts"} & set(sys.modules)


def test_modules_of_somebody_else_neither_stand_in_nor_go_away(folders, make_stimuli, monkeypatch, tmp_path):
    (tmp_path / "helper.py").write_text("K = 1000")
    monkeypatch.syspath_prepend(tmp_path)
    import helper  # the user's own, from another folder

    monkeypatch.delitem(sys.modules, "helper")
    monkeypatch.setitem(sys.modules, "helper", helper)
    file, _ = folders("import helper")
    candidate = load_candidate(f"{file}::net", device="cpu")
    assert sys.modules["helper"] is helper
    assert 3.5 <= _features(candidate, make_stimuli(2)).max() < 100
    assert sys.modules["helper"] is helper


def test_folders_that_a_file_adds_to_the_path_count_as_its_own(tmp_path):
    digests = set()
    for name, width in (("ga", 2), ("gb", 5)):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "widths.py").write_text(f"WIDTH = {width}")
        (tmp_path / name / "net.py").write_text(
            "import os, sys, torch\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\n"
            "import widths\ndef net():\n    return torch.nn.Conv2d(3, widths.WIDTH, 4)\n"
        )
        candidate = load_candidate(f"{tmp_path / name / 'net.py'}::net", device="cpu")
        assert candidate.module.out_channels == width
        assert not any(str(tmp_path) in entry for entry in sys.path)
        digests.add(candidate.weights_sha256)
    assert len(digests) == 2
