"""Results ranked for the terminal."""

from tabulate import tabulate

from itprobe.leaderboard.result import Result

SIMULATED_NOTE = (
    "Simulated responses: these scores say nothing about the brain, and how trained and random networks "
    "rank follows from how the hidden teacher was planted."
)


def ranked(results: list[Result]) -> list[Result]:
    """Sort by the primary score, best first; equal scores by name; layers without a score come last."""
    return sorted(
        results, key=lambda result: (*_descending(result.scores.primary.value), result.candidate.id)
    )


def _descending(value: float | None) -> tuple[bool, float]:
    return value is None, -(value or 0.0)


def ranking_table(results: list[Result]) -> str:
    """Format results of one benchmark as a table, with the ceiling and remarks below it.

    Parameters
    ----------
    results : list of Result
        Of the same benchmark.
    """
    columns = _similarity_rows if results[0].scores.pearson_r is None else _predictivity_rows
    headers, rows = columns(ranked(results))
    table = tabulate(rows, headers=headers, disable_numparse=True, colalign=("right", "left", "left"))
    return "\n".join([heading(results[0]), "", table, "", *footnotes(results)])


def _similarity_rows(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of mappings that compare all stimuli at once."""
    rows = [
        [
            _place(place, result),
            result.candidate.id,
            result.candidate.track,
            number_text(result.scores.primary.value),
            interval_text(result.scores.primary.ci95),
            _count(result),
        ]
        for place, result in enumerate(results, start=1)
    ]
    return ["", "candidate", "track", results[0].mapping.name.upper(), "95% interval", "features"], rows


def _predictivity_rows(results: list[Result]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows of mappings that predict each neuroid."""
    rows = []
    for place, result in enumerate(results, start=1):
        pearson, explained = result.scores.pearson_r, result.scores.explained_variance
        assert pearson is not None
        assert explained is not None
        ceiled = result.scores.ceiled
        rows.append(
            [
                _place(place, result),
                result.candidate.id,
                result.candidate.track,
                number_text(pearson.median),
                interval_text(pearson.ci95),
                number_text(explained.median),
                number_text(ceiled.value if ceiled else None),
                interval_text(ceiled.ci95 if ceiled else None),
                _count(result),
            ]
        )
    headers = ["", "candidate", "track", "r", "95% interval", "EV", "of ceiling", "95% interval", "features"]
    return headers, rows


def _count(result: Result) -> str:
    """Features, or for fitted candidates the numbers that were fitted in a split."""
    if result.training:
        return f"{result.training[0].n_parameters:,} fitted"
    return "-" if result.candidate.n_features is None else f"{result.candidate.n_features:,}"


def _place(place: int, result: Result) -> str:
    return "-" if result.scores.primary.value is None else str(place)


def number_text(value: float | None) -> str:
    """Format a score; ``-`` where there is none."""
    return "-" if value is None else f"{value:.3f}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """Format an interval, e.g. ``[.512, .561]``; ``-`` where there is none."""
    return "-" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"


def heading(result: Result) -> str:
    """One line on what was predicted."""
    recording = result.recording
    kind = "simulated recording" if recording.simulated else "recording"
    return (
        f"{result.benchmark.id}: {kind} {recording.id}, region {recording.region}, "
        f"{recording.n_stimuli} stimuli, {recording.n_neuroids} neuroids, "
        f"{recording.repetitions_median:g} repetitions (median)"
    )


def footnotes(results: list[Result]) -> list[str]:
    """What the columns mean, the ceiling, and the warnings that the results carry."""
    first = results[0]
    params = ", ".join(f"{name} {value}" for name, value in first.mapping.params.items())
    lines = [
        f"{first.mapping.name.upper()} over all stimuli at once: {params}."
        if first.scores.pearson_r is None
        else f"r, EV: median over neuroids, mean over {first.split.n_splits} {first.split.name!r} splits (seed "
        f"{first.split.seed}); intervals: bootstrap over stimuli and neuroids."
    ]
    reliability = first.scores.reliability
    if reliability is not None and first.scores.ceiled is None:
        lines.append(
            f"No share of the ceiling: the median reliability {reliability.median:.3f} "
            f"{interval_text(reliability.ci95)} may be 0."
        )
    if reliability is not None and first.scores.ceiled is not None:
        lines.append(
            f"Ceiling: median reliability {reliability.median:.3f} {interval_text(reliability.ci95)} caps r² and "
            f"EV, its root {reliability.median**0.5:.3f} caps r; of ceiling = {first.scores.ceiled.formula}."
        )
    between = first.scores.inter_animal
    if between is not None:
        lines.append(
            f"Inter-animal ceiling: r {number_text(between.median)} (median of {between.n_neuroids} neuroids, each "
            f"predicted by {between.mapping} from the other animals' responses; their noise makes it a lower bound)."
        )
    if first.recording.simulated:
        lines.append(SIMULATED_NOTE)
    shared = [w for w in first.warnings if all(w in result.warnings for result in results)]
    lines += [f"Note: {warning}" for warning in shared if warning != SIMULATED_NOTE]
    for result in ranked(results):
        own = [warning for warning in result.warnings if warning not in shared]
        lines += [f"Note on {result.candidate.id}: {warning}" for warning in own]
    return lines
