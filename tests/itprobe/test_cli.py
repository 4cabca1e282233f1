"""The command line: what it prints, and one clear line with exit code 2 for each kind of bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from itprobe.cli import main

FAST = "efficientnet_lite0@random:_blocks.0~pool1"


@pytest.fixture
def run(capsys):
    """Run the command line in this process; gives exit code, stdout, stderr."""

    def run(*arguments):
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def refused(run):
    """Run, and assert that the input is refused with one line; gives the line."""

    def refused(*arguments):
        code, out, err = run(*arguments)
        lines = [line for line in err.splitlines() if line.startswith("itprobe: ")]
        assert code == 2, err
        assert len(lines) == 1
        assert "Traceback" not in err
        assert out == ""
        return lines[0]

    return refused


def test_score_prints_the_ranking_and_writes_files(run, planted_file, tmp_path):
    out_dir = tmp_path / "out"
    code, out, _ = run(
        "score", "pixels", "object_onehot", "--benchmark", f"{planted_file}#IT-ridge", "--results", out_dir
    )
    assert code == 0
    assert "pixels" in out
    assert "95% interval" in out
    (picture,) = out_dir.glob("*.png")
    assert str(picture) in out
    assert len(list(out_dir.glob("[!.]*.json"))) == len(list(out_dir.glob("*.nc"))) == 2


def test_a_recording_deep_in_folders_with_long_names(run, planted, tmp_path):
    from itprobe.data import save_recording

    deep = tmp_path.joinpath(*["a rather long name of a folder"] * 5)
    save_recording(planted, deep / "planted.nc")
    code, _, err = run(
        *("score", "object_onehot", "--benchmark", f"{deep}/planted.nc#IT-ridge"),
        *("--results", tmp_path / "out"),
    )
    assert code == 0, err
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_json_output_is_one_result_a_line(run, planted_file, tmp_path):
    code, out, _ = run(
        *("score", "object_onehot", "--benchmark", f"{planted_file}#IT-ridge.course", "--seed", 2),
        *("--results", tmp_path / "out", "--json"),
    )
    assert code == 0
    (result,) = map(json.loads, out.splitlines())
    assert result["split"]["name"] == "course"
    assert result["split"]["seed"] == 2


@pytest.mark.parametrize("what", ["models", "benchmarks", "recordings", "mappings"])
def test_lists(run, what):
    code, out, _ = run("list", what)
    assert code == 0
    expected = {
        "models": "efficientnet_lite0",
        "benchmarks": "MajajHong2015public.IT-ridge",
        "recordings": "NX414",
        "mappings": "ridge",
    }
    assert expected[what] in out


def test_names_are_corrected(refused, planted_file):
    benchmark = ("--benchmark", f"{planted_file}#IT-ridge")
    assert "efficientnet_lite0" in refused("score", "efficientnet_lite", *benchmark)
    assert "mean resnet50" in refused("score", "torchvision/resnet5", *benchmark)
    assert "_blocks.12" in refused("score", "efficientnet_lite0@random:_block.12", *benchmark)
    assert "mean simulated_small" in refused("score", "pixels", "--benchmark", "simulated_smal.IT-ridge")
    assert "has no neuroid of region" in refused("score", "pixels", "--benchmark", f"{planted_file}#V4-ridge")
    assert "simulated_small" in refused("recording", "describe", "simulated_smal")


def test_missing_and_truncated_recordings(refused, planted_file, tmp_path):
    assert "nothere.nc" in refused("score", "pixels", "--benchmark", f"{tmp_path}/nothere.nc#IT-ridge")
    content = Path(planted_file).read_bytes()
    for name, part in (("short.nc", content[: len(content) // 2]), ("tiny.h5", b"\x89HDF")):
        (tmp_path / name).write_bytes(part)
        assert name in refused("recording", "describe", tmp_path / name)


def test_files_with_factories(refused, planted_file, tmp_path):
    benchmark = ("--benchmark", f"{planted_file}#IT-ridge")
    source = tmp_path / "mine.py"
    source.write_text("def make():\n    raise RuntimeError('no luck')\n\nvalue = 3\n")
    assert "no luck" in refused("score", f"{source}::make", *benchmark)
    assert "make" in refused("score", f"{source}::mak", *benchmark)
    assert "nofile.py" in refused("score", f"{tmp_path}/nofile.py::make", *benchmark)


def test_nan_activations_name_layer_and_stimulus(refused, planted_file, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.log = torch.nn.Flatten()\n"
        "    def forward(self, x):\n"
        "        return self.log(torch.log(x * 0 - 1))\n"
        "def make():\n"
        "    return Net()\n"
    )
    line = refused("score", f"{source}::make:log", "--benchmark", f"{planted_file}#IT-ridge")
    assert "log" in line
    assert "im000" in line


def test_images_that_changed_or_cannot_be_read(refused, planted_file, tmp_path):
    stimuli = Path(planted_file).parent / "planted.stimuli"
    damaged = next(stimuli.rglob("im003.png"))
    damaged.write_bytes(b"no image")
    assert "planted.stimuli" in refused("score", "pixels", "--benchmark", f"{planted_file}#IT-ridge")
    np.save(tmp_path / "responses.npy", np.random.default_rng(0).normal(size=(120, 3)))
    arguments = ("--responses", tmp_path / "responses.npy", "--region", "IT", "--out", tmp_path / "new.nc")
    assert "im003.png" in refused("recording", "package", "--stimuli", damaged.parent, *arguments)
    assert not (tmp_path / "new.nc").exists()


def test_unwritable_results(refused, planted_file, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    line = refused(
        "score", "pixels", "--benchmark", f"{planted_file}#IT-ridge", "--results", blocked / "results"
    )
    assert str(blocked) in line


def test_weights_that_cannot_be_loaded(refused, planted_file, tmp_path):
    import torch

    benchmark = ("--benchmark", f"{planted_file}#IT-ridge")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    assert "missing" in refused("score", f"torchvision/resnet18@{tmp_path}/other.pth:layer1", *benchmark)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    assert "state" in refused("score", f"torchvision/resnet18@{tmp_path}/whole.pth:layer1", *benchmark)
    assert "none.pth" in refused("score", f"torchvision/resnet18@{tmp_path}/none.pth:layer1", *benchmark)


def test_too_few_stimuli_and_no_repetitions(run, refused, plant, tmp_path):
    from itprobe.data import save_recording

    save_recording(plant.assembly(plant.trials()[:15], tmp_path / "few"), tmp_path / "few.nc")
    assert "at least 30 stimuli" in refused(
        "score", "object_onehot", "--benchmark", f"{tmp_path}/few.nc#IT-ridge"
    )
    save_recording(plant.assembly(plant.trials()[:, :1], tmp_path / "once"), tmp_path / "once.nc")
    code, out, _ = run(
        *("score", "object_onehot", "--benchmark", f"{tmp_path}/once.nc#IT-ridge"),
        *("--results", tmp_path / "out"),
    )
    assert code == 0
    assert "no ceiling" in out


def test_controls_take_no_notice_of_layers_meant_for_networks(run, planted_file, tmp_path):
    code, out, _ = run(
        *("score", "object_onehot", "efficientnet_lite0@random", "--layer", "_blocks.0~pool1"),
        *("--benchmark", f"{planted_file}#IT-ridge", "--results", tmp_path / "out"),
    )
    assert code == 0
    assert FAST in out


def test_what_lacks_columns_is_refused_before_anything_runs(refused, planted_file, tmp_path):
    line = refused(
        *("score", "object_onehot", "latents", "--benchmark", f"{planted_file}#IT-ridge"),
        *("--results", tmp_path / "out"),
    )
    assert "latents" in line
    assert not list((tmp_path / "out").glob("[!.]*.json"))


def test_a_failing_candidate_does_not_take_the_finished_ones_with_it(run, planted_file, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.flat = torch.nn.Flatten()\n"
        "    def forward(self, x):\n"
        "        return self.flat(x / 0)\n"
        "def make():\n"
        "    return Net()\n"
    )
    code, out, err = run(
        *("score", "object_onehot", f"{source}::make:flat", "--benchmark", f"{planted_file}#IT-ridge"),
        *("--results", tmp_path / "out"),
    )
    assert code == 2
    assert "object_onehot" in out
    assert len([line for line in err.splitlines() if line.startswith("itprobe: ")]) == 1


def test_one_lambda_for_all(run, refused, planted_file, tmp_path):
    for options in ((), ("--shared-lambda",)):
        code, _, _ = run(
            *("score", "object_onehot", "--benchmark", f"{planted_file}#IT-ridge", *options),
            *("--results", tmp_path / "out"),
        )
        assert code == 0
    assert len(list((tmp_path / "out").glob("[!.]*.json"))) == 2
    line = refused("score", "object_onehot", "--benchmark", f"{planted_file}#IT-pls", "--shared-lambda")
    assert "pls has no lambda" in line


def test_package_and_describe(run, refused, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(30):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"im{k:02d}.png")
    counts = rng.poisson(5, size=(4, 30, 5)).astype(np.int16)
    counts[0, 0, 0] = -1
    np.savez(tmp_path / "counts.npz", counts=counts)
    package = ("recording", "package", "--stimuli", folder, "--region", "IT")
    code, out, _ = run(*package, "--responses", tmp_path / "counts.npz", "--out", tmp_path / "own.nc")
    assert code == 0
    assert "own.nc#IT-ridge" in out
    code, out, _ = run(
        "recording", "describe", tmp_path / "own.nc", "--contact-sheet", tmp_path / "sheet.png"
    )
    assert code == 0
    assert "30" in out
    assert (tmp_path / "sheet.png").exists()
    np.savez(tmp_path / "bad.npz", counts=counts[:, :29])
    line = refused(*package, "--responses", tmp_path / "bad.npz", "--out", tmp_path / "bad.nc")
    assert "29" in line
    assert "30" in line
    assert not (tmp_path / "bad.nc").exists()


def test_usage_errors_exit_with_2(run):
    for arguments in ([], ["score"], ["score", "pixels", "--benchmark", "x", "--seed", "-1"], ["list", "x"]):
        assert run(*arguments)[0] == 2


def test_a_fault_of_ours_exits_with_1(run, monkeypatch):
    monkeypatch.setattr("itprobe.benchmarks.list_benchmarks", lambda: 1 / 0)
    code, _, err = run("list", "benchmarks")
    assert code == 1
    assert "ZeroDivisionError" in err


def test_an_interrupt_keeps_finished_results(planted_file, tmp_path):
    """Ctrl-C during the second candidate: exit code 130, the first one's files are whole."""
    source = tmp_path / "slow.py"
    source.write_text(
        "import os, signal, torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.flat = torch.nn.Flatten()\n"
        "        self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += 1\n"
        "        if self.calls > 2:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        return self.flat(x)\n"
        "def make():\n"
        "    return Net()\n"
    )
    command = [
        # Where the tests run in the background, Ctrl-C is ignored by inheritance.
        *(sys.executable, "-c"),
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from itprobe.cli import main; main()",
        *("score", "object_onehot", f"{source}::make:flat", "--benchmark", f"{planted_file}#IT-ridge"),
        *("--results", str(tmp_path / "out")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".nc", ".png"]


def test_partition_prints_the_parts_and_writes_them(run, planted_file, tmp_path):
    code, out, _ = run(
        *("partition", "pixels", "object_onehot", "--benchmark", f"{planted_file}#IT-banded"),
        *("--out", tmp_path / "parts.nc"),
    )
    assert code == 0
    assert "shared by pixels + object_onehot" in out
    with xr.open_dataset(tmp_path / "parts.nc") as dataset:
        assert dataset.sizes == {"spaces": 3, "neuroid": 12, "bound": 2}


def test_diagnostics_and_parameters_of_the_mapping(run, refused, planted_file, tmp_path):
    benchmark = ("--benchmark", f"{planted_file}#IT-pls", "--results", tmp_path / "out")
    code, _, _ = run("score", "object_onehot", *benchmark, "--set", "n_components=3", "--diagnostics")
    assert code == 0
    (path,) = (tmp_path / "out").glob("[!.]*.json")
    assert json.loads(path.read_text())["mapping"]["params"]["n_components"] == 3
    assert path.with_name(f"{path.stem}.diagnostics.png").is_file()
    assert "unknown parameter of pls" in refused("score", "pixels", *benchmark, "--set", "folds=3")
    assert "write NAME=VALUE" in refused("score", "pixels", *benchmark, "--set", "folds")
    assert "unknown precision: 'half'" in refused("score", "pixels", *benchmark, "--precision", "half")
    assert "unknown type of features" in refused("score", "pixels", *benchmark, "--features", "int8")
    assert "memory budget" in refused("score", "pixels", *benchmark, "--memory", "-1")


def test_sweep_prints_tables_and_draws(run, refused, planted_file, tmp_path):
    (tmp_path / "zoo.txt").write_text("object_onehot  # a control\nno_such_model\n")
    command = ("sweep", "pixels", "--models", tmp_path / "zoo.txt", "--recording", planted_file)
    code, out, err = run(*command, "--mappings", "ridge,pls", "--out", tmp_path / "out")
    assert code == 2  # a script that scores a zoo has to learn of the model that is missing
    assert "1 of the sweep's parts failed" in err
    assert "ridge: pixels is the only layer with a score" in out
    assert "failed: no_such_model" in err
    for name in ("layers-ridge.png", "layers-pls.txt", "sweep.nc", "sweep.csv"):
        assert (tmp_path / "out" / name).is_file()
    assert len(list((tmp_path / "out" / "results").glob("[!.]*.json"))) == 4
    code, out, _ = run(*command, "--mappings", "ridge,pls", "--out", tmp_path / "out")
    assert "4 results, 4 of them taken over" in out
    assert "another sweep" in refused(*command, "--mappings", "pls", "--out", tmp_path / "out")
