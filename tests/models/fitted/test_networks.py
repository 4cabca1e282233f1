import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import RELU_GAIN, conv_stages, initialised
from itprobe.models.fitted.networks import (
    NETWORKS,
    AutoencoderSettings,
    CombinedSettings,
    ConvNetSettings,
    DualTaskSettings,
    FinetunedSettings,
    ReadoutSettings,
    Targets,
    Task,
)

# Small sizes: what is tested does not depend on them.
SMALL = {
    "convnet": ConvNetSettings(widths=(8, 8, 16), hidden=32, dropout=0.0),
    "dual_task": DualTaskSettings(widths=(8, 8, 16), head_widths=(16, 16), hidden=32, dropout=0.0),
    "autoencoder": AutoencoderSettings(widths=(8, 16, 16), hidden=64, bottleneck=48),
    "autoencoder_pulled": AutoencoderSettings(widths=(8, 8, 16), hidden=32, pull=1.0),
    "combined": CombinedSettings(widths=(16, 16), hidden=(64, 32), dropout=0.0),
    "readout": ReadoutSettings(mask_penalty=0.0, weight_penalty=0.0),
    "readout_softmax": ReadoutSettings(mask="softmax", mask_penalty=0.0, weight_penalty=0.0),
    "finetuned": FinetunedSettings(head="pool", dropout=0.0, backbone_rate=1.0),
    "finetuned_readout": FinetunedSettings(
        head="readout", backbone_rate=1.0, mask_penalty=0.0, weight_penalty=0.0
    ),
}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def tiny_backbone(side=32):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * (side // 2) ** 2, 10),
    )


def built(name, task):
    chosen = SMALL[name]
    if not isinstance(chosen, FinetunedSettings):
        return chosen.build(task)
    return chosen.build(task, tiny_backbone(task.input_shape[1]), "3")


def batch(task, b, generator=None):
    inputs = torch.randn(b, *task.input_shape, generator=generator)
    objects = torch.arange(b) % task.n_objects if task.n_objects else None
    responses = torch.randn(b, task.n_neuroids, generator=generator)
    return inputs, Targets((responses - responses.mean(0)) / responses.std(0, correction=0), objects)


def parameters(network):
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


# --- shapes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [32, 50, 64])
@pytest.mark.parametrize("name", SMALL)
def test_outputs_have_the_shapes_of_their_task(name, side):
    task = Task((3, side, side), 7, 5)
    outputs = built(name, task)(torch.randn(2, *task.input_shape))
    expected = {"responses": (2, 7)}
    if name == "dual_task":
        expected["objects"] = (2, 5)
    if name.startswith("autoencoder"):
        expected = {"images": (2, 3, side, side), "bottleneck": (2, 48)}
    if name == "autoencoder_pulled":
        expected |= {"bottleneck": (2, 7), "responses": (2, 7)}
    assert {key: tuple(values.shape) for key, values in outputs.items()} == expected


@given(
    st.sampled_from(["combined", "readout", "readout_softmax"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_maps_of_any_size_give_responses(name, shape, q):
    network = built(name, Task(shape, q, 0)).eval()
    assert network(torch.randn(3, *shape))["responses"].shape == (3, q)


def test_images_need_not_be_square_for_the_autoencoder():
    task = Task((3, 24, 41), 6, 0)
    assert built("autoencoder", task)(torch.randn(2, 3, 24, 41))["images"].shape == (2, 3, 24, 41)


def test_every_architecture_of_the_contract_is_registered():
    assert list(NETWORKS) == ["convnet", "dual_task", "autoencoder", "combined", "readout", "finetuned"]
    assert all(settings_class() == settings_class() for settings_class in NETWORKS.values())


@pytest.mark.parametrize(
    ("head", "per_neuroid"),
    [("ridge", 16 * 16 * 16 + 1), ("pool", 16 + 1), ("readout", 16 * 16 + 16 + 1)],
)
def test_finetuned_has_the_backbone_up_to_its_layer_and_a_head(head, per_neuroid):
    network = FinetunedSettings(head=head).build(Task((3, 32, 32), 9, 0), tiny_backbone(), "3")
    backbone = (9 * 3 * 8 + 8) + 2 * 8 + (9 * 8 * 16 + 16)
    assert parameters(network) == backbone + 9 * per_neuroid


# --- how networks begin ----------------------------------------------------------------------------


def test_he_weights_have_their_variance():
    layer = initialised(nn.Conv2d(64, 128, 3), RELU_GAIN)
    expected = 2 / (64 * 9)
    # The sample variance of n normal numbers has a relative standard error of sqrt(2 / n).
    assert layer.weight.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / layer.weight.numel()))
    assert (layer.bias == 0).all()


def test_a_chain_of_he_layers_keeps_the_mean_square():
    chain = nn.Sequential()
    for _ in range(10):
        chain.extend([initialised(nn.Linear(512, 512), RELU_GAIN), nn.ReLU()])
    values = torch.randn(256, 512).relu()
    assert 0.6 < (chain(values).square().mean() / values.square().mean()).item() < 1.7


@pytest.mark.parametrize("side", [32, 64])
def test_the_trunk_keeps_variance_forward_and_backward(side):
    stages, _ = conv_stages((3, side, side), (32, 64, 128))
    values = torch.randn(32, 3, side, side)
    squares, kept = [], []
    for stage in stages:
        values = stage(values)
        values.retain_grad()
        kept.append(values)
        squares.append(values.square().mean().item())
    (values * torch.randn_like(values)).sum().backward()
    assert max(squares) / min(squares) < 1.3
    assert 0.5 < squares[-1] < 3
    norms = [tensor.grad.square().sum().item() for tensor in kept]
    assert max(norms) / min(norms) < 5


@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith("autoencoder")])
def test_an_untrained_network_costs_as_much_as_the_mean_predictor(name):
    task = Task((3, 32, 32), 20, 8)
    network = built(name, task)
    inputs, targets = batch(task, 64)
    outputs = network(inputs)
    assert ((outputs["responses"] - targets.responses) ** 2).mean().item() == pytest.approx(1, abs=0.08)
    if name == "dual_task":
        # 1/2 regression + classification, each 1 and each over a variance of 1.
        assert network.loss(outputs, inputs, targets, None).item() == pytest.approx(1.5, abs=0.08)


def test_an_untrained_autoencoder_costs_as_much_as_the_mean_image():
    task = Task((3, 32, 32), 20, 0)
    network = built("autoencoder", task)
    inputs, targets = batch(task, 16)
    assert network.loss(network(inputs), inputs, targets, None).item() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_builds_the_same_network(name):
    task = Task((3, 32, 32), 4, 3)
    backbone = tiny_backbone()
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        chosen = SMALL[name]
        is_finetuned = isinstance(chosen, FinetunedSettings)
        network = chosen.build(task, backbone, "3") if is_finetuned else chosen.build(task)
        states.append(network.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


# --- learning --------------------------------------------------------------------------------------


def correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).mean().item()


def trained(network, inputs, targets, steps, lr=3e-3, weights=None):
    optimiser = torch.optim.AdamW(network.parameter_groups(lr, 1e-4))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    network.train()
    for _ in range(steps):
        optimiser.zero_grad()
        network.loss(network(inputs), inputs, targets, weights).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@pytest.mark.parametrize("name", [name for name in SMALL if name != "autoencoder"])
def test_every_network_overfits_32_noise_stimuli(name):
    on_layer = name.startswith(("readout", "combined"))
    task = Task((64, 4, 4), 6, 0) if on_layer else Task((3, 32, 32), 6, 8)
    inputs, targets = batch(task, 32)
    faster = name.startswith(("readout", "finetuned"))
    network = trained(built(name, task), inputs, targets, 200 if faster else 100, 1e-2 if faster else 3e-3)
    with torch.no_grad():
        outputs = network(inputs)
    if name == "dual_task":
        assert (outputs["objects"].argmax(1) == targets.objects).float().mean() > 0.95
    assert correlation(outputs["responses"], targets.responses) > 0.95


def test_the_autoencoder_rebuilds_32_coarse_noise_images():
    coarse = torch.randn(32, 3, 4, 4)
    images = nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")
    network = built("autoencoder", Task((3, 16, 16), 6, 0))
    trained(network, images, Targets(torch.zeros(32, 6), None), steps=200, lr=1e-2)
    with torch.no_grad():
        rebuilt = network(images)["images"]
    assert correlation(rebuilt.flatten(1).T, images.flatten(1).T) > 0.95


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name):
    task = Task((3, 32, 32), 5, 4)
    network = built(name, task)
    if "readout" in name:
        chosen = replace(SMALL[name], mask_penalty=0.1, weight_penalty=0.1)
        backbone = (tiny_backbone(), "3") if isinstance(chosen, FinetunedSettings) else ()
        network = chosen.build(task, *backbone)
    inputs, targets = batch(task, 16)
    network.loss(network(inputs), inputs, targets, None).backward()
    for parameter_name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize(
    "name", ["convnet", "dual_task", "autoencoder_pulled", "combined", "readout", "finetuned"]
)
def test_neuroids_without_weight_leave_no_trace_in_the_loss(name):
    task = Task((3, 32, 32), 4, 3)
    network = built(name, task).eval()
    inputs, targets = batch(task, 6)
    weights = torch.tensor([2.0, 2.0, 0.0, 0.0])
    changed = targets.responses.clone()
    changed[:, 2:] += 100
    outputs = network(inputs)
    first = network.loss(outputs, inputs, targets, weights)
    assert network.loss(outputs, inputs, Targets(changed, targets.objects), weights).item() == first.item()
    assert network.loss(outputs, inputs, Targets(changed, targets.objects), None) > first + 10


@pytest.mark.parametrize("name", SMALL)
def test_parameter_groups_hold_every_trainable_parameter_once(name):
    network = built(name, Task((3, 32, 32), 4, 3))
    groups = network.parameter_groups(1e-3, 0.01)
    grouped = [id(p) for group in groups for p in group["params"]]
    trainable = {id(p) for p in network.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == trainable
    kept_out = network.no_decay()
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    by_name = dict(network.named_parameters())
    assert all(id(by_name[key]) not in decayed for key in kept_out)
    assert all(key in kept_out for key, p in by_name.items() if key.endswith("bias") or p.ndim <= 1)
    assert {group["weight_decay"] for group in groups} <= {0.0, 0.01}


def test_the_loss_weights_of_dual_task_are_not_decayed_and_learn_faster():
    network = DualTaskSettings(widths=(8,), head_widths=(8,), balance_rate=5).build(Task((3, 32, 32), 4, 3))
    assert "balance.log_variances" in network.no_decay()
    rates = [
        g
        for g in network.parameter_groups(1e-3, 0.1)
        if any(p is network.balance.log_variances for p in g["params"])
    ]
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in rates] == [(pytest.approx(5e-3), 0.0, 1)]


def test_a_fixed_balance_adds_the_relative_cross_entropy():
    task = Task((3, 32, 32), 4, 3)
    inputs, targets = batch(task, 6)
    network = DualTaskSettings(widths=(8,), head_widths=(8,), balance=0.5).build(task).eval()
    outputs = network(inputs)
    error = ((outputs["responses"] - targets.responses) ** 2).mean()
    entropy = nn.functional.cross_entropy(outputs["objects"], targets.objects) / math.log(3)
    assert network.loss(outputs, inputs, targets, None).item() == pytest.approx(
        (error + entropy / 2).item(), rel=1e-6
    )


def test_the_pulled_autoencoder_adds_the_error_of_its_bottleneck():
    task = Task((3, 32, 32), 4, 0)
    inputs, targets = batch(task, 6)
    network = AutoencoderSettings(widths=(8, 8), hidden=16, pull=3.0).build(task).eval()
    outputs = network(inputs)
    images = ((outputs["images"] - inputs) ** 2).mean()
    pulled = ((outputs["bottleneck"] - targets.responses) ** 2).mean()
    assert network.loss(outputs, inputs, targets, None).item() == pytest.approx(
        (images + 3 * pulled).item(), rel=1e-6
    )


# --- inputs ----------------------------------------------------------------------------------------


def test_inputs_are_standardised_by_what_was_set_and_this_is_saved():
    task = Task((5, 6, 6), 3, 0)
    mean, sd = torch.randn(5), torch.rand(5) + 0.5
    network = built("readout", task)
    other = copy.deepcopy(network)
    inputs = torch.randn(4, 5, 6, 6)
    by_hand = (inputs - mean[:, None, None]) / sd[:, None, None]
    expected = network(by_hand)["responses"]
    network.fit_input(mean, sd)
    torch.testing.assert_close(network(inputs)["responses"], expected)
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(inputs)["responses"], expected)


def test_a_channel_that_never_varies_is_only_centred():
    network = built("readout", Task((2, 3, 3), 3, 0))
    network.fit_input(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))
    assert network.standardised(torch.full((1, 2, 3, 3), 10.0))[0, :, 0, 0].tolist() == [9.0, 2.0]


def test_an_autoencoder_rebuilds_standardised_images():
    task = Task((3, 16, 16), 4, 0)
    network = built("autoencoder", task)
    network.fit_input(torch.full((3,), 0.5), torch.full((3,), 0.25))
    inputs, targets = torch.rand(4, 3, 16, 16), Targets(torch.zeros(4, 4), None)
    perfect = {"images": (inputs - 0.5) / 0.25, "bottleneck": torch.zeros(4, 4)}
    assert network.loss(perfect, inputs, targets, None).item() < 1e-12


# --- bad input -------------------------------------------------------------------------------------

IMAGES = Task((3, 32, 32), 4, 3)


def test_dual_task_does_not_train_without_objects():
    network = built("dual_task", IMAGES)
    inputs, targets = batch(IMAGES, 4)
    with pytest.raises(InputError, match="needs the object of every stimulus"):
        network.loss(network(inputs), inputs, Targets(targets.responses, None), None)
