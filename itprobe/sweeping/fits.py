"""Which fits a sweep makes of a model's layers: each by itself, and all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from itprobe.benchmarks import PredictivityBenchmark
from itprobe.benchmarks.inter_animal import InterAnimalCeiling
from itprobe.errors import InputError
from itprobe.metrics import DEFAULT_SEED, BandedRidgeMapping
from itprobe.sweeping.plan import Settings, sweep_mappings

FEWEST_COMBINED, MOST_COMBINED = 3, 32
"""How many layers can be combined: two are `itprobe partition`'s, and each costs as much as all together."""


@dataclass(frozen=True)
class Job:
    """One fit of a sweep.

    Attributes
    ----------
    layer : str
        Several are joined by commas.
    bench : PredictivityBenchmark
    label : str
        The layer as it stands beside progress bars and in warnings.
    inner_folds : int
        On which the layer is also scored within the training stimuli; 0 where no layer is chosen.
    """

    layer: str
    bench: PredictivityBenchmark
    label: str
    inner_folds: int = 0

    @property
    def mapping(self) -> str:
        """Name of the mapping."""
        return self.bench.benchmark_id.mapping


class PartBenchmark(PredictivityBenchmark):
    """A fit that serves comparison with another, whose ceilings are the same."""

    def inter_animal(self, seed: int = DEFAULT_SEED) -> InterAnimalCeiling | None:
        """None: it says nothing that the other fit's does not."""
        return None


def planned_jobs(
    layers: Sequence[str], benches: Sequence[PredictivityBenchmark], settings: Settings
) -> list[Job]:
    """Every layer of a model under every mapping.

    Layers joined by commas are scored under banded ridge alone, if it is asked for. Inner folds are for
    mappings that are fitted, where there are layers to choose between.

    Parameters
    ----------
    layers : sequence of str
    benches : sequence of PredictivityBenchmark
        One per mapping.
    settings : Settings
    """
    of_bench = {
        bench: [layer for layer in layers if bench in _applicable(benches, layer)] for bench in benches
    }
    folds = {
        bench: settings.inner_folds if bench.fitted and len(of_bench[bench]) > 1 else 0 for bench in benches
    }
    return [
        Job(layer, bench, layer, folds[bench])
        for layer in layers
        for bench in benches
        if layer in of_bench[bench]
    ]


def _applicable(benches: Sequence[PredictivityBenchmark], layer: str) -> list[PredictivityBenchmark]:
    banded = [bench for bench in benches if bench.benchmark_id.mapping == "banded"]
    return banded if "," in layer and banded else list(benches)


@dataclass(frozen=True)
class JointFits:
    """Fits of several layers of a model together.

    Attributes
    ----------
    everything : Job
        All layers by banded ridge.
    equal : Job
        The same with equal shares.
    without : dict of str to Job
        All layers but the one named.
    """

    everything: Job
    equal: Job
    without: dict[str, Job]

    @property
    def jobs(self) -> list[Job]:
        """All of them."""
        return [self.everything, self.equal, *self.without.values()]


def joint_fits(
    layers: Sequence[str], benches: Sequence[PredictivityBenchmark], settings: Settings
) -> JointFits | None:
    """Fits of all single layers together by banded ridge, in equal shares, and without each of them.

    A fit without a layer tries the shares that the fit of all layers tries, with that layer's set to 0, so that
    what the layer adds is not the luck of other draws.

    Parameters
    ----------
    layers, benches, settings
        As in `planned_jobs`.

    Returns
    -------
    JointFits or None
        None for fewer than three layers.

    Raises
    ------
    InputError
        If there are more layers than anyone would wait for.
    """
    single = [layer for layer in layers if "," not in layer]
    if len(single) < FEWEST_COMBINED:
        return None
    if len(single) > MOST_COMBINED:
        raise InputError(
            f"{len(single)} layers cannot be combined, at most {MOST_COMBINED}; name fewer with --layers"
        )
    whole = next((bench for bench in benches if bench.benchmark_id.mapping == "banded"), None)
    if whole is None:
        whole = _banded(PredictivityBenchmark, benches[0], settings, sweep_mappings(settings)["banded"])
    mapping = whole.fitted
    assert isinstance(mapping, BandedRidgeMapping)

    def part(names: Sequence[str], shares: np.ndarray, label: str) -> Job:
        candidates = tuple(map(tuple, shares.tolist()))
        bench = _banded(PartBenchmark, benches[0], settings, replace(mapping, candidates=candidates))
        return Job(",".join(names), bench, label)

    n_layers = len(single)
    shares = mapping.shares(n_layers)
    return JointFits(
        Job(",".join(single), whole, f"{n_layers} layers"),
        part(single, np.full((1, n_layers), 1 / n_layers), f"{n_layers} layers in equal shares"),
        {
            layer: part(
                [name for name in single if name != layer],
                shares_without(shares, place),
                f"{n_layers} layers but {layer}",
            )
            for place, layer in enumerate(single)
        },
    )


def _banded(
    kind: type[PredictivityBenchmark],
    other: PredictivityBenchmark,
    settings: Settings,
    mapping: BandedRidgeMapping,
) -> PredictivityBenchmark:
    """A benchmark of banded ridge with the target of another one."""
    bench = kind(replace(other.benchmark_id, mapping="banded", split=settings.split), mapping=mapping)
    bench.target = other.target
    return bench


def shares_without(shares: np.ndarray, place: int) -> np.ndarray:
    """Shares (c, m) of feature spaces with one of them taken out, each different one once, (c', m - 1)."""
    rest = np.delete(shares, place, axis=1)
    rest = rest[rest.sum(axis=1) > 0]
    rest /= rest.sum(axis=1, keepdims=True)
    _, first = np.unique(rest.round(12), axis=0, return_index=True)
    return rest[np.sort(first)]
