"""The native Brain-Score plugins: literal registrations, ids that are ours alone, and a clean environment."""

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import brainscore_vision
import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = Path(brainscore_vision.__file__).parent
ROOMS = ("data", "metrics", "models", "benchmarks")
REGISTRATION = re.compile(r"(\w+_registry)\[[\"']([^\"']+)[\"']\]")


def registrations(init: Path) -> set[tuple[str, str]]:
    """Registry and id of every literal registration, which is how Brain-Score searches."""
    return {tuple(found) for found in REGISTRATION.findall(init.read_text(encoding="utf-8"))}


def ours() -> set[tuple[str, str]]:
    return set().union(*(registrations(ROOT / room / "brainscore_plugin" / "__init__.py") for room in ROOMS))


def test_no_id_is_registered_by_the_library_too():
    theirs = set()
    for room in ROOMS:
        for init in (LIBRARY / room).glob("*/__init__.py"):
            if init.parent.name != "itprobe":
                theirs |= registrations(init)
    assert len(theirs) > 100
    assert not ours() & theirs
    assert not {name for _, name in ours()} & {name for _, name in theirs}


def test_every_id_is_named_as_ours_and_fits_brainscores_file_names():
    assert ours()
    for _, name in ours():
        assert name.startswith(("itprobe-", "itprobe."))
        assert "/" not in name


SCORE = """
import json, os
import brainscore_vision as b
assert "itprobe" not in __import__("sys").modules
score = b.score(model_identifier="itprobe-pixels", benchmark_identifier="itprobe.simulated_small.IT-ridge")
metric = b.load_metric("itprobe-ridge")
others = [b.load_metric(f"itprobe-{name}") for name in ("pcr", "pls", "rsa", "cka")]
rsa = b.score(model_identifier="itprobe-pixels", benchmark_identifier="itprobe.simulated_small.IT-rsa")
data = b.load_dataset("itprobe.simulated_small")
benchmark = b.load_benchmark("itprobe.simulated_small.IT-ridge")
network = b.load_model("itprobe-efficientnet_lite0")
import itprobe
own = itprobe.score("pixels", "simulated_small.IT-ridge")
zoo = ("pixels", "gabor_filter_entropy_4x4")
stock = {name: b.score(model_identifier=name, benchmark_identifier="itprobe.simulated_small.IT-ridge")
         for name in (*zoo, "itprobe-efficientnet_lite0")}
ours = {name: itprobe.score(f"brainscore/{name}", "simulated_small.IT-ridge", layer="IT") for name in zoo}
ours["itprobe-efficientnet_lite0"] = itprobe.score("efficientnet_lite0:_blocks.12", "simulated_small.IT-ridge")
print(json.dumps({
    "stock": {name: float(score.raw) for name, score in stock.items()},
    "ours": {name: float(score.raw) for name, score in ours.items()},
    "score": float(score), "raw": float(score.raw), "ceiling": float(score.ceiling), "own": float(own),
    "metric": type(metric).__name__, "neuroids": data.sizes["neuroid"],
    "stimuli": len(b.load_stimulus_set("itprobe.simulated_small")),
    "rsa": float(rsa), "benchmark": benchmark.identifier, "network": network.identifier, "file": itprobe.__file__,
}))
"""


def library_files(site: Path) -> dict[str, bytes]:
    """Content of Brain-Score's files in an environment, compiled and score files aside."""
    return {
        str(path.relative_to(site)): path.read_bytes()
        for path in (site / "brainscore_vision").rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pkl")
    }


@pytest.mark.slow
def test_wheel_in_a_clean_environment(tmp_path):
    """Build the wheel, install it, let stock Brain-Score find everything, uninstall without a trace."""
    import json

    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "ITPROBE_HOME": os.environ["ITPROBE_HOME"],
        "RESULTCACHING_HOME": str(tmp_path / "result-caching"),
    }
    (tmp_path / "home").mkdir()

    def run(*command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "clean", with_pip=True)
    python = str(tmp_path / "clean" / "bin" / "python")
    site = next((tmp_path / "clean" / "lib").glob("python*")) / "site-packages"
    pip = (python, "-m", "pip", "--no-input", "--quiet")
    run(*pip, "install", "brainscore-vision>=2.4.2,<2.5", str(wheel))
    run(*pip, "check")
    found = json.loads(run(python, "-W", "ignore", "-c", SCORE).splitlines()[-1])
    assert found["file"].startswith(str(site))
    assert found["metric"] == "CrossValidatedPredictivity"
    assert found["benchmark"] == "itprobe.simulated_small.IT-ridge"
    assert found["network"] == "itprobe-efficientnet_lite0"
    assert (found["stimuli"], found["neuroids"]) == (640, 40)
    assert -1 < found["rsa"] < 1
    assert found["score"] == pytest.approx(found["raw"] ** 2 / found["ceiling"])
    assert found["score"] == pytest.approx(found["own"], abs=1e-5)
    assert len(found["stock"]) == 3
    assert found["ours"] == pytest.approx(found["stock"], abs=1e-4)
    printed = run(
        *(python, "-W", "ignore", "-m", "brainscore_vision", "score"),
        *("--model_identifier=itprobe-pixels", "--benchmark_identifier=itprobe.simulated_small.IT-ridge"),
    )
    assert "Score" in printed
    with_ours = library_files(site)
    run(*pip, "uninstall", "--yes", "itprobe")
    without = library_files(site)
    run(*pip, "install", "--force-reinstall", "--no-deps", "brainscore-vision==2.4.2")
    assert without == library_files(site)
    assert set(with_ours) - set(without) == {
        f"brainscore_vision/{room}/itprobe/__init__.py" for room in ROOMS
    }
