import numpy as np
import pytest
import torch

from itprobe.errors import InputError
from itprobe.models.fitted.networks import ReadoutSettings, Targets, Task
from itprobe.models.fitted.readout import FactorisedReadout


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("mask", ["softmax", "l1"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (30, 2, 3), (6, 1, 1)])
def test_the_readout_is_the_double_sum_over_positions_and_channels(mask, shape):
    channels, height, width = shape
    readout = FactorisedReadout(shape, 4, ReadoutSettings(mask=mask)).double()
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter.copy_(torch.randn_like(parameter))
    features = torch.randn(3, *shape, dtype=torch.float64)
    masks = readout.masks().detach().view(4, height, width)
    expected = np.zeros((3, 4))
    for b, q, c, y, x in np.ndindex(3, 4, channels, height, width):
        expected[b, q] += (masks[q, y, x] * readout.weights[q, c] * features[b, c, y, x]).item()
    expected += readout.bias.detach().numpy()
    np.testing.assert_allclose(readout(features).detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("mask", ["softmax", "l1"])
def test_masks_start_flat(mask):
    readout = FactorisedReadout((3, 4, 5), 2, ReadoutSettings(mask=mask))
    np.testing.assert_allclose(readout.masks().detach(), np.full((2, 20), 1 / 20), rtol=1e-6)


@pytest.mark.parametrize("mask", ["softmax", "l1"])
def test_the_penalty_is_the_spread_of_masks_and_the_square_of_weights(mask):
    readout = FactorisedReadout((3, 2, 2), 2, ReadoutSettings(mask, mask_penalty=0.3, weight_penalty=0.7))
    weights = 0.7 * (readout.weights**2).sum().item() / 2
    assert readout.penalty().item() == pytest.approx(0.3 + weights, rel=1e-6)
    with torch.no_grad():
        # One position alone: no entropy; and as free mask -2 there and 0 elsewhere.
        readout.mask.fill_(-1000 if mask == "softmax" else 0)
        readout.mask[:, 1] = 0 if mask == "softmax" else -8
    spread = 0 if mask == "softmax" else 2
    assert readout.penalty().item() == pytest.approx(0.3 * spread + weights, rel=1e-5)


@pytest.mark.parametrize("mask", ["softmax", "l1"])
def test_the_readout_finds_where_and_what_a_neuroid_sees(mask):
    """Neuroids planted at one position and on one channel each."""
    features = torch.randn(400, 6, 4, 4)
    where, what = torch.tensor([3, 9, 14]), torch.tensor([0, 5, 2])
    responses = features.flatten(2)[:, what, where]
    network = ReadoutSettings(mask=mask, mask_penalty=0.02).build(Task((6, 4, 4), 3, 0))
    optimiser = torch.optim.AdamW(network.parameter_groups(1e-2, 0.01))
    for _ in range(400):
        optimiser.zero_grad()
        network.loss(network(features), features, Targets(responses, None), None).backward()
        optimiser.step()
    masks, weights = network.readout.masks().detach(), network.readout.weights.detach()
    assert masks.abs().argmax(1).tolist() == where.tolist()
    assert weights.abs().argmax(1).tolist() == what.tolist()
    assert (masks.abs().max(1).values / masks.abs().sum(1)).min() > 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReadoutSettings().build(Task((7, 96), 4, 0)), "these are 7 x 96; choose a layer before"),
        (lambda: ReadoutSettings(mask="L1"), "unknown mask of readout: 'L1'; did you mean l1?"),
        (lambda: ReadoutSettings(mask_penalty=-1), "readout: mask_penalty must be at least 0"),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(make, message):
    with pytest.raises(InputError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
