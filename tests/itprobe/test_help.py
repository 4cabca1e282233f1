"""Every command explains itself."""

import argparse

import pytest

from itprobe.cli import build_parser, main


def commands(parser, before=()):
    """Names of all commands and of what stands below them."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                found += [(*before, name), *commands(below, (*before, name))]
    return found


@pytest.mark.parametrize("command", [(), *commands(build_parser())], ids=" ".join)
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: {' '.join(['itprobe', *command])}")
    assert "%(" not in printed
    assert "%%" not in printed


def test_all_commands_are_known_here():
    assert {("score",), ("table",), ("leaderboard", "build")} <= set(commands(build_parser()))
