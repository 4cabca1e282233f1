"""Splits against Brain-Score's own cross-validation and the sizes of the course."""

import numpy as np
import pandas as pd
import pytest

from itprobe.errors import InputError
from itprobe.metrics import SPLITS


def stimuli(n=640, objects=64, seed=0):
    ids = np.random.default_rng(seed).permutation([f"im{i:05d}" for i in range(n)])
    return pd.DataFrame({"stimulus_id": ids, "object_name": np.resize([f"o{k}" for k in range(objects)], n)})


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
def test_parts_never_overlap_and_seeds_differ(name):
    plan = SPLITS[name](stimuli(), 1)
    for split in plan.splits:
        assert not set(split.train) & set(split.test)
    other = SPLITS[name](stimuli(), 2)
    assert any(set(a.test) != set(b.test) for a, b in zip(plan.splits, other.splits, strict=True))


@pytest.mark.parametrize("name", ["course", "kfold"])
def test_row_order_does_not_matter(name):
    one, other = SPLITS[name](stimuli(seed=0).sort_values("stimulus_id"), 1), None
    table = stimuli(seed=0)
    other = SPLITS[name](table.sample(frac=1, random_state=0), 1)
    assert [sorted(s.test) for s in one.splits] == [sorted(s.test) for s in other.splits]


def test_without_objects_or_with_rare_ones_it_is_said():
    plain = SPLITS["brainscore"](stimuli()[["stimulus_id"]], 1)
    assert plain.coord is None
    assert "object_name" in plain.warnings[0]
    rare = SPLITS["brainscore"](stimuli(100, objects=100), 1)
    assert rare.coord is None
    assert "rarest with 1" in rare.warnings[0]


@pytest.mark.parametrize("name", SPLITS)
def test_too_few_stimuli(name):
    with pytest.raises(InputError, match="at least 20 stimuli"):
        SPLITS[name](stimuli(12, 2), 1)
