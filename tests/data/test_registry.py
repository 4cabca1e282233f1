import pytest

from itprobe.data import RECORDINGS, fetch_recording, load_recording
from itprobe.errors import InputError


def test_names():
    assert set(RECORDINGS) == {"simulated", "simulated_small", "MajajHong2015.public", "NX414"}


@pytest.mark.parametrize(
    ("name", "near"),
    [("simulate", "simulated"), ("majajhong2015", "MajajHong2015.public"), ("nx414", "NX414")],
)
def test_unknown_name_gives_the_nearest(name, near):
    with pytest.raises(InputError, match=f"unknown recording: '{name}'; did you mean .*{near}"):
        load_recording(name)


def test_fetch_of_what_is_not_downloaded():
    with pytest.raises(InputError, match="simulated is not downloaded"):
        fetch_recording("simulated")
    with pytest.raises(InputError, match="unknown recording: 'x'"):
        fetch_recording("x")
