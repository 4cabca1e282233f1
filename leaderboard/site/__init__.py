"""A static site of a board: ranked tables with ties, models, comparisons; no server, no requests elsewhere."""

from itprobe.leaderboard.site.build import build_site

__all__ = ["build_site"]
