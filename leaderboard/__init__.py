"""Room leaderboard."""
