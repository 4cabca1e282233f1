"""A board: a folder of result files that anyone may submit to, read, checked and graded."""
