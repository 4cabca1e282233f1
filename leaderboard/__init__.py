"""Result files and what is made of them."""

from itprobe.leaderboard.diagnostics_figure import draw_diagnostics
from itprobe.leaderboard.figure import draw_ranking
from itprobe.leaderboard.ranking import SIMULATED_NOTE, ranked, ranking_table
from itprobe.leaderboard.result import Result
from itprobe.leaderboard.result_files import load_held_out, load_result, save_result

__all__ = [
    "SIMULATED_NOTE",
    "Result",
    "draw_diagnostics",
    "draw_ranking",
    "load_held_out",
    "load_result",
    "ranked",
    "ranking_table",
    "save_result",
]
