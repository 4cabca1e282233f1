"""What is said of submissions by their text, against what Brain-Score itself finds there; nothing of it runs."""

import json
import sys
from types import ModuleType

import pytest

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import read_archive, unpack, write_archive
from itprobe.leaderboard.submission.checks import Check, SubmittedPlugin, find_plugins, static_checks
from itprobe.leaderboard.submission.library import library_folder
from itprobe.leaderboard.submission.native import NATIVE_KINDS, native_plugin
from itprobe.leaderboard.submission.validation import validate

REGIONS = {"V1": "a", "V2": "a", "V4": "a", "IT": "a"}
BIBTEX = "@misc{x, title={T}, author={Doe, Jane}, year={2020}, url={https://example.org}}"
METADATA = "schema_version: '2.0'\ndomain: vision\nmodels:\n  good_net: {model: {display_name: Good}}\n"
GOOD = {
    "__init__.py": "raise SystemExit('it was run')\nmodel_registry['good_net'] = lambda: 1\n",
    "model.py": f"import timm\nBIBTEX = '''{BIBTEX}'''\ndef get_bibtex(identifier): return BIBTEX\n",
    "test.py": "def test(): pass\n",
    "requirements.txt": "timm>=1.0\n# a comment\ntorch\n",
    "region_layer_map/good_net.json": json.dumps(REGIONS),
    "metadata.yml": METADATA,
}


def submission(tmp_path, changes=(), root="s", kind="models", name="good_net"):
    """A submission of GOOD with files changed, added, or (None) left out."""
    files = {**GOOD, **dict(changes)}
    out = tmp_path / "submission.zip"
    write_archive(
        {f"{root}/{kind}/{name}/{path}": text.encode() for path, text in files.items() if text is not None},
        out,
    )
    return out


def checked(path):
    """What is said, by ``CHECK/STATE``."""
    found: dict[str, str] = {}
    for check in validate(path, run=False):
        key = f"{check.name}/{check.state}"
        found[key] = f"{found.get(key, '')} {check.text}"
    return found


def test_a_good_plugin_passes_without_being_run(tmp_path):
    found = checked(submission(tmp_path))
    assert not [name for name in found if name.endswith("failed")], found
    assert "Doe, 2020" in found["reference/ok"]
    assert "not run" in found["tests/note"]


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"__init__.py": "import ("}, "source", "line 1"),
        ({"model.py": "(" * 5000}, "source", "no Python source"),
        ({"model.py": "x = 1\n\0"}, "source", "no Python source"),
        ({"__init__.py": "registry = model_registry\nregistry['a'] = 1"}, "registration", "very text"),
        ({"__init__.py": "for i in 'a':\n  model_registry[i] = 1"}, "registration", "very text"),
        ({"__init__.py": "model_registry['a/b'] = 1"}, "registration", "file names of ids"),
        ({"__init__.py": "model_registry['alexnet'] = 1"}, "names", "registered in Brain-Score already"),
        ({"test.py": None}, "tests", "no test.py"),
        ({"requirements.txt": "--index-url https://evil.example.org"}, "requirements", "no requirement"),
        ({"requirements.txt": "timm; rm -rf /"}, "requirements", "no requirement"),
        ({"model.py": "import itprobe.models"}, "requirements", "imports itprobe"),
        ({"region_layer_map/good_net.json": "[1]"}, "region_layer_map", "layer's name for each region"),
        ({"region_layer_map/good_net.json": "[" * 100_000}, "region_layer_map", "no JSON"),
        ({"region_layer_map/good_net.json": '{"IT": "a"}'}, "region_layer_map", "lacks V1, V2, V4"),
        ({"metadata.yml": "schema_version: 2.0\nmodels: {}"}, "metadata", "schema_version"),
        ({"metadata.yml": "a: &a [x]\nb: *a"}, "metadata", "anchors"),
        (
            {"metadata.yml": "!!python/object/apply:os.system ['touch /tmp/itprobe-was-here']"},
            "metadata",
            "YAML",
        ),
        ({"metadata.yml": METADATA.replace("good_net", "other")}, "metadata", "good_net, other"),
    ],
)
def test_every_fault_is_told_in_words(tmp_path, changes, name, reason):
    found = checked(submission(tmp_path, changes))
    assert reason in found[f"{name}/failed"]
    assert "not run: there are failures above" in found["tests/note"]


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({"region_layer_map/good_net.json": None}, "region_layer_map", "download recordings"),
        ({"metadata.yml": None}, "metadata", "show nothing"),
        ({"metadata.yml": "models: {good_net: {architecture: DCNN}}"}, "metadata", "before schema 2.0"),
        ({"__init__.py": GOOD["__init__.py"] * 2}, "registration", "twice"),
        ({"model.py": "BIBTEX = '@misc{x}'"}, "reference", "lacks author, year"),
        ({"refs.bib": BIBTEX + BIBTEX.replace("{x", "{y")}, "reference", "2 entries"),
        ({"requirements.txt": None}, "requirements", "no requirements.txt"),
        ({"requirements.txt": "git+https://github.com/x/y\n"}, "requirements", "may change"),
        ({"model.py": ""}, "reference", "without a reference"),
        ({".DS_Store": "x"}, "files", "hidden"),
        ({"__init__.py": "model_registry['good_net'] = lambda: m['a']\n"}, "registration", "second ']'"),
    ],
)
def test_what_is_worth_knowing_is_noted(tmp_path, changes, name, reason):
    found = checked(submission(tmp_path, changes))
    assert reason in found[f"{name}/note"]
    assert not [one for one in found if one.endswith("failed")], found


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"models/net/__init__.py": b""}, "one folder"),
        ({"s/models/net/__init__.py": b"", "t/models/net/__init__.py": b""}, "one folder"),
        ({"s/readme.txt": b"", "s/models/net/__init__.py": b""}, "one folder"),
        ({"s/model/net/__init__.py": b""}, "no kind of plugin"),
        ({"s/models/net/model.py": b""}, "no __init__.py"),
        ({"s/models/my net/__init__.py": b""}, "name the folder"),
        ({}, "one folder"),
        ({"s/models/net/__init__.py": b"#" * 10**6 + b"##"}, "of text"),
    ],
)
def test_folders_that_brain_score_would_not_find(files, reason):
    with pytest.raises(InputError, match=reason):
        find_plugins(files)


def test_hidden_files_outside_plugins_are_passed_over():
    left_by_macos = dict.fromkeys(("s/.DS_Store", "s/models/.DS_Store", "__MACOSX/s/models/._net"), b"")
    (plugin,) = find_plugins({"s/models/net/__init__.py": b"", **left_by_macos})
    assert list(plugin.files) == ["__init__.py"]


def test_ids_are_those_that_brain_score_finds(tmp_path, monkeypatch):
    """Against Brain-Score's list of new plugins and its search for one."""
    monkeypatch.setitem(sys.modules, "pytest_check", ModuleType("pytest_check"))
    from brainscore_core.plugin_management.parse_plugin_changes import get_plugin_ids

    sources = [
        "model_registry['one'] = lambda: 1\nmodel_registry[\"two\"] = lambda: 2\n",
        "x = 1  # model_registry['commented']\n",
        "my_model_registry['other'] = 1\nmodel_registry['a-b.c'] = dict(a=1)\n",
    ]
    for k, source in enumerate(sources):
        folder = tmp_path / str(k)
        unpack(read_archive(submission(tmp_path, {"__init__.py": source})), folder)
        (plugin,) = find_plugins(read_archive(tmp_path / "submission.zip"))
        theirs = get_plugin_ids("models", ["good_net"], str(folder / "s"))
        assert plugin.identifiers == theirs


def test_hostile_text_takes_no_time_and_no_control_signs_get_out(tmp_path):
    long = "model_registry['" * 60_000
    found = checked(
        submission(tmp_path, {"__init__.py": long, "refs.bib": "@misc{" * 100_000 + "{" * 300_000})
    )
    assert "failed" in str(found)
    (check,) = [Check("x", "failed", "red \x1b[31m \u202e")]
    assert str(check).isprintable()


@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_our_own_plugins_are_accepted(tmp_path, kind):
    made = native_plugin(kind)
    path = made.write(tmp_path / f"{kind}.zip")
    assert "itprobe==" in made.files["requirements.txt"].decode()
    (plugin,) = find_plugins(read_archive(path))
    checks = static_checks(plugin)
    assert not [check for check in checks if check.state == "failed"], checks
    assert len(plugin.identifiers) >= 4
    assert all(identifier.startswith("itprobe") for identifier in plugin.identifiers)
    compile(made.files["test.py"], "test.py", "exec")
    with pytest.raises(InputError, match="did you mean benchmarks"):
        native_plugin("benchmark")


def test_what_the_library_has_passes(tmp_path):
    """A sample of Brain-Score's own plugins: nothing is held against them but that their names are taken."""
    for name in ("alexnet", "pixels", "mobilenet_v2_1_0_224", "resnet50_tutorial", "hmax"):
        folder = library_folder() / "models" / name
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        files["__init__.py"] += b"# changed\n"
        checks = static_checks(SubmittedPlugin("models", name, files))
        assert [check.name for check in checks if check.state == "failed"] == ["names"], name
