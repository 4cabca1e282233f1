"""Sweeps on several processes and on a Dask cluster: the same scores, one pass per model, workers that die."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread

import psutil
import pytest
import torch
import xarray as xr

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.cli import main
from itprobe.errors import InputError
from itprobe.metrics.store import GramStore
from itprobe.models import NetworkCandidate
from itprobe.sweeping import Settings, carry_out, sweep
from itprobe.sweeping.archive import Archive
from itprobe.sweeping.commission import _read_commission, joined, written_commission
from itprobe.sweeping.jobs import Entry, Progress
from itprobe.sweeping.schedule import merged
from itprobe.workers import WorkerDied, open_workers

pytestmark = pytest.mark.usefixtures("one_thread")

OPTIONS = {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
NET = """
import os, signal, time, torch
from pathlib import Path
HERE = Path(__file__)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 6, 3, stride=4)
        self.second = torch.nn.Conv2d(6, 6, 3)
    def forward(self, x):
        if len(x) > 2:  # more than it takes to see the shapes
            with HERE.with_name("passes").open("a") as file:
                file.write(f"{len(x)}\\n")
        return self.second(torch.relu(self.first(x)))
def make():
    begun = HERE.with_name("begun")
    if not begun.exists():
        begun.with_name("new").write_text(str(os.getpid()))
        begun.with_name("new").rename(begun)
        END
    HERE.with_name("threads").write_text(str(torch.get_num_threads()))
    return Net(), {"mean": (0, 0, 0), "std": (1, 1, 1), "size": 32}
"""
EFFICIENTNET = "efficientnet_lite0@random"
MAPPINGS = ["ridge", "banded", "cka"]


@pytest.fixture
def own_store(monkeypatch, tmp_path):
    """A way to begin with an empty Gram store."""

    def begin(name):
        monkeypatch.setenv("ITPROBE_HOME", str(tmp_path / name))

    begin("home")
    return begin


def network(folder: Path, end: str) -> str:
    """A user's network; the first process that loads it meets its end."""
    folder.mkdir()
    (folder / "net.py").write_text(NET.replace("END", end))
    return f"{folder / 'net.py'}::make"


def zoo(net: str) -> list[str]:
    """A user's code, which is one job, pixels, whose Gram matrix is stored, and a control that has none."""
    return [f"{net}:first", f"{net}:second", "pixels", "object_onehot"]


def scores_of(out: Path) -> dict[str, str]:
    """Scores and neuroids of each result file, as JSON."""
    return {
        path.name: json.dumps([content["scores"], content["per_neuroid"], content["warnings"]])
        for path in sorted((out / "results").glob("[!.]*.json"))  # the hidden ones are being written
        for content in [json.loads(path.read_text())]
    }


def check_equal(out, whole):
    """Bit for bit the same in all that a sweep writes."""
    assert scores_of(out) == scores_of(whole)
    assert (out / "sweep.csv").read_bytes() == (whole / "sweep.csv").read_bytes()
    with xr.open_dataset(out / "sweep.nc") as ours, xr.open_dataset(whole / "sweep.nc") as theirs:
        xr.testing.assert_identical(ours.load(), theirs.load())
    assert not list(out.glob(".*"))


class Inline:
    """Does jobs at once, in this process; those of `dying` models find their workers dead."""

    died, of_death, name = WorkerDied, "workers died", "nowhere"

    def __init__(self, *dying):
        self.dying, self.jobs = dying, []

    def submit(self, function, path, cargo, mapping):
        future = Future()
        name = "stuck" if b"no number" in cargo else pickle.loads(cargo)[0].name
        self.jobs.append((name, mapping))
        if name in self.dying:
            future.set_exception(WorkerDied())
        else:
            future.set_result(function(path, cargo, mapping))
        return future


@pytest.fixture
def passes(monkeypatch):
    """Names of models, once for each time that images went through them."""
    seen, original = [], NetworkCandidate._batches

    def counted(self, *arguments, **named):
        seen.append(self.identifier)
        return original(self, *arguments, **named)

    monkeypatch.setattr(NetworkCandidate, "_batches", counted)
    return seen


@pytest.mark.slow
def test_jobs_of_a_model_share_its_one_pass(planted_file, tmp_path, own_store, passes):
    net = network(tmp_path / "net", "pass")
    models = [*zoo(net), *(f"{EFFICIENTNET}:_blocks.{k}~pool1" for k in (0, 1))]
    settings = Settings(mappings=MAPPINGS)
    carry_out(models, planted_file, settings, tmp_path / "whole")
    assert set(passes) == {EFFICIENTNET, net}
    assert len(passes) == 2
    passes.clear()
    own_store("other")
    made = Inline()
    carry_out(models, planted_file, settings, tmp_path / "out", made)
    assert set(passes) == {EFFICIENTNET, net}
    assert len(passes) == 2
    followers = {(name, mapping) for name, mapping in made.jobs if mapping}
    assert followers == {(name, mapping) for name in ("pixels", EFFICIENTNET) for mapping in ("ridge", "cka")}
    check_equal(tmp_path / "out", tmp_path / "whole")
    # banded came first, and left what it needs of each layer
    passes.clear()
    carry_out([EFFICIENTNET], planted_file, Settings(layers=["_blocks.0"], mappings=MAPPINGS), None, made)
    assert passes == [EFFICIENTNET]
    assert len(made.jobs) == 4 + 4 + 3


def test_a_resumed_sweep_takes_no_second_pass(planted_file, tmp_path, own_store, passes):
    layers = {"layers": ["_blocks.0~pool1", "_blocks.1~pool1"]}
    carry_out([EFFICIENTNET], planted_file, Settings(**layers, mappings=["ridge"]), tmp_path / "out")
    GramStore().clear()
    passes.clear()
    made = Inline()
    settings = Settings(**layers, mappings=["ridge", "pls", "cka"])
    outcome = carry_out([EFFICIENTNET], planted_file, settings, tmp_path / "out", made)
    assert passes == [
        EFFICIENTNET
    ]  # ridge was there and brought nothing: pls and cka are not let loose at once
    assert outcome.n_taken_over == 2
    assert made.jobs == [(EFFICIENTNET, None)]
    passes.clear()
    again = carry_out([EFFICIENTNET], planted_file, settings, tmp_path / "out", made)
    assert (again.n_taken_over, passes) == (6, [])
    settings = replace(settings, layers=[*settings.layers, "_blocks.2~pool1"], resume="only-cache")
    skipping = carry_out([EFFICIENTNET], planted_file, settings, tmp_path / "out", made)
    assert (skipping.skipped, passes) == ({EFFICIENTNET: ["_blocks.2~pool1"]}, [])


def test_several_layers_at_once_and_failures_are_those_of_one_process(planted_file, tmp_path, own_store):
    net = network(tmp_path / "net", "pass")
    models = [f"{net}:first,second", f"{net}:first", f"{net}@random:fist", "torchvision/resnet5", "pixels"]
    one = carry_out(models, planted_file, Settings(mappings=MAPPINGS), tmp_path / "whole")
    many = carry_out(models, planted_file, Settings(mappings=MAPPINGS), tmp_path / "out", Inline())
    assert many.failures == one.failures
    assert len(many.failures) == 2
    check_equal(tmp_path / "out", tmp_path / "whole")


class Held(torch.nn.Sequential):
    """Can be copied, not packed."""

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("not to be packed")


class Stuck(Held):
    """Can be packed, and not unpacked."""

    def __reduce__(self):
        return int, ("no number",)


def test_modules_go_where_they_can(planted_file, tmp_path, own_store):
    twins = [torch.nn.Sequential(torch.nn.AvgPool2d(8)) for _ in range(2)]
    models = [Held(torch.nn.AvgPool2d(4)), *twins, Stuck(torch.nn.AvgPool2d(2))]
    settings = Settings(layers=["0"], mappings=["ridge", "cka"], preprocessing=OPTIONS)
    one = carry_out(models, planted_file, settings, tmp_path / "whole")
    made = Inline()
    many = carry_out(models, planted_file, settings, tmp_path / "out", made)
    assert made.jobs == [("Sequential", None)] * 2 + [("stuck", None)]
    assert many.failures == one.failures
    assert len(one.failures) == 1
    check_equal(tmp_path / "out", tmp_path / "whole")


def test_a_model_whose_workers_die_is_a_failure(planted_file, tmp_path, own_store):
    settings, made = Settings(mappings=MAPPINGS), Inline(EFFICIENTNET)
    outcome = carry_out([EFFICIENTNET, "pixels"], planted_file, settings, tmp_path / "out", made)
    assert outcome.failures == {EFFICIENTNET: "given up: workers died; finished results are kept"}
    assert outcome.table["model"].unique().tolist() == ["pixels"]


def entry(layer, mapping, model="m"):
    return Entry(model, None, layer, 0, mapping, Path(f"{layer}-{mapping}"))


def test_what_jobs_did_is_put_in_order():
    first = Progress([entry("b", "pls"), entry("a", "pls")], skipped={"m": []}, n_taken_over=1)
    later = Progress([entry("b", "ridge")], failures={"m": "bad"}, n_taken_over=2)
    last = Progress([entry("a", "cka")], failures={"m": "worse"})
    progress = joined([first, later, last], ["ridge", "pls", "cka"])
    order = [(one.layer, one.mapping) for one in progress.entries]
    assert order == [("b", "ridge"), ("b", "pls"), ("a", "pls"), ("a", "cka")]
    assert (progress.failures, progress.n_taken_over) == ({"m": "bad"}, 3)
    other = Progress([entry("b", "ridge", "n")])
    whole = merged([{1: later, -1: first, 2: last}, {-1: other}, {-1: other}], ["ridge", "pls", "cka"])
    assert whole.entries == [*progress.entries, *other.entries]
    assert whole.failures == {
        "m": "bad",
        "n": "n has the weights of another model of this sweep; give it once",
    }


@pytest.mark.slow
def test_two_processes_equal_one_though_one_of_them_dies(planted_file, tmp_path, own_store):
    net = network(tmp_path / "net", "os.kill(os.getpid(), signal.SIGKILL)")
    settings = Settings(mappings=["ridge", "cka"])
    with open_workers(2) as two:
        carry_out(zoo(net), planted_file, settings, tmp_path / "out", two)
    own_pid = int((tmp_path / "net" / "begun").read_text())
    assert own_pid != os.getpid()
    assert not psutil.pid_exists(own_pid)
    assert (tmp_path / "net" / "threads").read_text() == "1"
    n_batches = len((tmp_path / "net" / "passes").read_text().splitlines())
    own_store("other")
    carry_out(zoo(net), planted_file, settings, tmp_path / "whole")
    assert len((tmp_path / "net" / "passes").read_text().splitlines()) == 2 * n_batches
    check_equal(tmp_path / "out", tmp_path / "whole")


@pytest.mark.slow
def test_a_cluster_equals_one_process_though_one_worker_is_killed(planted_file, tmp_path, own_store):
    distributed = pytest.importorskip("distributed")
    net = network(tmp_path / "net", "time.sleep(300)")
    begun, killed = tmp_path / "net" / "begun", []

    def kill(cluster):
        while not begun.exists():
            time.sleep(0.01)
        pid = int(begun.read_text())
        if pid in {worker.pid for worker in cluster.workers.values()}:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    with distributed.LocalCluster(
        2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path / "dask"
    ) as cluster:
        killer = Thread(target=kill, args=[cluster], daemon=True)
        killer.start()
        settings = Settings(mappings=["ridge", "cka"])
        address, out = cluster.scheduler_address, tmp_path / "out"
        sweep(zoo(net), planted_file, mappings=settings.mappings, out=out, scheduler=address)
    assert len(killed) == 1
    own_store("other")
    carry_out(zoo(net), planted_file, settings, tmp_path / "whole")
    check_equal(tmp_path / "out", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_sweep_that_is_stopped_goes_on_where_it_stood(planted_file, tmp_path, own_store, sent):
    net = network(tmp_path / "net", "pass")
    out, models = tmp_path / "out", [*zoo(net), "category_onehot", f"{net}@random-1:first"]
    arguments = ["sweep", *models, "--recording", planted_file, "--mappings", "ridge,pls"]
    process = psutil.Popen(
        [sys.executable, "-m", "itprobe", *arguments, "--out", str(out), "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests themselves run in a shell's background, they inherit that SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(scores_of(out)) < 2:
        time.sleep(0.01)
    children = [child for child in process.children(recursive=True) if "loky" in " ".join(child.cmdline())]
    process.send_signal(sent)
    message = process.communicate()[1]
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; finished results stay" in message
    assert len(children) >= 2
    assert not psutil.wait_procs(children, timeout=60)[1]
    assert len(scores_of(out)) >= 2
    for folder in (out, tmp_path / "whole"):
        with pytest.raises(SystemExit) as ended:  # one of the models has no scores on this recording
            main([*arguments, "--out", str(folder)])
        assert ended.value.code == 2
    assert scores_of(out) == scores_of(tmp_path / "whole")
    assert (out / "sweep.csv").read_bytes() == (tmp_path / "whole" / "sweep.csv").read_bytes()


def test_an_error_of_ours_leaves_no_commission_behind(planted_file, tmp_path, monkeypatch):
    monkeypatch.setattr(PredictivityBenchmark, "evaluate_gram", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        carry_out(["pixels"], planted_file, Settings(), tmp_path / "out", Inline())
    assert not list((tmp_path / "out").glob(".*"))


def test_a_worker_that_sees_something_else_says_so(planted, tmp_path, monkeypatch):
    archive = Archive(tmp_path / "out" / "results")
    with pytest.raises(InputError, match="must lie where all workers see it"):
        _read_commission(str(tmp_path / "out" / ".jobs-1.pickle"))
    with written_commission([], "", Settings(), archive) as path:
        monkeypatch.setattr("itprobe.sweeping.commission.versions", lambda: {"itprobe": "0.0.0"})
        with pytest.raises(InputError, match=r"has itprobe 0\.0\.0, the sweep has"):
            _read_commission(path)
