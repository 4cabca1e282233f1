"""Brain-Score's tests of a plugin, and the plugin's own, run in a place made for them and told in plain words."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from itprobe.leaderboard.submission.checks import Check, SubmittedPlugin
from itprobe.leaderboard.submission.environments import Place
from itprobe.leaderboard.submission.processes import run_process

GENERIC = "generic_plugin_tests.py"
TEST_MINUTES = 30
MARKERS = "not slow and not private_access"
"""Brain-Score leaves slow tests out too; what is private to it cannot be run elsewhere."""

_WORDS = {
    "test_identifier": "the model loads and has an identifier",
    "test_visual_degrees": "the field of view is a sensible number of degrees",
    "test_start_task_or_recording": "it can do a task, or be recorded from",
    "test_look_at_neural_V1": "it answers images as V1: one row for each, neuroids with ids of their own",
    "test_look_at_behavior_probabilities": "it chooses among labels with probabilities",
    "test_every_region_has_a_layer": "V1, V2, V4 and IT have layers; nothing is downloaded to choose them",
    "test_activations_are_those_that_were_exported": "activations are those that itprobe had when it was exported",
}
_ADVICE = (
    ("No module named 'itprobe", "a model must do without itprobe: write the plugin with itprobe submit"),
    ("No module named", "name the package in requirements.txt"),
    (
        "invalid hash value",
        "the file at the address of the weights is not the one that was exported; upload that one",
    ),
    ("urlopen", "something is downloaded that cannot be had; see that the address is right and open to all"),
    (
        "HTTPError",
        "something is downloaded that cannot be had; see that the address is right and open to all",
    ),
    (
        "ConnectionError",
        "something is downloaded that cannot be had; see that the address is right and open to all",
    ),
    ("out of memory", "it needs more memory than there is here"),
    ("No such file or directory", "pack the file into the plugin, and name it relative to __file__"),
    ("another number of features", "the layer is another one than the one exported; export it again"),
    ("No submodule found", "correct the layer's name in region_layer_map"),
)
_OTHER_ADVICE = "mend it, and run validate again"


def run_trials(plugin: SubmittedPlugin, place: Place, scratch: Path) -> list[Check]:
    """Run Brain-Score's generic tests (it has some for models) and the plugin's own.

    Parameters
    ----------
    plugin : SubmittedPlugin
        Already in its place there.
    place : Place
    scratch : Path
        For reports.

    Returns
    -------
    list of Check
        One for each test.
    """
    folder = place.library / plugin.kind / plugin.name
    configuration, report = place.path[-1] / "pytest.ini", scratch / f"{plugin.kind}-{plugin.name}.xml"
    generic = place.library / f"{plugin.kind.strip('s')}_helpers" / GENERIC
    tests = [str(generic), "--plugin_directory", str(folder)] if generic.is_file() else []
    tests += map(str, sorted(folder.rglob("test*.py")))
    command = [
        place.python,
        "-m",
        "pytest",
        "-q",
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
    ]
    command += [] if plugin.needs_itprobe else ["-p", "without_itprobe"]
    command += ["-c", str(configuration), "--rootdir", str(place.library.parent), "-m", MARKERS]
    command += [f"--junitxml={report}", *tests]
    try:
        done = run_process(command, TEST_MINUTES, cwd=place.home, env=place.environment())
    except subprocess.TimeoutExpired:
        return [Check("tests", "failed", f"not done after {TEST_MINUTES} minutes; make them smaller")]
    return _outcome(report, done.returncode, done.stdout + done.stderr)


def _outcome(report: Path, code: int, output: str) -> list[Check]:
    tests = list(_read_report(report)) if report.is_file() else []
    if not tests and code == 5:  # pytest's word for: nothing was collected
        return [Check("tests", "note", f"there are none but those left out ({MARKERS})")]
    if not tests or (code and not any(test.state == "failed" for test in tests)):
        lines = [line for line in output.splitlines() if line.strip()]
        telling = next(
            (line for line in lines if re.match(r"E\s|ERROR", line)), lines[-1] if lines else "no word"
        )
        why = f"they ended with code {code}: {telling.removeprefix('E').strip()[:300]}"
        return [*tests, Check("tests", "failed", f"{why}; {_advice(output)}")]
    return tests


def _read_report(report: Path) -> Iterator[Check]:
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "?")
        words = _WORDS.get(name.partition("[")[0], "")
        generic = GENERIC.removesuffix(".py") in case.get("classname", "")
        label = f"{'Brain-Score' if generic else 'its own test'}, {name}"
        bad = next((part for tag in ("failure", "error") if (part := case.find(tag)) is not None), None)
        if bad is not None:
            message = " ".join((bad.get("message") or bad.text or "no reason given").split())
            told = f"{message[:400]}; {_advice(message + (bad.text or ''))}"
            yield Check(label, "failed", f"not so: {words}. {told}" if words else told)
        elif (skipped := case.find("skipped")) is not None:
            yield Check(label, "note", f"skipped: {skipped.get('message')}")
        else:
            yield Check(label, "ok", words or "passed")


def _advice(text: str) -> str:
    return next((advice for sign, advice in _ADVICE if sign in text), _OTHER_ADVICE)
