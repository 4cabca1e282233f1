from hypothesis import given
from hypothesis import strategies as st

from itprobe.files import LONGEST_NAME, file_name_of


def test_names_of_ids():
    assert file_name_of("a/b:c", "d") == "a%2Fb%3Ac__d"
    assert file_name_of("./net.py::make") == "%2E%2Fnet.py%3A%3Amake"  # no hidden file


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=3))
def test_any_id_makes_one_visible_name_that_fits_in_a_folder(ids):
    name = file_name_of(*ids)
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= LONGEST_NAME
