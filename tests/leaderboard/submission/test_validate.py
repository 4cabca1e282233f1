"""From the command line: a submission is written, and passes Brain-Score's own tests where there is no itprobe."""

import re
from pathlib import Path

import brainscore_vision
import pytest
import torch

from itprobe.cli import main
from itprobe.leaderboard.submission import environments, processes, trials
from itprobe.leaderboard.submission.archive import read_archive, write_archive
from itprobe.leaderboard.submission.checks import find_plugins
from itprobe.leaderboard.submission.validation import validate
from itprobe.models import load_candidate

LIBRARY = Path(brainscore_vision.__file__).parent


def run(*arguments):
    """Exit code of a command."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def library_state():
    """Every file and folder of the installed Brain-Score, compiled files aside."""
    return {
        (str(path.relative_to(LIBRARY)), path.lstat().st_mtime_ns if path.is_file() else 0)
        for path in LIBRARY.rglob("*")
        if "__pycache__" not in path.parts
    }


def test_submit_and_validate(tmp_path, capsys):
    """Weights in the zip, pooled layers, a reference of one's own; the installed Brain-Score stays as it was."""
    reference = tmp_path / "net.bib"
    reference.write_text("@misc{doe, title={Net}, author={Doe, Jane}, year={2020}, doi={10.1/1}}")
    out = tmp_path / "net.zip"
    layers = "V1=layer1~pool4,V4=layer2~pool4"
    torch.save(load_candidate("timm/test_resnet@random-8").module.state_dict(), tmp_path / "net.pth")
    candidate = f"timm/test_resnet@{tmp_path / 'net.pth'}:layer3~pool4"
    assert (
        run("submit", candidate, "--regions", layers, "--bibtex", reference, "--name", "my_net", "--out", out)
        == 0
    )
    said = capsys.readouterr().out
    assert "layers: V1 layer1~pool4, V2 layer3~pool4, V4 layer2~pool4, IT layer3~pool4" in said
    before = library_state()
    assert run("validate", out, "--here") == 0
    report = capsys.readouterr().out
    for name in (
        "test_identifier",
        "test_visual_degrees",
        "test_start_task_or_recording",
        "test_look_at_neural_V1",
        "test_look_at_behavior_probabilities",
    ):
        assert re.search(rf"^ok +Brain-Score, {name}\[my_net\]", report, re.MULTILINE), report
    assert re.search(
        r"^ok +its own test, test_activations_are_those_that_were_exported", report, re.MULTILINE
    )
    assert "Doe, 2020" in report
    assert library_state() == before


BAD_TEST = """
import pytest
import sys

def test_needs_itprobe():
    import importlib
    importlib.import_module('itprobe.models')

def test_needs_something_else():
    import no_such_package

def test_home_and_caches():
    import os
    from pathlib import Path
    assert os.environ["BS_INSTALL_DEPENDENCIES"] == "no"
    assert "itprobe-validate" in str(Path.home())
    assert "itprobe-validate" in os.environ["RESULTCACHING_HOME"]

@pytest.mark.private_access
def test_private():
    raise AssertionError
"""
BAD_INIT = """
from brainscore_vision import model_registry
from brainscore_vision.model_helpers.brain_transformation import ModelCommitment

model_registry['bad_net'] = lambda: broken()

def broken():
    raise RuntimeError("the network <b>is</b> broken")
"""


def test_what_fails_is_told_with_what_to_do(tmp_path, capsys):
    files = {"__init__.py": BAD_INIT, "test.py": BAD_TEST}
    out = write_archive(
        {f"s/models/bad_net/{name}": text.encode() for name, text in files.items()}, tmp_path / "b.zip"
    )
    assert run("validate", out, "--here") == 2
    printed = capsys.readouterr()
    report = printed.out
    assert re.search(
        r"^failed +Brain-Score, test_identifier\[bad_net\]: .*network <b>is</b> broken", report, re.M
    )
    assert re.search(
        r"^failed +its own test, test_needs_itprobe: .*write the plugin with itprobe", report, re.M
    )
    assert re.search(r"^failed +its own test, test_needs_something_else: .*requirements.txt", report, re.M)
    assert re.search(r"^ok +its own test, test_home_and_caches", report, re.M)
    assert "test_private" not in report
    assert re.fullmatch(r"itprobe: .*b\.zip: 7 of \d+ checks failed; see above for what to do\n", printed.err)


@pytest.mark.slow
def test_our_own_metrics_pass_their_tests(tmp_path, capsys):
    out = tmp_path / "metrics.zip"
    assert run("submit", "--plugin", "metrics", "--out", out) == 0
    assert "need it installed" in capsys.readouterr().out
    assert run("validate", out, "--here") == 0
    report = capsys.readouterr().out
    assert len(re.findall(r"^ok +its own test, test_a_linear_readout", report, re.MULTILINE)) == 6


def test_hostile_and_broken_submissions_exit_2_and_run_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *_, **__: pytest.fail("something was run"))
    hostile = tmp_path / "h.zip"
    hostile.write_bytes(b"no zip")
    assert run("validate", hostile) == 2
    printed = capsys.readouterr()
    assert "failed  archive" in printed.out
    assert "nothing of it was unpacked or run" in printed.out
    assert "1 of 1 checks failed" in printed.err
    broken = write_archive({"s/models/net/__init__.py": b"import ("}, tmp_path / "b.zip")
    assert run("validate", broken) == 2
    assert "not run: there are failures above" in capsys.readouterr().out


def test_bad_command_lines(tmp_path, capsys):
    out = tmp_path / "x.zip"
    for arguments, reason in (
        (["submit", "--out", out], "name a model"),
        (["submit", "pixels", "--plugin", "data", "--out", out], "leave model out"),
        (["submit", "--plugin", "data", "--layer", "x", "--out", out], "leave layer out"),
        (["submit", "efficientnet_lite0", "--regions", "IT", "--out", out], "write R=LAYER"),
        (["submit", "efficientnet_lite0", "--regions", "IT=a,IT=b", "--out", out], "named twice"),
        (
            ["submit", "efficientnet_lite0", "--layer", "x", "--bibtex", tmp_path / "no", "--out", out],
            "cannot be read",
        ),
        (["validate", out, "--here", "--python", "python3"], "leave it or --here out"),
    ):
        assert run(*arguments) == 2
        assert reason in capsys.readouterr().err
    assert not out.exists()


def test_a_zip_file_is_replaced_only_when_that_is_asked_for(tmp_path, capsys):
    """And what is refused leaves no folder that was made for it."""
    out = tmp_path / "mine.zip"
    out.write_bytes(b"of long ago")
    for arguments in (["efficientnet_lite0:_blocks.12"], ["--plugin", "metrics"]):
        assert run("submit", *arguments, "--out", out) == 2
        told = capsys.readouterr().err
        assert re.fullmatch(r"itprobe: .*mine\.zip is there already; .*--overwrite to replace it\n", told)
        assert out.read_bytes() == b"of long ago"
    assert run("submit", "--plugin", "metrics", "--out", out, "--overwrite") == 0
    assert read_archive(out)
    new = tmp_path / "new" / "folder" / "x.zip"
    assert run("submit", "--plugin", "metrics", "--out", new) == 0
    other = tmp_path / "other" / "folder" / "x.zip"
    assert run("submit", "efficientnet_lite0", "--layer", "_blocks.99", "--out", other) == 2
    assert "unknown layer" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert run("submit", "--plugin", "metrics", "--out", out / "below" / "x.zip") == 2
    assert "cannot make the folder" in capsys.readouterr().err


def test_pip_and_python_that_fail_are_told(tmp_path, monkeypatch):
    files = {"__init__.py": b"model_registry['net'] = 1\n", "test.py": b""}
    out = write_archive({f"s/models/net/{name}": text for name, text in files.items()}, tmp_path / "a.zip")
    checks = list(validate(out, python=str(tmp_path / "no-python")))
    assert (checks[-1].name, checks[-1].state) == ("environment", "failed")
    assert "--python" in checks[-1].text


def test_tests_that_never_end_are_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "TEST_MINUTES", 1 / 600)
    (tmp_path / "home").mkdir()
    sleeper = write_archive(
        {
            "s/metrics/m/__init__.py": b"metric_registry['m'] = 1\n",
            "s/metrics/m/test.py": b"import time; time.sleep(99)",
        },
        tmp_path / "a.zip",
    )
    (plugin,) = find_plugins(read_archive(sleeper))
    place = environments.present_environment({(plugin.kind, plugin.name): plugin.files}, tmp_path / "scratch")
    (check,) = trials.run_trials(plugin, place, tmp_path)
    assert check.state == "failed"
    assert "not done after" in check.text


@pytest.mark.slow
def test_a_submission_in_a_new_environment(tmp_path, capsys):
    """Its requirements and Brain-Score alone: no itprobe anywhere."""
    out = tmp_path / "lite0.zip"
    assert run("submit", "efficientnet_lite0:_blocks.12", "--out", out) == 0
    assert run("validate", out) == 0
    report = capsys.readouterr().out
    assert re.search(r"^ok +environment: a new environment", report, re.MULTILINE)
    assert re.search(r"^ok +Brain-Score, test_look_at_neural_V1", report, re.MULTILINE)
    assert re.search(
        r"^ok +its own test, test_activations_are_those_that_were_exported", report, re.MULTILINE
    )
