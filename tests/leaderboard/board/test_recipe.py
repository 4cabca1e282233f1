"""The recipe of docs/board.md: its steps, run in a repository of their own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from itprobe.leaderboard.board.adding import add_result
from itprobe.leaderboard.board.reading import read_board

DOCUMENT = Path(__file__).parents[3] / "docs" / "board.md"


def steps(job):
    """Scripts of a job that need nothing of GitHub's own."""
    (recipe,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    scripts = [step["run"] for step in yaml.safe_load(recipe)["jobs"][job]["steps"] if "run" in step]
    return [script for script in scripts if "pip install" not in script]


def run(script, repository, **variables):
    here = str(Path(sys.executable).parent)
    who = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    environment = {**os.environ, **who, "PATH": f"{here}:{os.environ['PATH']}", **variables}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=repository, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def repository(small, tmp_path):
    """A board with one result, and its branch `main` on a server."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    path = tmp_path / "repository"
    add_result(small.objects, path / "results", small.assembly)
    started = run(
        f"git init -q -b main . && git add . && git commit -q -m board && git init -q --bare {tmp_path}/server && "
        f"git remote add origin {tmp_path}/server && git push -q -u origin main && git checkout -q -b contribution",
        path,
    )
    assert started.returncode == 0, started.stderr
    return path


def contribute(repository, files):
    (repository / "submissions").mkdir(exist_ok=True)
    for file in files:
        shutil.copy(file, repository / "submissions")
    assert run("git add . && git commit -q -m mine", repository).returncode == 0


@pytest.mark.slow
def test_a_contribution_is_checked_and_then_published(small, submission, repository, tmp_path):
    contribute(repository, submission.parent.iterdir())
    before = sorted((repository / "results").iterdir())
    for script in steps("check"):
        done = run(script, repository, GITHUB_BASE_REF="main", RUNNER_TEMP=str(tmp_path))
        assert done.returncode == 0, done.stderr
    assert sorted((repository / "results").iterdir()) == before
    assert run("git checkout -q main && git merge -q contribution", repository).returncode == 0
    for script in steps("publish"):
        done = run(script, repository)
        assert done.returncode == 0, done.stderr
    assert len(read_board(repository / "results").entries) == 2
    assert not (repository / "submissions").exists()
    assert run("git status --porcelain --untracked-files=no", repository).stdout == ""
    assert (repository / "site" / "index.html").is_file()
    assert run("git log origin/main -1 --format=%s", repository).stdout == "Add 1 results\n"


def merged_and_published(repository):
    """What the steps after a push to main end with, each run whatever came before it."""
    assert run("git checkout -q main && git merge -q contribution", repository).returncode == 0
    return [run(script, repository) for script in steps("publish")]


@pytest.fixture
def wrong(small, change, tmp_path):
    """A result that is refused, and its predictions; their names come first."""
    path = change.copy(small.pixels, tmp_path / "wrong")
    predictions = json.loads(path.read_text())["predictions"]["file"]
    (path.parent / predictions).rename(path.parent / "a wrong one.predictions.nc")
    change.rewrite(path, lambda content: content["scores"]["pearson_r"].update(median=0.99))
    change.rewrite(path, lambda content: content["predictions"].update(file="a wrong one.predictions.nc"))
    return path.rename(path.with_name("a wrong one.json"))


@pytest.mark.slow
def test_what_is_refused_after_a_merge_fails_the_run_and_stops_nothing_else(wrong, submission, repository):
    contribute(repository, [*wrong.parent.iterdir(), *submission.parent.iterdir()])
    moved, built, told = merged_and_published(repository)
    assert moved.returncode == 0, moved.stderr
    assert "a wrong one.json: " in moved.stderr and "is claimed to be 0.99" in moved.stderr
    assert built.returncode == 0, built.stderr
    assert len(read_board(repository / "results").entries) == 2
    assert (repository / "site" / "index.html").is_file()
    assert run("git log origin/main -1 --format=%s", repository).stdout == "Add 1 results\n"
    left = {path.name for path in (repository / "submissions").iterdir()}
    assert left == {"a wrong one.json", "a wrong one.predictions.nc"}
    assert told.returncode == 1
    assert "::error file=submissions/a wrong one.json::" in told.stdout
    assert run("git checkout -q -B contribution && git rm -q -r submissions", repository).returncode == 0
    contribute(repository, [])
    assert [done.returncode for done in merged_and_published(repository)] == [0, 0, 0]


@pytest.mark.slow
def test_a_contribution_is_checked_without_what_was_refused_before_it(
    wrong, submission, repository, tmp_path
):
    variables = {"GITHUB_BASE_REF": "main", "RUNNER_TEMP": str(tmp_path)}
    contribute(repository, wrong.parent.iterdir())
    assert run("git push -q origin contribution:main && git fetch -q", repository).returncode == 0
    contribute(repository, submission.parent.iterdir())
    for script in steps("check"):
        done = run(script, repository, **variables)
        assert done.returncode == 0, done.stderr
    assert run("git push -q origin contribution:main && git fetch -q", repository).returncode == 0
    (repository / "submissions" / "a wrong one.predictions.nc").write_bytes(b"other predictions")
    contribute(repository, [])
    check = steps("check")[1]
    assert run(f"rm -r '{tmp_path}/board'", repository).returncode == 0
    done = run(check, repository, **variables)
    assert done.returncode == 2
    assert "a wrong one.json: " in done.stderr and submission.name not in done.stderr + done.stdout


def test_contributions_that_change_the_board_or_are_wrong_fail(submission, repository, change, tmp_path):
    only, check = steps("check")
    variables = {"GITHUB_BASE_REF": "main", "RUNNER_TEMP": str(tmp_path)}
    change.rewrite(submission, lambda content: content["scores"]["pearson_r"].update(median=0.99))
    contribute(repository, submission.parent.iterdir())
    assert run(only, repository, **variables).returncode == 0
    done = run(check, repository, **variables)
    assert done.returncode == 2
    assert "pearson_r.median is claimed to be 0.99" in done.stderr
    (repository / "results" / "by-hand.json").write_text("{}")
    contribute(repository, [])
    assert run(only, repository, **variables).returncode != 0
