"""Mappings as Brain-Score metrics: two assemblies in, a Score out."""

import numpy as np
import pandas as pd
from brainscore_core.metrics import Metric, Score
from brainscore_core.supported_data_standards.brainio.assemblies import DataAssembly, walk_coords

from itprobe.metrics.correlation import pearson_r
from itprobe.metrics.crossvalidate import check_same_stimuli, predict_held_out
from itprobe.metrics.gram import Gram, gram_matrix
from itprobe.metrics.mapping import Mapping
from itprobe.metrics.ridge import RidgeMapping
from itprobe.metrics.splits import DEFAULT_SEED, STRATIFY_BY, brainscore
from itprobe.metrics.whole_set import WholeSetMapping


class CrossValidatedPredictivity(Metric):
    """Correlation of predicted with measured responses over Brain-Score's own ten splits.

    Parameters
    ----------
    mapping : Mapping
    seed : int
        Brain-Score's cross-validation uses 1.
    """

    def __init__(self, mapping: Mapping | None = None, seed: int = DEFAULT_SEED) -> None:
        self.mapping = mapping or RidgeMapping()
        self.seed = seed

    def __call__(self, source: DataAssembly, target: DataAssembly) -> Score:
        """Predict `target` (presentation, neuroid) from `source` (presentation, neuroid).

        Rows are joined by stimulus_id; splits are drawn in the target's order, stratified by
        object_name where the target has it. For banded ridge each ``layer`` of the source, where its
        neuroids have one, is a feature space.

        Returns
        -------
        Score
            Mean over splits of the median over neuroids of r; ``raw`` holds r of each split and neuroid.

        Raises
        ------
        InputError
            If the two assemblies are not of the same stimuli, each shown once.
        """
        source, target = (a.transpose("presentation", "neuroid") for a in (source, target))
        ids = target["stimulus_id"].values
        stimuli, strata = pd.DataFrame({"stimulus_id": ids}), None
        if hasattr(target, STRATIFY_BY):  # levels of an index are not among an assembly's `coords`
            strata = stimuli[STRATIFY_BY] = target[STRATIFY_BY].values
        results = predict_held_out(
            assembly_grams(source, self.mapping.name),
            source["stimulus_id"].values,
            np.asarray(target.values, dtype=np.float64),
            ids,
            self.mapping,
            brainscore(stimuli, self.seed).splits,
            strata,
        )
        r = [pearson_r(result.responses, result.predictions) for result in results]
        coords = {name: (dims, values) for name, dims, values in walk_coords(target) if dims == ("neuroid",)}
        raw = Score(np.array(r), coords={"split": np.arange(len(r)), **coords}, dims=["split", "neuroid"])
        per_split = np.nanmedian(r, axis=1)
        score = Score(per_split.mean())
        score.attrs[Score.RAW_VALUES_KEY] = raw
        score.attrs["error"] = float(per_split.std() / np.sqrt(len(per_split)))
        return score


def assembly_grams(source: DataAssembly, mapping: str) -> list[Gram]:
    """Gram matrices of an assembly (presentation, neuroid): one, or one per ``layer`` for banded ridge."""
    values = np.asarray(source.values)
    if mapping != "banded" or not hasattr(source, "layer"):
        return [gram_matrix(values)]
    layers = source["layer"].values.astype(str)
    return [gram_matrix(values[:, layers == layer]) for layer in dict.fromkeys(layers)]


class WholeSetSimilarity(Metric):
    """Similarity of two representations over all stimuli at once (RSA, CKA).

    Parameters
    ----------
    mapping : WholeSetMapping
    seed : int
        Of the interval's bootstrap.
    """

    def __init__(self, mapping: WholeSetMapping, seed: int = DEFAULT_SEED) -> None:
        self.mapping = mapping
        self.seed = seed

    def __call__(self, source: DataAssembly, target: DataAssembly) -> Score:
        """Compare `source` with `target`, both (presentation, neuroid), rows joined by stimulus_id.

        Returns
        -------
        Score
            The similarity, with its 95 % interval as ``ci``.

        Raises
        ------
        InputError
            If the two assemblies are not of the same stimuli, each shown once.
        """
        source, target = (a.transpose("presentation", "neuroid") for a in (source, target))
        check_same_stimuli(source["stimulus_id"].values, target["stimulus_id"].values)
        rows = pd.Index(target["stimulus_id"].values).get_indexer(source["stimulus_id"].values)
        responses = np.asarray(target.values, dtype=np.float64)[rows]
        similarity = self.mapping.compare(gram_matrix(np.asarray(source.values)), responses, self.seed)
        score = Score(similarity.value)
        score.attrs["ci"] = similarity.ci95
        return score
