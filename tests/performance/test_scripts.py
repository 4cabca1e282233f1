"""The scripts of this folder run, on tiny input; what they measure is for people to read, not for tests."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

FOLDER = Path(__file__).parent
SCRIPTS = {
    "peers.py": (
        ["--quick", "--peer-splits", "1"],
        [
            "Brain-Score pls metric",
            "PLSRegression",
            "RidgeCV, leave-one-out",
            "randomized",
            "KernelRidgeCV",
            "100x",
        ],
    ),
    "marginal.py": (["--quick", "--repeats", "1"], ["per lambda", "per 1000 neuroids", "floor"]),
    "sweep.py": (
        ["--quick"],
        ["8 blocks", "bare forward pass", "asked: 1.5", "64 images through", "pls", " 0 images through"],
    ),
    "site.py": (
        ["--recording", "quick", "--candidates", "20"],
        ["20 candidates", "first build", "in the cache"],
    ),
    "memory.py": (
        ["--n", "3", "--layers", "layer4", "avgpool"],
        ["102400 features", "beyond the model", "anonymous"],
    ),
}


def run(script, *arguments, **variables):
    """What a script prints; importing it takes most of the time."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **variables}
    finished = subprocess.run(
        [sys.executable, str(FOLDER / script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_prints_what_it_measured(script):
    arguments, expected = SCRIPTS[script]
    printed = run(script, *arguments)
    for part in expected:
        assert part in printed


@pytest.mark.slow
def test_scale_writes_table_and_picture(tmp_path):
    printed = run("scale.py", "--quick", "--out", str(tmp_path))
    assert "gram grows as p^" in printed
    with (tmp_path / "scale.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["what"], row["grows"]) for row in rows} == {
        ("gram", "n"),
        ("ridge", "n"),
        ("pcr", "n"),
        ("pls", "n"),
        ("gram", "p"),
    }
    assert all(float(row["seconds"]) > 0 and float(row["peak_gb"]) > 0 for row in rows)
    assert Image.open(tmp_path / "scale.png").size[0] > 1000


def test_settings_that_slow_one_side_are_taken_out():
    code = (
        "import os, machine; machine.restart_with_fair_settings(); "
        "print(sorted(k for k in os.environ if k.startswith('OPENBLAS_')))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER,
        env=os.environ
        | {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.split("\n")[0] == "['OPENBLAS_NUM_THREADS']"
