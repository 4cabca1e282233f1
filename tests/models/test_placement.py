"""Where layers are kept, by planted sizes and costs."""

import math

from hypothesis import given
from hypothesis import strategies as st

from itprobe.models.placement import (
    Blocks,
    SpillCost,
    disk_seconds,
    fitting,
    image_blocks,
    place_spilled,
    recompute_seconds,
)


def test_as_many_layers_as_possible_stay_in_memory():
    sizes = {"a": 50, "b": 10, "c": 30}
    assert fitting(sizes, 100) == ["b", "c", "a"]
    assert fitting(sizes, 89) == ["b", "c"]
    assert fitting(sizes, 9) == []


def test_a_budget_is_split_between_images_held_and_a_batch():
    assert image_blocks(3200, 10, 1000, 4) == Blocks(held=76, met=12, batch=4)
    assert image_blocks(50, 10, 1000, 4) == Blocks(50, 12, 4)
    assert image_blocks(3200, 10, 90, 4) == Blocks(5, 2, 2)
    assert image_blocks(3200, 10, 20, 4) == Blocks(1, 1, 1)
    assert image_blocks(3200, 10, 19, 4) is None


@given(st.integers(2, 5000), st.integers(1, 10**7), st.integers(0, 10**10), st.integers(1, 64))
def test_what_is_held_and_met_stays_within_the_budget(n, image_bytes, budget, batch_size):
    blocks = image_blocks(n, image_bytes, budget, batch_size)
    assert (blocks is None) == (budget < 2 * image_bytes)
    if blocks is not None:
        assert 1 <= blocks.held <= n
        assert 1 <= blocks.batch <= batch_size
        assert blocks.met >= blocks.batch
        assert (blocks.held + blocks.met) * image_bytes <= budget


def test_disk_or_again_is_a_matter_of_cost():
    conv1 = SpillCost(n_bytes=10_000, seconds_per_image=0.01, n_blocks=3)
    assert disk_seconds(conv1, 1000) == 20
    assert recompute_seconds(conv1, 100) == 2
    assert place_spilled({"conv1": conv1}, 100, 1000, 10**6) == {"conv1": "recompute"}
    assert place_spilled({"conv1": conv1}, 100, 20_000, 10**6) == {"conv1": "disk"}
    many = SpillCost(10_000, 0.01, 99)
    assert place_spilled({"conv1": many}, 100, 1000, 10**6) == {"conv1": "disk"}
    deep = SpillCost(10_000, 1.0, 3)
    assert place_spilled({"deep": deep}, 100, 1000, 10**6) == {"deep": "disk"}
    slow_products = SpillCost(10_000, 0.01, 3, product_seconds=30)
    assert place_spilled({"conv1": slow_products}, 100, 1000, 10**6) == {"conv1": "disk"}


def test_without_room_on_disk_layers_are_computed_again_or_nowhere():
    deep = SpillCost(10_000, 1.0, 3)
    assert place_spilled({"deep": deep}, 100, 1000, 9_999) == {"deep": "recompute"}
    never = SpillCost(10_000, math.inf, 0)
    assert place_spilled({"never": never}, 100, 1000, 9_999) == {"never": "nowhere"}
    assert place_spilled({"never": never}, 100, 0, 10_000) == {"never": "disk"}
    # the room goes first to what cannot be computed again, then to what saves most by it
    deeper = SpillCost(10_000, 2.0, 3)
    layers = {"deep": deep, "deeper": deeper, "never": never}
    assert place_spilled(layers, 100, 1000, 20_000) == {
        "deep": "recompute",
        "deeper": "disk",
        "never": "disk",
    }
