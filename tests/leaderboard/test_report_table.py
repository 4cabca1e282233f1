"""The report's Table I beside our runs: rows, forms for terminal, Markdown and CSV, and the picture."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from itprobe.errors import InputError
from itprobe.leaderboard import SIMULATED_NOTE
from itprobe.leaderboard.report_table import (
    FURTHER_ROWS,
    REPORT_ROWS,
    TableHeading,
    TableRow,
    draw_table,
    measured,
    to_csv,
    to_frame,
    to_markdown,
    to_text,
)

HEADING = TableHeading(
    "planted",
    "IT",
    "Nobody 2026",
    640,
    40,
    False,
    "course",
    "seeds 1, 2, 3, 4, 5",
    "efficientnet_lite0",
    0.87,
)
SUMMARY = {
    "explained_variance": {"mean": 0.41, "median": 0.4},
    "pearson_r": {"mean": 0.63, "median": 0.66, "ci95": (0.6, 0.7), "ci95_mean": (0.58, 0.68)},
    "ceiled": {"value": 0.55},
}


@pytest.fixture
def rows():
    """One row with everything, the others of the report as they were printed, and one of ours."""
    full = measured(
        REPORT_ROWS["layer2-trained"],
        SUMMARY,
        "efficientnet_lite0:_blocks.4",
        note="_blocks.4 stands for layer2",
    )
    full = replace(full, as_published=(1.5e-8, 0.0123), null99=(-0.031, 0.029))
    ours = measured(FURTHER_ROWS["finetuned"], SUMMARY, "finetuned+efficientnet_lite0", 1234.4)
    return [REPORT_ROWS["pixels"], full, *list(REPORT_ROWS.values())[2:], ours]


def line_of(text, label):
    return [line for line in text.splitlines() if label in line]


def test_rows_are_those_of_the_report_in_its_order():
    printed = [(row.label, row.reported_ev, row.reported_r) for row in REPORT_ROWS.values()]
    assert printed == [
        ("pixels", -0.0899, 0.2115),
        ("layer2, trained", 1.27e-08, 0.0151),
        ("layer2, random", 1.99e-05, 0.00736),
        ("layer3, trained", -0.0044, 0.0149),
        ("layer3, random", -0.0402, -0.0039),
        ("data-driven", 0.0012, 0.0769),
        ("dual-task", 0.0408, 0.2312),
        ("combined, layer2", 0.1901, 0.4397),
        ("combined, layer3", 0.2990, 0.5587),
        ("autoencoder", 0.0912, 0.3085),
    ]


def test_no_row_has_figures_of_ours_before_it_is_run():
    for row in [*REPORT_ROWS.values(), *FURTHER_ROWS.values()]:
        again = TableRow(row.label, row.track, row.reported_ev, row.reported_r)
        assert row == again
    assert all(row.reported_r is None for row in FURTHER_ROWS.values())
    assert {row.track for row in FURTHER_ROWS.values()} == {"frozen", "fitted", "control"}


def test_a_run_fills_a_row_and_leaves_what_was_reported(rows):
    row = rows[1]
    assert (row.reported_ev, row.reported_r) == (1.27e-08, 0.0151)
    assert (row.ev_mean, row.r_mean, row.r_median, row.ci95) == (0.41, 0.63, 0.66, (0.58, 0.68))
    assert row.share_of_ceiling == 0.55
    without = measured(REPORT_ROWS["pixels"], SUMMARY | {"ceiled": None}, "pixels")
    assert without.share_of_ceiling is None


def test_text_fits_the_terminal_and_keeps_the_reports_digits(rows):
    text = to_text(rows, HEADING)
    assert max(map(len, text.splitlines())) <= 120
    main, published = line_of(text, "layer2, trained ")[:2]
    assert main.split()[2:] == [
        "1.27e-08",
        "0.0151",
        "0.410",
        "0.630",
        "[0.580,",
        "0.680]",
        "0.660",
        "0.550",
        "-",
    ]
    assert published.split()[2:] == (
        ["1.27e-08", "0.0151", "1.5e-08", "0.012", "[-0.031,", "0.029]", "0.410", "0.630"]
    )
    assert line_of(text, "pixels")[0].split() == ["pixels", "-0.0899", "0.2115", *["-"] * 6]
    assert line_of(text, "fine-tuned")[0].split()[-9:] == (
        ["-", "-", "0.410", "0.630", "[0.580,", "0.680]", "0.660", "0.550", "1,234"]
    )
    assert "layer2, trained: efficientnet_lite0:_blocks.4; _blocks.4 stands for layer2." in text
    assert "mean over neuroids 0.870" in text
    assert SIMULATED_NOTE not in text


def test_what_was_reported_is_printed_digit_by_digit():
    text = to_text(list(REPORT_ROWS.values()), HEADING)
    assert line_of(text, "combined, layer3")[0].split()[2:4] == ["0.2990", "0.5587"]
    assert line_of(text, "layer2, random")[0].split()[2:4] == ["1.99e-05", "0.00736"]
    assert line_of(text, "layer3, random")[0].split()[2:4] == ["-0.0402", "-0.0039"]


def test_rows_stand_in_the_order_given(rows):
    text = to_text(rows, HEADING)
    places = [text.index(f"\n{row.label} ") for row in rows]
    assert places == sorted(places)


def test_without_the_reports_protocol_there_is_one_block(rows):
    text = to_text([replace(row, as_published=None, null99=None) for row in rows], HEADING)
    assert "published" not in text
    assert len(line_of(text, "layer2, trained ")) == 1


def test_markdown_is_a_table(rows):
    text = to_markdown(rows, HEADING)
    body = [line for line in text.split("\n\n")[1].splitlines() if line.startswith("|")]
    assert len(body) == 2 + len(rows)
    assert len({line.count("|") for line in body}) == 1
    assert text.startswith("**Table I: recording planted, region IT, 640 stimuli, 40 neuroids; split course")
    assert any(line.startswith("| layer2, trained ") for line in body)


def test_csv_gives_the_frame_back(rows, tmp_path):
    frame = to_frame(rows)
    again = pd.read_csv(to_csv(rows, tmp_path / "table.csv"), keep_default_na=False, na_values=[""])
    numbers = frame.select_dtypes("number").columns
    pd.testing.assert_frame_equal(again[numbers].astype(float), frame[numbers])
    assert again["label"].tolist() == [row.label for row in rows]
    assert frame.loc[1, ["as_published_ev", "as_published_r", "null99_low", "null99_high"]].tolist() == (
        [1.5e-8, 0.0123, -0.031, 0.029]
    )
    assert frame.loc[1, ["r_mean_ci95_low", "r_mean_ci95_high"]].tolist() == [0.58, 0.68]
    assert np.isnan(frame.loc[0, "r_mean"])
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_simulated_data_are_called_simulated(rows, drawn, tmp_path):
    simulated = replace(HEADING, simulated=True)
    picture = draw_table(rows, simulated, tmp_path / "table.svg")
    caption = picture.with_suffix(".txt").read_text(encoding="utf-8")
    for text in (to_text(rows, simulated), to_markdown(rows, simulated), caption):
        assert text.lstrip("*").startswith("Table I: simulated recording planted")
        assert SIMULATED_NOTE.split(":")[0] in text
    assert any("simulated recording planted" in text for text in drawn.words(picture))


def test_the_picture_names_rows_marks_and_ceiling(rows, drawn, tmp_path):
    path = draw_table(rows, HEADING, tmp_path / "table.svg")
    texts = drawn.words(path)
    assert {row.label for row in rows} <= set(texts)
    marks = {
        "reported, on its own images",
        "ours, 95 % interval",
        "as published, here",
        "99 % of shuffles",
        "ceiling √ρ = 0.87",
    }
    assert marks <= set(texts)
    caption = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "Nobody 2026" in caption
    assert "_blocks.4 stands for layer2" in caption


def test_the_same_rows_give_the_same_bytes(rows, drawn, tmp_path):
    for ending in ("png", "svg"):
        one, two = (draw_table(rows, HEADING, tmp_path / f"{k}.{ending}").read_bytes() for k in "ab")
        assert one == two
    assert drawn.whole(tmp_path / "a.png")


def test_the_report_alone_can_be_drawn_without_marks_of_ours(drawn, tmp_path):
    path = draw_table(list(REPORT_ROWS.values()), replace(HEADING, ceiling_r=None), tmp_path / "table.svg")
    texts = drawn.words(path)
    assert "reported, on its own images" in texts
    assert not {"ours, 95 % interval", "as published, here", "99 % of shuffles"} & set(texts)
    assert not any("ceiling" in text for text in texts)


def test_nothing_to_show_is_refused(tmp_path):
    with pytest.raises(InputError, match="no rows"):
        to_text([], HEADING)
    with pytest.raises(InputError, match="no rows"):
        draw_table([], HEADING, tmp_path / "table.png")
    with pytest.raises(InputError, match=r"must end in \.png or \.svg"):
        draw_table(list(REPORT_ROWS.values()), HEADING, tmp_path / "table.pdf")
