"""Every command and every piece of Python in the README runs, in order, in one empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDING = ROOT.parent / "shared" / "recordings" / "macaque_v4_cowley2023"
BLOCK = re.compile(r"^```(sh|python) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(not RECORDING.is_dir(), reason="the real recordings are not beside this checkout")
def test_readme_runs(tmp_path):
    for name in ("images.zip", "counts.npz"):
        (tmp_path / name).symlink_to(RECORDING / name)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RESULTCACHING_HOME": str(tmp_path / "result-caching"),
        "BRAINIO_HOME": str(tmp_path / "brainio"),
    }
    ran = []
    for language, note, code in BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8")):
        if code.startswith("make "):
            continue  # .ci/run calls these
        if note.startswith("file="):
            (tmp_path / note.removeprefix("file=")).write_text(code)
            continue
        command = ["bash", "-euc", code] if language == "sh" else [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        if note == "network":  # where there is none, it says so in one line
            assert done.returncode in (0, 2), done.stderr
        else:
            assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
        ran.append(code)
    assert len(ran) >= 8
    assert (tmp_path / "v4-results" / "v4.nc%23V4-ridge.png").exists()
