"""Figures that others printed, shown beside measured ones: reported, not measured here, and never ranked."""

from collections.abc import Iterator
from dataclasses import dataclass

from itprobe.data.majajhong2015 import IDENTIFIER as MAJAJHONG
from itprobe.data.nx414 import IDENTIFIER as NX414
from itprobe.leaderboard.report_table import REPORT_ROWS


@dataclass(frozen=True)
class Reported:
    """One figure or pair of figures.

    Attributes
    ----------
    label, source, note : str
        What it is of, who printed it, and what stands between it and a figure of ours.
    track : {"frozen", "fitted"}
        Table that it stands below.
    recordings : tuple of str
    region : str
    mapping, split : str or None
        None: of any.
    r : float
    statistic : {"mean", "median"}
        Over neuroids.
    explained_variance : float or None
    """

    label: str
    source: str
    note: str
    track: str
    recordings: tuple[str, ...]
    region: str
    mapping: str | None
    split: str | None
    r: float
    statistic: str
    explained_variance: float | None = None


REPORT = 'Report "Predicting IT Neuron Activity", Table I'
REPORT_NOTE = "its own 288 validation images, which it also tuned on; mean over 168 sites"
BRAIN_SCORE = "Brain-Score, MajajHong2015public.IT-pls"
BRAIN_SCORE_NOTE = "raw r before the ceiling, Brain-Score's own implementation and splits"
BRAIN_SCORE_R = {"pixels": 0.2255, "AlexNet": 0.580, "ResNet-18": 0.562}
BRAIN_SCORE_CEILING = 0.8158

ROWS = (
    *(
        Reported(
            row.label,
            REPORT,
            REPORT_NOTE,
            "fitted" if row.track == "fitted" else "frozen",
            (NX414,),
            "IT",
            None,
            "course",
            row.reported_r,
            "mean",
            row.reported_ev,
        )
        for row in REPORT_ROWS.values()
        if row.reported_r is not None
    ),
    *(
        Reported(
            label,
            BRAIN_SCORE,
            BRAIN_SCORE_NOTE,
            "frozen",
            (MAJAJHONG,),
            "IT",
            "pls",
            "brainscore",
            r,
            "median",
        )
        for label, r in {**BRAIN_SCORE_R, "IT ceiling": BRAIN_SCORE_CEILING}.items()
    ),
)
"""All of them: the report's Table I and Brain-Score's published scores."""


def reported_beside(recording: str, region: str, track: str, mapping: str, split: str) -> Iterator[Reported]:
    """Figures that may stand below a table of this recording, region, track, mapping and split."""
    for row in ROWS:
        if (
            recording in row.recordings
            and (region, track) == (row.region, row.track)
            and row.mapping in (None, mapping)
            and row.split in (None, split)
        ):
            yield row
