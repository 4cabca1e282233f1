"""Rows of the report's Table I, each run from the same splits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np
import pandas as pd

from itprobe.api import build_result, result_of
from itprobe.benchmarks import Evaluation, PredictivityBenchmark, prepare_target
from itprobe.benchmarks.aggregate import bounds
from itprobe.benchmarks.as_published import PublishedLayer, as_published
from itprobe.benchmarks.evaluation import evaluate
from itprobe.benchmarks.features import Extraction, layer_grams
from itprobe.benchmarks.fitted import evaluate_fitted
from itprobe.benchmarks.identifiers import FITTED, BenchmarkId
from itprobe.benchmarks.reference_layers import reference_layers
from itprobe.benchmarks.target import default_region
from itprobe.data import load_recording, stimulus_set_sha256
from itprobe.errors import InputError, unknown_name
from itprobe.fitting import fitted_info, fitted_mapping
from itprobe.leaderboard import Result, save_result
from itprobe.leaderboard.report_table import (
    FURTHER_ROWS,
    REPORT_ROWS,
    TableHeading,
    TableRow,
    measured,
    to_frame,
)
from itprobe.metrics import MAPPINGS, SPLITS, Gram, SplitPlan, resample
from itprobe.metrics.store import GramStore
from itprobe.models import Candidate, NetworkCandidate, load_candidate, parse_candidate
from itprobe.models.fitted import load_fitted
from itprobe.provenance import provenance
from itprobe.tuned_parameters import NOT_TUNED, TunedParameters

PREFERRED, ALWAYS_THERE = "torchvision/resnet50", "efficientnet_lite0"
FROM_NOTHING = {"data-driven": "convnet", "dual-task": "dual_task", "autoencoder": "autoencoder"}

ROWS = {**REPORT_ROWS, **FURTHER_ROWS}


@dataclass(frozen=True)
class TableSettings:
    """What a table is made of.

    Attributes
    ----------
    recording : str
    region : str or None
        None: the recording's only one, or IT.
    backbone : str or None
        The network whose layers stand for the report's. None: torchvision/resnet50, or efficientnet_lite0 where
        its weights cannot be had, which the table then says.
    split : str
    seeds : tuple of int
        Of the splits: each draws the split anew, and all their test parts are scored together.
    random_seeds : int
        Networks with random weights that the row over seeds counts.
    rows : tuple of str
        Names in `ROWS`; all of them if empty.
    published : bool
        Run the report's protocol with its mistakes, too.
    device : str
    extraction : Extraction
    tuned : TunedParameters
        Of fitted candidates; the others keep their defaults.
    """

    recording: str
    region: str | None = None
    backbone: str | None = None
    split: str = "course"
    seeds: tuple[int, ...] = (1,)
    random_seeds: int = 3
    rows: tuple[str, ...] = ()
    published: bool = False
    device: str = "auto"
    extraction: Extraction = Extraction()
    tuned: TunedParameters = NOT_TUNED

    def __post_init__(self) -> None:
        """Refuse what does not exist, before anything is run."""
        for row in self.rows:
            if row not in ROWS:
                raise unknown_name("row of the table", row, ROWS)
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)
        if self.random_seeds < 1 or not self.seeds:
            raise InputError("a table needs at least one seed of splits and one of random weights")
        if self.published and self.split != "course":
            raise InputError(
                f"the report's protocol has one test part: --as-published goes with course, not {self.split}"
            )


@dataclass
class RowMaker:
    """Runs rows, each from the same splits."""

    settings: TableSettings
    out: Path | None
    results: list[Result] = field(default_factory=list)

    @cached_property
    def bench(self) -> PredictivityBenchmark:
        """Holds the target, which all rows share."""
        name = self.settings.recording
        assembly = load_recording(name)
        region = self.settings.region or default_region(assembly)
        made = PredictivityBenchmark(BenchmarkId(name, region, "ridge", self.settings.split))
        made.target = prepare_target(assembly, region)
        return made

    @cached_property
    def plan(self) -> SplitPlan:
        """The splits of all seeds."""
        draw = SPLITS[self.settings.split]
        plans = [draw(self.bench.target.stimuli, seed) for seed in self.settings.seeds]
        warnings = list(dict.fromkeys(warning for plan in plans for warning in plan.warnings))
        if len(plans) > 1:
            warnings.append(
                f"splits drawn with seeds {', '.join(map(str, self.settings.seeds))}, scored together"
            )
        return SplitPlan([split for plan in plans for split in plan.splits], plans[0].coord, warnings)

    @cached_property
    def digest(self) -> str:
        """Of the stimuli."""
        return stimulus_set_sha256(self.bench.target.stimulus_set)

    @cached_property
    def backbone(self) -> tuple[NetworkCandidate, str]:
        """The network, and what is to be said about it."""
        given = self.settings.backbone
        if given is not None:
            return self._network(given), ""
        try:
            return self._network(PREFERRED), ""
        except InputError:
            return self._network(ALWAYS_THERE), f" (weights of {PREFERRED} cannot be had here)"

    @cached_property
    def layers(self) -> tuple[str, str]:
        """What stands for the report's layer2 and layer3."""
        return reference_layers(self.backbone[0])

    @property
    def heading(self) -> TableHeading:
        """What all rows are scored on."""
        target, seeds = self.bench.target, self.settings.seeds
        rho = None if target.reliability is None else target.reliability.rho
        network, remark = self.backbone
        return TableHeading(
            recording=str(target.recording["identifier"]),
            region=target.region,
            citation=str(target.recording["citation"]),
            n_stimuli=len(target.stimuli),
            n_neuroids=len(target.neuroids),
            simulated=bool(target.recording["simulated"]),
            split=self.settings.split,
            seeds=f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}",
            backbone=f"{network.identifier}{remark}",
            ceiling_r=None if rho is None else float(np.nanmean(np.sqrt(np.clip(rho, 0, None)))),
        )

    def row(self, name: str) -> TableRow:
        """Run one row."""
        kind, _, which = name.partition("-")
        if name == "pixels" or name in ("object_onehot", "category_onehot", "latents"):
            mapping = "pcr" if name == "pixels" else "ridge"
            candidate = load_candidate(name)
            return self._mapped(name, candidate, candidate.layers()[0], mapping)
        if kind in ("layer2", "layer3"):
            layer = self.layers[kind == "layer3"]
            network = self.backbone[0] if which == "trained" else self._random(0)
            return self._mapped(name, network, layer, "pcr", f"stands for {kind}, {which}")
        if name == "ridge":
            return self._mapped(
                name, self.backbone[0], self.layers[1], "ridge", "all features of layer3's stand-in"
            )
        if name == "random-seeds":
            return self._over_seeds(name)
        return self._fitted(name)

    def _fitted_id(self, name: str) -> str:
        """Id of the candidate that a row stands for."""
        if name in FROM_NOTHING:
            return FROM_NOTHING[name]
        backbone = self.backbone[0].identifier
        if name == "finetuned":
            return f"finetuned+{backbone}"
        kind, _, which = name.partition("-")
        return f"{kind}+{backbone}:{self.layers[which != 'layer2']}"

    def _fitted(self, name: str) -> TableRow:
        seed, target = self.settings.seeds[0], self.bench.target
        identifier, tuned = self._fitted_id(name), self.settings.tuned
        candidate = load_fitted(identifier, self.settings.device, seed, tuned.options(identifier))
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
        evaluation = evaluate_fitted(candidate, target, self.plan, self.settings.split, seed)
        origin = provenance(candidate, "float32", seed, started, monotonic() - clock)
        bench = self._bench(FITTED)
        result = result_of(
            fitted_info(candidate), fitted_mapping(candidate), bench, evaluation, self.digest, origin
        )
        self._keep(result, evaluation)
        trained = [fit.trained.seconds for fit in evaluation.fits or [] if fit.trained]
        seconds = float(np.mean(trained)) if trained else None
        return measured(ROWS[name], evaluation.summary, candidate.identifier, seconds, tuned.note(identifier))

    def _mapped(self, name: str, candidate: Candidate, layer: str, mapping: str, note: str = "") -> TableRow:
        evaluation = self._evaluate(candidate, layer, mapping)
        said = f"{mapping}{f'; {note}' if note else ''}"
        shown = f"{candidate.identifier}:{layer}" if isinstance(candidate, NetworkCandidate) else name
        return measured(ROWS[name], evaluation.summary, shown, note=said)

    def _over_seeds(self, name: str) -> TableRow:
        """Mean over networks with random weights.

        Its interval is over stimuli and neuroids, drawn alike for all networks, like that of any other row; the
        networks themselves are too few to resample, and their range is in the note.
        """
        layer, seeds = self.layers[1], range(self.settings.random_seeds)
        rows, draws = [], []
        for seed in seeds:
            network = self._random(seed)
            evaluation = self._evaluate(network, layer, "ridge")
            rows.append(measured(ROWS[name], evaluation.summary, f"{network.identifier}:{layer}"))
            drawn = resample(evaluation.held_out, seed=self.settings.seeds[0])
            draws.append(drawn.aggregate("pearson_r", "mean"))
        r = [row.r_mean for row in rows if row.r_mean is not None]
        if not r:
            raise InputError(
                f"layer {layer} of networks with random weights gives every image the same activations"
            )
        note = f"ridge; mean over seeds {seeds[0]} to {seeds[-1]} of the weights, r from {min(r):.3f} to {max(r):.3f}"
        name_without = parse_candidate(self.backbone[0].identifier).name
        ci95 = bounds(np.mean(draws, axis=0))
        filled = replace(ROWS[name], candidate=f"{name_without}@random:{layer}", ci95=ci95, note=note)
        return replace(filled, **_means(rows))  # type: ignore[arg-type]

    def _evaluate(self, candidate: Candidate, layer: str, mapping: str) -> Evaluation:
        """Map one layer, and write its result file."""
        seed, target = self.settings.seeds[0], self.bench.target
        candidate.check_stimuli(target.stimulus_set)
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), monotonic()
        ((gram, ids),) = self._grams(candidate, [layer]).values()
        label = f"{candidate.identifier}:{layer}"
        evaluation = evaluate(gram, ids, target, MAPPINGS[mapping](), self.plan, seed, label)
        origin = provenance(candidate, self.settings.extraction.dtype, seed, started, monotonic() - clock)
        result = build_result(candidate, layer, self._bench(mapping), evaluation, self.digest, origin)
        self._keep(result, evaluation)
        return evaluation

    def _grams(self, candidate: Candidate, layers: Sequence[str]) -> dict[str, tuple[Gram, np.ndarray]]:
        """Gram matrices; those of all layers that the table needs of a network come from one pass."""
        stimuli = self.bench.target.stimulus_set
        if isinstance(candidate, NetworkCandidate):
            needed = [*layers, *self.layers, *(self._published_layers if self.settings.published else [])]
        else:
            needed = list(layers)
        found = layer_grams(
            candidate,
            stimuli,
            self.digest,
            list(dict.fromkeys(needed)),
            GramStore(),
            self.settings.extraction,
        )
        return {name: (gram, ids) for name, gram, ids in found if name in layers}

    @cached_property
    def _published_layers(self) -> list[str]:
        """From shallow to deep: the report's layer2 and layer3, and the last block, whose weights it used for all."""
        last = self.backbone[0].layers("blocks")[-1]
        return list(dict.fromkeys([*self.layers, last]))

    def with_published(self, rows: Mapping[str, TableRow]) -> tuple[list[TableRow], pd.DataFrame]:
        """Run the report's protocol on trained and random layers and put it beside the aligned rows."""
        filled, records = dict(rows), []
        target, seed = self.bench.target, self.settings.seeds[0]
        plan = SPLITS[self.settings.split](target.stimuli, seed)
        for which, network in (("trained", self.backbone[0]), ("random", self._random(0))):
            names = [name for name in (f"layer2-{which}", f"layer3-{which}") if name in filled]
            if not names:
                continue
            found = self._grams(network, self._published_layers)
            layers = {layer: found[layer][0] for layer in self._published_layers}
            protocols = as_published(layers, found[self.layers[0]][1], target, plan, seed)
            records += list(_records(which, protocols))
            for name in names:
                layer = protocols["as published"][self.layers[name.startswith("layer3")]]
                filled[name] = replace(
                    filled[name], as_published=(layer.ev_mean, layer.r_mean), null99=layer.null99
                )
        return list(filled.values()), pd.DataFrame(records)

    def _bench(self, mapping: str) -> PredictivityBenchmark:
        """The benchmark of a mapping, with the target that is there already."""
        made = PredictivityBenchmark(replace(self.bench.benchmark_id, mapping=mapping))
        made.target = self.bench.target
        return made

    def _keep(self, result: Result, evaluation: Evaluation) -> None:
        if self.out is not None:
            _, result = save_result(result, evaluation.held_out, self.out)
        self.results.append(result)

    def _network(self, identifier: str) -> NetworkCandidate:
        candidate = load_candidate(identifier, self.settings.device)
        if not isinstance(candidate, NetworkCandidate):
            raise InputError(f"--backbone {identifier} is no network; write e.g. {ALWAYS_THERE}")
        return candidate

    def _random(self, seed: int) -> NetworkCandidate:
        name = parse_candidate(self.backbone[0].identifier).name
        return self._network(f"{name}@random-{seed}")


def _means(rows: Sequence[TableRow]) -> dict[str, float]:
    """Figures of several runs of one row, averaged; those that a run lacks are left out."""
    table = to_frame(rows)[["ev_mean", "r_mean", "r_median", "share_of_ceiling"]]
    return {str(name): float(value) for name, value in table.mean(skipna=False).dropna().items()}


def _records(
    which: str, protocols: Mapping[str, Mapping[str, PublishedLayer]]
) -> Iterator[dict[str, object]]:
    for protocol, layers in protocols.items():
        for layer, scored in layers.items():
            low, high = scored.null99 or (np.nan, np.nan)
            yield {
                "weights": which,
                "layer": layer,
                "protocol": protocol,
                "ev_mean": scored.ev_mean,
                "r_mean": scored.r_mean,
                "null99_low": low,
                "null99_high": high,
                "inside_null99": scored.inside_null,
            }
