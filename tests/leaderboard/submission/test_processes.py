"""Processes and folders of a submission's tests go with whoever started them, on SIGTERM as on Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from itprobe.leaderboard.submission.archive import write_archive
from itprobe.leaderboard.submission.processes import ENDED, ended_by_sigterm, run_process

REGISTERS = "from brainscore_vision import metric_registry\nmetric_registry['m'] = 1\n"
ENDLESS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open({told!r} + ".part", "w") as stream:
    stream.write(f"{{os.getpid()}} {{child.pid}}")
os.rename({told!r} + ".part", {told!r})
time.sleep(600)
"""


def wait_for(condition, seconds=120):
    """Until something is so; the limit is for a test that would hang."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(pid):
    """Whether a process runs; one that ended and that nobody has asked about since does not."""
    return subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
    ).stdout.strip()[:1] not in ("", "Z")


def pids_in(told):
    wait_for(told.exists)
    return [int(pid) for pid in told.read_text().split()]


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGTERM, ENDED), (signal.SIGINT, 130)],
    ids=["SIGTERM", "Ctrl-C"],
)
@pytest.mark.slow
def test_validate_that_is_ended_leaves_no_process_and_no_folder(tmp_path, sent, code):
    told, scratch = tmp_path / "told", tmp_path / "scratch"
    scratch.mkdir()
    files = {"__init__.py": REGISTERS, "test.py": ENDLESS.format(told=str(told))}
    zipped = write_archive(
        {f"s/metrics/m/{name}": text.encode() for name, text in files.items()}, tmp_path / "a.zip"
    )
    validating = subprocess.Popen(
        [sys.executable, "-m", "itprobe", "validate", str(zipped), "--here"],
        env={**os.environ, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        pids = pids_in(told)
        assert len(pids) == 2 and list(scratch.glob("itprobe-validate-*"))
        validating.send_signal(sent)
        _, complaint = validating.communicate(timeout=300)
    finally:
        validating.kill()
    assert validating.returncode == code
    assert "Traceback" not in complaint
    assert list(scratch.glob("itprobe-validate-*")) == []
    wait_for(lambda: not any(is_running(pid) for pid in pids))


def test_handlers_are_put_back_and_those_of_others_left_alone():
    mine = []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(SystemExit) as ended, ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGTERM, lambda *_: mine.append(1))
    try:
        with ended_by_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert mine == [1]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_outside_the_main_thread_nothing_is_handled():
    found = []

    def work():
        with ended_by_sigterm():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]


def test_output_and_exit_code_are_given():
    done = run_process(
        [sys.executable, "-S", "-c", "import sys; print('a'); sys.exit('b')"], minutes=5, env=os.environ
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "a\n", "b\n")
