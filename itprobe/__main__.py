"""``python -m itprobe`` is the same as ``itprobe``."""

from itprobe.cli import main

if __name__ == "__main__":
    main()
