import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from torch import nn

from itprobe.errors import InputError
from itprobe.models import load_candidate
from itprobe.models.fitted.backbones import Finetuned, Truncated
from itprobe.models.fitted.inputs import TensorInputs
from itprobe.models.fitted.networks import FinetunedSettings, Targets, Task
from itprobe.models.fitted.ridge_head import PENALTIES, ROUNDING, RidgeHead
from itprobe.models.fitted.settings import Part, TrainingSettings
from itprobe.models.fitted.training import train

CPU = torch.device("cpu")
TASK = Task((3, 32, 32), 4, 0)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def tiny_backbone(side=32):
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * (side // 2) ** 2, 10),
    )
    with torch.no_grad():
        for _ in range(30):  # running statistics that are not those of a new batch norm
            backbone[:2](3 + 2 * torch.randn(4, 3, side, side))
    return backbone


def three_steps(network):
    images, targets = torch.randn(8, 3, 32, 32), Targets(torch.randn(8, 4), None)
    optimiser = torch.optim.AdamW(network.parameter_groups(3e-3, 0.01))
    network.train()
    for _ in range(3):
        optimiser.zero_grad()
        network.loss(network(images), images, targets, None).backward()
        optimiser.step()


def test_a_truncated_backbone_gives_the_layers_own_output():
    backbone = tiny_backbone().eval()
    network = FinetunedSettings().build(TASK, backbone, "3")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        # The ReLU behind layer 3 works in place and would change what was recorded.
        torch.testing.assert_close(network.eval().backbone(images), backbone[:4](images), rtol=0, atol=0)


def test_finetuned_leaves_the_backbone_that_was_given_as_it_was():
    backbone = tiny_backbone()
    before = copy.deepcopy(backbone.state_dict())
    network = FinetunedSettings().build(TASK, backbone, "3")
    three_steps(network)
    after = backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert backbone.training
    assert isinstance(backbone[6], nn.Linear)
    assert not torch.equal(network.state_dict()["backbone.module.0.weight"], before["0.weight"])


@pytest.mark.parametrize("frozen", [True, False])
def test_running_statistics_of_the_backbone_stay_only_where_asked(frozen):
    network = FinetunedSettings(head="pool", frozen_norms=frozen).build(TASK, tiny_backbone(), "3")
    norm = network.backbone.module[1]
    mean, scale = norm.running_mean.clone(), norm.weight.detach().clone()
    three_steps(network)
    assert torch.equal(norm.running_mean, mean) == frozen
    assert not torch.equal(norm.weight, scale)
    network.train()
    assert norm.training != frozen
    assert network.norm.training


@pytest.mark.parametrize(("head", "rate"), [("pool", 2e-3), ("ridge", 2e-3 / 16**2)])
def test_the_backbone_learns_more_slowly_than_the_head_and_a_head_of_many_weights_too(head, rate):
    network = FinetunedSettings(head=head, backbone_rate=0.05).build(TASK, tiny_backbone(), "3")
    rates = {id(p): group["lr"] for group in network.parameter_groups(2e-3, 0.01) for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-4 if name.startswith("backbone.") else rate)


@pytest.mark.parametrize("n", [24, 300])
def test_the_ridge_head_is_scikit_learns_ridge_with_a_penalty_per_neuroid(n):
    """On features (n, 2 x 5 x 5) of another size than 1 and about another origin than 0."""
    rng = np.random.default_rng(0)
    features = 7 + 30 * rng.normal(size=(n + 9, 2, 5, 5)) @ rng.normal(size=(5, 5))
    weights = rng.normal(size=(50, 3)) / 500
    responses = 4 + features.reshape(-1, 50) @ weights + [[0.1, 0.5, 3]] * rng.normal(size=(n + 9, 3))
    head = RidgeHead((2, 5, 5), 3).double()
    fitted = head.fit(torch.from_numpy(features[:n]), torch.from_numpy(responses[:n]))
    known = torch.from_numpy(features)
    scaled = (((known - head.mean) * head.scale).flatten(1)).numpy()
    values = np.linalg.eigvalsh(np.cov(scaled[:n].T, bias=True)) * n
    penalties = PENALTIES * values[values > ROUNDING * values[-1]].mean()
    reference = RidgeCV(penalties, alpha_per_target=True).fit(scaled[:n], responses[:n])
    assert len(set(reference.alpha_)) > 1
    with torch.no_grad():
        torch.testing.assert_close(head(known).numpy(), reference.predict(scaled), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(fitted.numpy(), reference.predict(scaled[:n]), rtol=1e-6, atol=1e-6)
    assert scaled[:n].std() == pytest.approx(1, rel=0.02)


def test_the_first_epoch_fits_the_ridge_head_and_takes_no_step():
    settings, images = FinetunedSettings(), torch.randn(40, 3, 32, 32)
    backbone = tiny_backbone().eval()
    steps = []

    class Counted(Finetuned):
        def loss(self, *arguments):
            if self.training:
                steps.append(1)
            return super().loss(*arguments)

    def made(epochs):
        return train(
            lambda: Counted(settings, TASK, backbone, "3"),
            Part(TensorInputs(images, CPU), Targets(torch.randn(40, 4), None)),
            TrainingSettings(epochs=epochs, batch_size=12, patience=0, validation=0),
            0,
            CPU,
            "counted",
        )[0]

    first = made(1)
    assert not steps
    with torch.no_grad():
        torch.testing.assert_close(first.backbone(images), backbone[:4](images), rtol=1e-5, atol=1e-6)
    assert first.readout.linear.weight.abs().max() > 0
    made(3)
    assert len(steps) == 2 * 4


def test_the_ridge_head_ends_at_ridge_from_all_stimuli():
    images, responses = torch.randn(40, 3, 32, 32), torch.randn(40, 4)
    network, trained = train(
        lambda: FinetunedSettings().build(TASK, tiny_backbone(), "3"),
        Part(TensorInputs(images, CPU), Targets(responses, None)),
        TrainingSettings(epochs=3, batch_size=12, patience=0, validation=0.2),
        0,
        CPU,
        "test",
    )
    assert (trained.n_train, trained.n_validation) == (32, 8)
    again = RidgeHead(network.backbone.map_shape, 4)
    with torch.no_grad():
        features = network.backbone(images)
        expected = again.fit(features, responses)
        torch.testing.assert_close(network(images)["responses"], expected, rtol=1e-4, atol=1e-4)


def test_what_lies_behind_the_layer_is_left_out_of_efficientnet():
    backbone = load_candidate("efficientnet_lite0@random", device="cpu").module
    task = Task((3, 64, 64), 5, 0)
    network = FinetunedSettings(head="readout").build(task, backbone, "_blocks.10")
    names = {name for name, _ in network.named_parameters()}
    behind = ("_blocks.11.", "_blocks.15.", "_conv_head.", "_fc.")
    assert not any(name.startswith(f"backbone.module.{part}") for name in names for part in behind)
    before = {f"_blocks.{i}" for i in range(11)} | {"_conv_stem", "_bn0"}
    kept = {name.removeprefix("backbone.module.") for name in names if name.startswith("backbone.")}
    expected = {
        key for key, _ in backbone.named_parameters() if key.startswith(tuple(f"{part}." for part in before))
    }
    assert kept == expected
    images = torch.randn(2, 3, 64, 64)
    network.train()
    network.loss(network(images), images, Targets(torch.randn(2, 5), None), None).backward()
    assert all(p.grad is not None for p in network.parameters())
    with torch.no_grad():
        expected_map = _output_of(backbone, "_blocks.10", images)
        torch.testing.assert_close(network.eval().backbone(images), expected_map, rtol=1e-5, atol=1e-6)


def _output_of(module, layer, images):
    seen = []
    handle = module.get_submodule(layer).register_forward_hook(
        lambda _m, _i, output: seen.append(output.clone())
    )
    module.eval()(images)
    handle.remove()
    return seen[0]


class Repeating(nn.Module):
    """Runs one convolution twice; holds one that never runs and a parameter that goes nowhere."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.again = nn.Conv2d(4, 4, 1)
        self.never = nn.Conv2d(4, 4, 1)
        self.lost = nn.Parameter(torch.zeros(3))

    def forward(self, images):
        return self.again(self.again(self.first(images)).relu()).mean((2, 3))


def test_a_layer_that_runs_twice_gives_its_last_output_and_idle_parameters_stay_still():
    backbone = Repeating().requires_grad_(False)
    network = FinetunedSettings().build(Task((3, 8, 8), 2, 0), backbone, "again")
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = backbone.again(backbone.again(backbone.first(images)).relu())
    torch.testing.assert_close(network.backbone(images), expected)
    trainable = {name for name, p in network.backbone.module.named_parameters() if p.requires_grad}
    assert trainable == {f"{part}.{kind}" for part in ("first", "again") for kind in ("weight", "bias")}
    assert not any(key.startswith("never") for key in network.backbone.module.state_dict())


class Tokens(nn.Module):
    """Images -> 4 tokens of 6 features, as a vision transformer has them."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        self.block = Block()

    def forward(self, images):
        return self.block(self.patches(images).flatten(2).transpose(1, 2)).mean(1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, tokens):
        return tokens + self.linear(tokens)


@pytest.mark.parametrize("head", ["pool", "readout"])
def test_tokens_and_vectors_serve_as_maps(head):
    task = Task((3, 16, 16), 5, 0)
    tokens = FinetunedSettings(head=head).build(task, Tokens(), "block")
    assert tokens.backbone.map_shape == (6, 4, 1)
    assert tokens(torch.randn(3, 3, 16, 16))["responses"].shape == (3, 5)
    vector = FinetunedSettings(head=head).build(task, tiny_backbone(16), "6")
    assert vector.backbone.map_shape == (10, 1, 1)
    assert vector(torch.randn(3, 3, 16, 16))["responses"].shape == (3, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FinetunedSettings(head="mean"), "unknown head of finetuned: 'mean'"),
        (lambda: FinetunedSettings(mask="max"), "unknown mask of finetuned: 'max'"),
        (lambda: FinetunedSettings(backbone_rate=-1), "finetuned: backbone_rate must be at least 0"),
        (
            lambda: FinetunedSettings().build(TASK, tiny_backbone(), "33"),
            "unknown layer of the backbone: '33'; did you mean 3?",
        ),
        (
            lambda: FinetunedSettings().build(Task((3, 16, 16), 4, 0), tiny_backbone(), "3"),
            "the backbone of finetuned raised RuntimeError",
        ),
        (
            lambda: FinetunedSettings().build(TASK, nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 1)), "0"),
            "no parameter of the backbone reaches layer '0'; choose a later layer",
        ),
        (
            lambda: FinetunedSettings().build(
                TASK, nn.Sequential(nn.Conv2d(3, 4, 1), nn.Unflatten(1, (2, 2))), "1"
            ),
            "layer '1' gives 4 axes per stimulus",
        ),
    ],
)
def test_what_cannot_be_built_is_told_in_one_line(make, message):
    with pytest.raises(InputError) as raised:
        make()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_outputs_with_channels_last_are_read_as_maps():
    swin = load_candidate("torchvision/swin_t@random", "cpu").module
    cut = Truncated(swin, "features.1", (3, 64, 64))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = swin.features[:2](images).permute(0, 3, 1, 2)
    assert cut.map_shape == (96, 16, 16)
    torch.testing.assert_close(cut(images), expected)
