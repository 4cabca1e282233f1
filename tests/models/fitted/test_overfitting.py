"""Candidates, at their default sizes and through their own `fit`, can learn 32 stimuli by heart."""

import numpy as np
import pytest

from itprobe.metrics import pearson_r
from itprobe.models.fitted import load_fitted

OFTEN = {"validation": "0", "patience": "0", "weight_decay": "0", "shift": "0"}
# Not `readout`: a factorised readout of these small maps has fewer numbers than there are stimuli. It learns 32 by
# heart on larger ones, in test_networks.
CASES = {
    "convnet": ("convnet", {"epochs": "40"}),
    "dual_task": ("dual_task", {"epochs": "40"}),
    "autoencoder pulled": ("autoencoder", {"epochs": "60", "pull": "100"}),
    "combined": ("combined+{}:second", {"epochs": "60", "dropout": "0"}),
    "finetuned": ("finetuned+{}", {"epochs": "300", "backbone_rate": "1", "lr": "0.01"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_32_stimuli_are_learned_by_heart(case, shown, backbone, own_home):
    name, options = CASES[case]
    rows = np.arange(32)
    candidate = load_fitted(name.format(backbone), "cpu", 0, {**OFTEN, "batch_size": "8", **options})
    responses = np.random.default_rng(0).normal(size=(32, 4))  # noise: nothing but memory helps
    candidate.fit(shown.part(rows), responses, shown.labels[rows])
    assert pearson_r(responses, candidate.predict(shown.part(rows))).min() > 0.95
