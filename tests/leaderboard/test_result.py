"""Result files: written whole, validated, and checked by digest."""

import json

import numpy as np
import pytest

from itprobe.api import plan_requests, score_requests
from itprobe.errors import InputError
from itprobe.leaderboard import draw_ranking, load_held_out, load_result, ranked, ranking_table
from itprobe.leaderboard.result import InterAnimal
from itprobe.metrics import paired_difference


@pytest.fixture
def scored(planted_file, tmp_path):
    """Pixels and the object's identity scored on the planted recording, with files."""
    requests = plan_requests(["pixels", "object_onehot"])
    return list(score_requests(requests, f"{planted_file}#IT-ridge", results=tmp_path / "results"))


def test_round_trip_of_result_and_predictions(scored):
    for item in scored:
        result = load_result(item.path)
        assert result == item.result
        held_out = load_held_out(result, item.path.parent)
        for mine, theirs in zip(held_out.predictions, item.held_out.predictions, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
        for mine, theirs in zip(held_out.stimulus_ids, item.held_out.stimulus_ids, strict=True):
            assert list(mine) == list(theirs)
        assert paired_difference(held_out, held_out).value == 0


def test_what_a_number_can_be_traced_to(scored):
    content = json.loads(scored[0].path.read_text())
    assert content["schema_version"] == 2
    assert content["candidate"]["n_features"] == 224 * 224 * 3
    assert content["split"] == {"name": "brainscore", "n_splits": 10, "seed": 1, "coord": "object_name"}
    assert len(content["recording"]["sha256"]) == len(content["recording"]["stimulus_set_sha256"]) == 64
    assert set(content["provenance"]) >= {"itprobe", "torch", "numpy", "device", "seed", "started", "seconds"}
    neuroids = content["per_neuroid"]
    assert len(neuroids) == content["recording"]["n_neuroids"] == 12
    means = [np.nan if n["pearson_r"] is None else n["pearson_r"] for n in neuroids]
    assert np.nanmedian(means) == pytest.approx(content["scores"]["pearson_r"]["median_of_means"])


def test_no_leftovers_and_a_second_run_replaces(scored, planted_file, tmp_path):
    before = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert len(before) == 4
    list(score_requests(plan_requests(["pixels"]), f"{planted_file}#IT-ridge", results=tmp_path / "results"))
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == before


def test_damaged_files_are_refused(scored, tmp_path):
    item = scored[0]
    content = json.loads(item.path.read_text())
    for change, message in (
        ({"schema_version": 3}, "schema version 3"),
        ({"surprise": 1}, "surprise"),
        ({"split": {}}, "split.name"),
    ):
        other = tmp_path / "other.json"
        other.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match=message):
            load_result(other)
    other.write_text(item.path.read_text()[:-30])
    with pytest.raises(InputError, match="cannot read"):
        load_result(other)
    result = load_result(item.path)
    predictions = item.path.parent / result.predictions.file
    predictions.write_bytes(predictions.read_bytes() + b"x")
    with pytest.raises(InputError, match="score again"):
        load_held_out(result, item.path.parent)


def test_long_ids_make_short_file_names(scored):
    result = scored[0].result
    long = result.candidate.model_copy(update={"id": "torchvision/" + "x" * 400})
    names = {
        result.model_copy(update={"candidate": long}).name,
        result.model_copy(update={"candidate": long.model_copy(update={"id": long.id + "y"})}).name,
    }
    assert len(names) == 2
    assert max(map(len, names)) <= 180


def test_corrected_scores_stand_beside_the_plain_ones(scored):
    for item in scored:
        content = json.loads(item.path.read_text())
        section = content["scores"]["noise_corrected"]
        assert set(section) == {"r2_er", "feve", "n_reliable", "least_reliability"}
        assert set(section["feve"]) == {
            *("median", "mean_reliable", "ci95", "ci95_mean_reliable"),
            "n_undefined",
        }
        reliable = [n["reliability"] is not None and n["reliability"] >= 0.3 for n in content["per_neuroid"]]
        assert section["n_reliable"] == sum(reliable)
        assert all({"r2_er", "feve"} <= set(neuroid) for neuroid in content["per_neuroid"])


def test_the_inter_animal_ceiling_stands_below_the_table(scored):
    result = scored[0].result
    between = InterAnimal(
        median=0.456, mean=0.4, by_animal={"a": 0.5, "b": None}, mapping="ridge", n_neuroids=12
    )
    scores = result.scores.model_copy(update={"inter_animal": between})
    text = ranking_table([result.model_copy(update={"scores": scores})])
    assert "Inter-animal ceiling: r 0.456 (median of 12 neuroids" in text
    assert "Inter-animal" not in ranking_table(
        [result.model_copy(update={"scores": result.scores.model_copy(update={"inter_animal": None})})]
    )


def test_ranking_table_and_picture(scored, tmp_path):
    results = [item.result for item in scored]
    text = ranking_table(results)
    best = ranked(results)[0]
    assert text.index(best.candidate.id) < text.index(ranked(results)[1].candidate.id)
    assert f"{best.scores.pearson_r.median:.3f}" in text
    assert "Ceiling: median reliability" in text
    assert "imulated" not in text
    picture = draw_ranking(results, tmp_path / "ranking.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
