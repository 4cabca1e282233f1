"""A submission, checked from the outside in: the archive, its text, and then what it does."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import MEGABYTE, read_archive
from itprobe.leaderboard.submission.checks import Check, find_plugins, static_checks
from itprobe.leaderboard.submission.environments import fresh_environment, present_environment
from itprobe.leaderboard.submission.processes import ended_by_sigterm
from itprobe.leaderboard.submission.trials import run_trials


def validate(
    path: str | Path, *, here: bool = False, python: str | None = None, run: bool = True
) -> Iterator[Check]:
    """Check a submission as Brain-Score would, and say what is found as soon as it is.

    Nothing of it is run before the archive and its text have passed; then its code runs with the rights of
    whoever calls this, in an environment and a home folder of its own.

    Parameters
    ----------
    path : str or Path
        Zip file.
    here : bool
        Use the packages that are installed here, in place of a new environment with the requirements.
    python : str, optional
        Interpreter for the new environment.
    run : bool
        Whether to run any of it at all.

    Yields
    ------
    Check
    """
    if here and python:
        raise InputError("--python chooses the interpreter of a new environment; leave it or --here out")
    failed = False
    try:
        files = read_archive(path)
        plugins = find_plugins(files)
    except InputError as error:
        yield Check("archive", "failed", f"{error} - nothing of it was unpacked or run")
        return
    size = sum(map(len, files.values())) / MEGABYTE
    yield Check(
        "archive", "ok", f"{len(files)} files, {size:.2f} MB; no links, pickles or paths that lead out"
    )
    for plugin in plugins:
        yield Check("plugin", "ok", f"{plugin.kind}/{plugin.name}")
        for check in static_checks(plugin):
            failed = failed or check.state == "failed"
            yield check
    if not run or failed:
        why = "there are failures above" if failed else "only its text was to be checked"
        yield Check("tests", "note", f"not run: {why}")
        return
    contents = {(plugin.kind, plugin.name): plugin.files for plugin in plugins}
    with tempfile.TemporaryDirectory(prefix="itprobe-validate-") as folder:
        scratch = Path(folder)
        try:
            with ended_by_sigterm():
                place = (
                    present_environment(contents, scratch)
                    if here
                    else fresh_environment(contents, scratch, python)
                )
        except InputError as error:
            yield Check("environment", "failed", str(error))
            return
        what = "the packages installed here" if here else "a new environment with the requirements"
        yield Check("environment", "ok", f"{what}, and a home folder of its own")
        for plugin in plugins:
            with ended_by_sigterm():  # not around a yield: what the caller does in between is theirs
                checks = run_trials(plugin, place, scratch)
            yield from checks
