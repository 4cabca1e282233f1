"""`itprobe tune`: what it prints and writes, and mistakes in one line."""

import json

import pytest

from itprobe.cli import main

pytestmark = pytest.mark.usefixtures("one_thread")

pytest.importorskip("optuna")

FIXED = {"side": "16", "widths": "4", "hidden": "8", "epochs": "3", "shift": "0"}


def code_of(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["convnett"], "unknown fitted candidate: 'convnett'; did you mean convnet"),
        (["efficientnet_lite0"], "unknown fitted candidate: 'efficientnet_lite0'"),
        (["own.py::make"], "unknown fitted candidate: 'own.py::make'"),
        (["convnet", "--trials", "0"], "--trials must be at least 1, not 0"),
        (["convnet", "--split", "curse"], "unknown split: 'curse'; did you mean course"),
        (["convnet", "--region", "V9"], "V9"),
        (["convnet", "--set", "epoch=3"], "unknown parameter of convnet: 'epoch'"),
        (["combined+efficientnet_lite0@random"], "names no layer"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, text, planted_file, tmp_path, capsys):
    command = ["tune", *arguments, "--recording", planted_file, "--device", "cpu", "--out", tmp_path / "out"]
    assert code_of(command) == 2
    message = capsys.readouterr().err
    assert text in message
    assert len(message.strip().splitlines()) == 1


def test_the_command_prints_the_best_and_draws_the_study(visible_file, tmp_path, capsys):
    options = [part for name, value in FIXED.items() for part in ("--set", f"{name}={value}")]
    main(
        [
            "tune",
            "convnet",
            "--recording",
            visible_file,
            "--trials",
            "4",
            "--device",
            "cpu",
            "--out",
            str(tmp_path / "t"),
            *options,
        ]
    )
    printed = capsys.readouterr().out
    assert "convnet: best of 4 trials, r " in printed
    best = json.loads((tmp_path / "t" / "convnet.json").read_text())
    assert f"--set lr={best['parameters']['lr']}" in printed
    for ending in (".png", ".svg", ".txt"):
        assert (tmp_path / "t" / f"convnet{ending}").stat().st_size > 0
    assert "the test part was not read" in (tmp_path / "t" / "convnet.txt").read_text()
