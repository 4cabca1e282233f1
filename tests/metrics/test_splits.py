"""Splits against Brain-Score's own cross-validation and the sizes of the course."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.metrics import SPLITS

GROUPED = {
    "object_out": "object_name",
    "category_out": "category_name",
    "background_out": "background_id",
    "variation": "variation",
}
RANDOM = sorted(set(SPLITS) - {"category_out", "variation"})


def stimuli(n=640, objects=64, seed=0):
    ids = np.random.default_rng(seed).permutation([f"im{i:05d}" for i in range(n)])
    number = np.arange(n) % objects
    return pd.DataFrame(
        {
            "stimulus_id": ids,
            "object_name": [f"o{k}" for k in number],
            "category_name": [f"c{k // 8}" for k in number],
            "background_id": [f"b{k}" for k in np.arange(n) % 97],
            "variation": np.repeat([0, 3, 6], [n // 10, n // 2, n - n // 10 - n // 2]),
        }
    )


def test_brainscore_splits_are_brainscores():
    from brainscore_core.supported_data_standards.brainio.assemblies import NeuroidAssembly
    from brainscore_vision.metric_helpers.transformations import CrossValidation

    table = stimuli()
    assembly = NeuroidAssembly(
        np.zeros((len(table), 1)),
        coords={
            "stimulus_id": ("presentation", table["stimulus_id"]),
            "object_name": ("presentation", table["object_name"]),
            "neuroid_id": ("neuroid", ["a"]),
            "region": ("neuroid", ["IT"]),
        },
        dims=["presentation", "neuroid"],
    )
    values, theirs = CrossValidation(train_size=0.9, test_size=None)._split.build_splits(assembly)
    ours = SPLITS["brainscore"](table, 1)
    assert ours.coord == "object_name"
    assert len(ours.splits) == len(theirs) == 10
    for split, (train, test) in zip(ours.splits, theirs, strict=True):
        assert list(split.train) == list(values["stimulus_id"].values[train])
        assert list(split.test) == list(values["stimulus_id"].values[test])


def test_course_sizes_balance_and_own_parts():
    plan = SPLITS["course"](stimuli(3200), 1)
    assert (len(plan.splits[0].train), len(plan.splits[0].test)) == (2592, 288)
    table = stimuli(3200).set_index("stimulus_id")
    counts = table.loc[plan.splits[0].test, "object_name"].value_counts()
    assert counts.min() >= 4
    assert counts.max() <= 5
    own = stimuli(40).assign(split=["train"] * 30 + ["val"] * 10)
    split = SPLITS["course"](own, 1).splits[0]
    assert list(split.test) == list(own["stimulus_id"][30:])


@pytest.mark.parametrize("name", SPLITS)
def test_parts_never_overlap_and_the_seed_decides(name):
    plan = SPLITS[name](stimuli(), 1)
    for split in plan.splits:
        assert not set(split.train) & set(split.test)
    same = SPLITS[name](stimuli(), 1)
    assert all((a.test == b.test).all() for a, b in zip(plan.splits, same.splits, strict=True))


@pytest.mark.parametrize("name", RANDOM)
def test_seeds_differ(name):
    plan = SPLITS[name](stimuli(), 1)
    other = SPLITS[name](stimuli(), 2)
    assert any(set(a.test) != set(b.test) for a, b in zip(plan.splits, other.splits, strict=True))


@pytest.mark.parametrize("name", sorted(set(SPLITS) - {"brainscore"}))
@settings(max_examples=10, deadline=None)
@given(order=st.integers(0, 10**6), seed=st.integers(0, 10**6))
def test_row_order_does_not_matter(name, order, seed):
    table = stimuli(320, 32)
    one, other = SPLITS[name](table, seed), SPLITS[name](table.sample(frac=1, random_state=order), seed)
    for a, b in zip(one.splits, other.splits, strict=True):
        assert sorted(a.test) == sorted(b.test)
        assert sorted(a.train) == sorted(b.train)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(["object_out", "category_out", "background_out"]),
    sizes=st.lists(st.integers(4, 30), min_size=5, max_size=40),
    seed=st.integers(0, 10**6),
)
def test_no_group_stands_on_both_sides_and_every_stimulus_is_tested_once(name, sizes, seed):
    labels = np.repeat([f"g{k}" for k in range(len(sizes))], sizes)
    table = pd.DataFrame({"stimulus_id": [f"s{i:04d}" for i in range(len(labels))], GROUPED[name]: labels})
    plan = SPLITS[name](table.sample(frac=1, random_state=seed), seed)
    assert plan.coord == GROUPED[name]
    group = table.set_index("stimulus_id")[GROUPED[name]]
    for split in plan.splits:
        assert not set(group[split.train]) & set(group[split.test])
        assert len(split.train) + len(split.test) == len(table)
    assert sorted(np.concatenate([split.test for split in plan.splits])) == list(table["stimulus_id"])


def test_group_folds_are_even_and_categories_stand_alone():
    objects = SPLITS["object_out"](stimuli(), 1)
    assert len(objects.splits) == 10
    assert {len(split.test) for split in objects.splits} == {60, 70}  # 6 or 7 objects of 10 stimuli
    categories = SPLITS["category_out"](stimuli(), 1)
    table = stimuli().set_index("stimulus_id")["category_name"]
    assert [set(table[split.test]) for split in categories.splits] == [{f"c{k}"} for k in range(8)]
    few = SPLITS["object_out"](stimuli(objects=5), 1)
    assert [len(split.test) for split in few.splits] == [128] * 5


def test_variation_trains_low_and_tests_high_and_back():
    plan = SPLITS["variation"](stimuli(), 1)
    levels = stimuli().set_index("stimulus_id")["variation"]
    assert plan.coord == "variation"
    low_first, high_first = plan.splits
    assert set(levels[low_first.train]) == {0}
    assert set(levels[low_first.test]) == {3, 6}
    assert list(high_first.train) == list(low_first.test)
    assert list(high_first.test) == list(low_first.train)


@pytest.mark.parametrize("name", GROUPED)
def test_missing_columns_groups_and_labels_are_said(name):
    column = GROUPED[name]
    with pytest.raises(InputError, match=rf"needs the stimulus-set column {column}; .* columns stimulus_id"):
        SPLITS[name](stimuli()[["stimulus_id"]], 1)
    with pytest.raises(InputError, match=f"{column}.* there are 1: 3|all 640 stimuli have 3"):
        SPLITS[name](stimuli().assign(**{column: 3}), 1)
    with pytest.raises(InputError, match=f"{column} of every stimulus, 2 of 640"):
        SPLITS[name](stimuli().assign(**{column: [None, None] + [1.0] * 638}), 1)
    with pytest.raises(InputError, match="at least 10 and 3"):
        SPLITS[name](stimuli().assign(**{column: [1] + [2] * 5 + [3] * 634}), 1)


def test_variation_in_words_is_refused():
    with pytest.raises(InputError, match="needs numbers"):
        SPLITS["variation"](stimuli().assign(variation="low"), 1)


def test_without_objects_or_with_rare_ones_it_is_said():
    plain = SPLITS["brainscore"](stimuli()[["stimulus_id"]], 1)
    assert plain.coord is None
    assert "object_name" in plain.warnings[0]
    rare = SPLITS["brainscore"](stimuli(100, objects=100), 1)
    assert rare.coord is None
    assert "rarest with 1" in rare.warnings[0]


@pytest.mark.parametrize("name", SPLITS)
def test_too_few_stimuli(name):
    with pytest.raises(InputError, match="stimuli with responses, there are"):
        SPLITS[name](stimuli(12, 2), 1)
