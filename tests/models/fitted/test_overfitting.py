"""Candidates, at their default sizes and through their own `fit`, can learn 32 stimuli by heart."""

import numpy as np
import pytest

from itprobe.metrics import pearson_r
from itprobe.models import load_candidate
from itprobe.models.fitted import load_fitted

OFTEN = {"validation": "0", "patience": "0", "weight_decay": "0", "shift": "0"}
# Not `readout`: a factorised readout of these small maps has fewer numbers than there are stimuli. It learns noise by
# heart on larger ones, in test_networks; nor the autoencoder, whose bottleneck no response reaches.
CASES = {
    "convnet": ("convnet", {"epochs": "40"}),
    "dual_task": ("dual_task", {"epochs": "40"}),
    "autoencoder pulled": ("autoencoder", {"epochs": "60", "pull": "100"}),
    "combined": ("combined+{}:second", {"epochs": "60", "dropout": "0"}),
    "finetuned": ("finetuned+{}", {"epochs": "300", "backbone_rate": "1", "lr": "0.01"}),
}


@pytest.mark.slow
def test_a_probe_of_the_autoencoder_learns_32_stimuli(shown, own_home):
    """Nothing pulls the bottleneck to the responses: it holds them because it holds the images."""
    rows = np.arange(32)
    colours = shown.colours[rows].reshape(32, 12) / 255 - 0.5
    responses = colours @ np.random.default_rng(1).normal(size=(12, 40))
    candidate = load_fitted("autoencoder", "cpu", 0, {"patience": "0", "batch_size": "8"})
    candidate.fit(shown.part(rows), responses, shown.labels[rows])
    assert pearson_r(responses, candidate.predict(shown.part(rows))).mean() > 0.95


@pytest.mark.slow
def test_the_readout_learns_32_stimuli_with_its_penalties(shown, backbone, own_home):
    """Responses are where times what, and noise would take weights that its penalties do not allow."""
    rows, rng = np.arange(32), np.random.default_rng(2)
    ((_, features),) = load_candidate(backbone, "cpu").stream(shown.part(rows), ["first"], batch_size=32)
    maps = features["first"].reshape(32, 5, 64)
    responses = np.einsum("qs,qc,ncs->nq", rng.normal(size=(6, 64)), rng.normal(size=(6, 5)), maps)
    options = {"patience": "0", "epochs": "200", "batch_size": "8"}
    candidate = load_fitted(f"readout+{backbone}:first", "cpu", 0, options)
    candidate.fit(shown.part(rows), responses, shown.labels[rows])
    assert pearson_r(responses, candidate.predict(shown.part(rows))).mean() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_32_stimuli_are_learned_by_heart(case, shown, backbone, own_home):
    name, options = CASES[case]
    rows = np.arange(32)
    candidate = load_fitted(name.format(backbone), "cpu", 0, {**OFTEN, "batch_size": "8", **options})
    responses = np.random.default_rng(0).normal(size=(32, 4))  # noise: nothing but memory helps
    candidate.fit(shown.part(rows), responses, shown.labels[rows])
    assert pearson_r(responses, candidate.predict(shown.part(rows))).min() > 0.95
