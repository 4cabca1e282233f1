"""Files that pages offer or load: all figures as CSV, and the data of the comparisons."""

import base64
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence

from itprobe.leaderboard.reported import Reported
from itprobe.leaderboard.result import Interval, Result
from itprobe.leaderboard.site.model_views import key_of, model_name
from itprobe.leaderboard.site.tables import Row, Table
from itprobe.leaderboard.site.words import plain
from itprobe.metrics.inference import LEVEL

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the start of a formula."""

NEUROID_COLUMNS = (
    "neuroid_id",
    "pearson_r",
    "explained_variance",
    "r2_er",
    "feve",
    "reliability",
    "alpha",
    "mean_predictor_splits",
)


def csv_text(columns: Sequence[str], rows: Sequence[dict[str, object]]) -> str:
    """CSV of rows by column name; texts that a spreadsheet would run as a formula get an apostrophe before them."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    text = plain(value, len(value) + 1)
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def table_csv(tables: Sequence[Table]) -> str:
    """All results of some tables, and below each the figures reported elsewhere."""
    rows = [record for table in tables for record in _records(table)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return csv_text(columns, rows)


def _records(table: Table) -> Iterator[dict[str, object]]:
    shared: dict[str, object] = {
        "recording": table.recording.id,
        "recording_sha256": table.key.recording_sha256,
        "simulated": table.recording.simulated,
        "region": table.key.region,
        "mapping": table.key.mapping,
        "split": table.key.split,
        "n_splits": table.key.n_splits,
        "seed": table.key.seed,
        "track": table.key.track,
    }
    for row in table.rows:
        yield {"kind": "measured", "table": table.name, **shared, **_measured(row)}
    for reported in table.reported:
        yield {"kind": "reported, not measured", "table": table.name, **shared, **_reported(reported)}


def _measured(row: Row) -> dict[str, object]:
    result, standing = row.result, row.standing
    return {
        "candidate": result.candidate.id,
        "model": model_name(result),
        "layer": result.candidate.layer,
        "control": result.candidate.track == "control",
        "weights": result.candidate.weights,
        "rank": standing.rank if standing else None,
        "tied_with": standing.tied if standing else None,
        "compared_with": standing.compared if standing else None,
        "not_tested": row.untested,
        **_scores(result),
        "n_features": result.candidate.n_features,
        "fitted_parameters": result.training[0].n_parameters if result.training else None,
        "effective_dimensionality": result.candidate.effective_dimensionality,
        "benchmark": result.benchmark.id,
        "benchmark_version": result.benchmark.version,
        "parameters": json.dumps(result.mapping.params, sort_keys=True),
        "variant": row.variant,
        "weights_sha256": result.candidate.weights_sha256,
        "predictions_sha256": result.predictions.sha256 if result.predictions else None,
        "started": result.provenance.started,
        "seconds": result.provenance.seconds,
        "device": result.provenance.device,
        "precision": result.provenance.precision,
        "features": result.provenance.features,
        "itprobe": result.provenance.itprobe,
        "warnings": " | ".join(result.warnings),
        "flags": " | ".join(row.entry.flags),
        "file": row.entry.path.name,
        "file_sha256": row.entry.sha256,
    }


def _scores(result: Result) -> dict[str, object]:
    scores = result.scores
    pearson, explained, ceiled = scores.pearson_r, scores.explained_variance, scores.ceiled
    corrected = scores.noise_corrected
    similarity = scores.similarity
    return {
        "r_median": pearson.median if pearson else None,
        **_ends("r", pearson.ci95 if pearson else None),
        "r_mean": pearson.mean if pearson else None,
        "ev_median": explained.median if explained else None,
        **_ends("ev", explained.ci95 if explained else None),
        "ev_mean": explained.mean if explained else None,
        "share_of_ceiling": ceiled.value if ceiled else None,
        **_ends("share", ceiled.ci95 if ceiled else None),
        "share_formula": ceiled.formula if ceiled else None,
        "r2_er_median": corrected.r2_er.median if corrected else None,
        "feve_median": corrected.feve.median if corrected else None,
        "similarity": similarity.value if similarity else None,
        **_ends("similarity", similarity.ci95 if similarity else None),
        "reliability_median": scores.reliability.median if scores.reliability else None,
    }


def _ends(name: str, interval: Interval | None) -> dict[str, object]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _reported(row: Reported) -> dict[str, object]:
    return {
        "candidate": row.label,
        f"r_{row.statistic}": row.r,
        f"ev_{row.statistic}": row.explained_variance,
        "source": f"{row.source}; {row.note}",
    }


def neuroids_csv(result: Result) -> str:
    """All neuroids of a result."""
    return csv_text(
        NEUROID_COLUMNS,
        [{name: getattr(neuroid, name) for name in NEUROID_COLUMNS} for neuroid in result.per_neuroid or []],
    )


def script_of(kind: str, content: object) -> str:
    """A script that hands data to the page: pages opened as files may load scripts, and nothing else.

    All is ASCII, and no ``<`` is in it, so that the text means the same wherever it stands.
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'itprobe.receive("{kind}",{text});\n'


def comparison_data(table: Table) -> Iterator[tuple[str, str]]:
    """Names and texts of the scripts of a comparison: the table's own, and one for each candidate.

    Draws are float32, r is given to four digits.
    """
    neuroids = next((row.result.per_neuroid for row in table.compared if row.result.per_neuroid), None) or []
    ids = [neuroid.neuroid_id for neuroid in neuroids]
    yield (
        "table",
        script_of(
            "table",
            {
                "level": LEVEL,
                "neuroids": [plain(name, 80) for name in ids],
                "ceilings": [_root(neuroid.reliability) for neuroid in neuroids],
                "candidates": [
                    {
                        "key": key_of(row),
                        "label": _label(row),
                        "r": row.tested.value,
                        "rank": row.standing.rank,
                    }
                    for row in table.compared
                    if row.tested is not None and row.standing is not None
                ],
            },
        ),
    )
    for row in table.compared:
        assert row.tested is not None
        draws = base64.b64encode(row.tested.draws.astype("<f4").tobytes()).decode()
        r = {neuroid.neuroid_id: neuroid.pearson_r for neuroid in row.result.per_neuroid or []}
        values = [None if r.get(name) is None else round(float(r[name] or 0), 4) for name in ids]
        yield key_of(row), script_of("candidate", {"key": key_of(row), "draws": draws, "r": values})


def _label(row: Row) -> str:
    variant = f" ({row.variant})" if row.variant else ""
    return f"{plain(row.result.candidate.id, 160)}{variant}"


def _root(reliability: float | None) -> float | None:
    return None if reliability is None else round(math.sqrt(max(reliability, 0.0)), 4)
