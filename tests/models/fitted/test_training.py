"""The trainer: planted truth is found, what was killed goes on to the same bits, bad ends are one line."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from itprobe.errors import InputError
from itprobe.models.fitted.blocks import FittedNetwork, Targets, Task
from itprobe.models.fitted.checkpoints import NAME, load_checkpoint
from itprobe.models.fitted.inputs import TensorInputs, channel_statistics, shifted
from itprobe.models.fitted.run import learning_rate, mean_correlation
from itprobe.models.fitted.settings import Part, TrainingSettings
from itprobe.models.fitted.training import train, validation_rows

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=8, batch_size=16, lr=0.02, weight_decay=0.0, patience=0)


class Linear(FittedNetwork):
    """Responses are linear in the channels' means; dropout draws from torch's generator."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.drop = nn.Dropout(0.1)
        self.out = nn.Linear(task.input_shape[0], task.n_neuroids)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"responses": self.out(self.drop(inputs.mean((2, 3))))}


def planted(n: int = 120, q: int = 3) -> tuple[Part, Task]:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.normal(size=(n, 5, 4, 4))).float()
    responses = images.mean((2, 3)) @ torch.from_numpy(rng.normal(size=(5, q))).float()
    responses = (responses - responses.mean(0)) / responses.std(0)
    return Part(TensorInputs(images, CPU), Targets(responses, None)), Task((5, 4, 4), q, 0)


def run(part: Part, task: Task, settings: TrainingSettings = SETTINGS, **options):
    return train(lambda: Linear(task), part, settings, 3, CPU, "test", **options)


def test_a_planted_linear_map_is_found() -> None:
    part, task = planted()
    network, trained = run(part, task, replace(SETTINGS, epochs=60))
    with torch.no_grad():
        predicted = network(part.inputs.batch(torch.arange(120)))["responses"]
    assert mean_correlation(part.targets.responses, predicted) > 0.98
    assert (trained.n_train, trained.n_validation) == (108, 12)
    assert not network.training


def test_mean_correlation_is_numpys() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40, 4))
    b[:, 3] = 2.0
    expected = np.mean([np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(3)] + [0.0])
    assert mean_correlation(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-12)


def test_same_seed_same_bits_and_the_callers_generator_is_left_alone() -> None:
    part, task = planted()
    torch.manual_seed(11)
    before = torch.get_rng_state()
    one, _ = run(part, task)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    other, _ = run(part, task)
    for name, values in one.state_dict().items():
        assert torch.equal(values, other.state_dict()[name])


class Killed(BaseException):
    """Stands for a signal."""


@pytest.mark.parametrize("moment", [0, 1, 13, 20, 55])
def test_a_training_that_was_killed_ends_with_the_same_bits(tmp_path, moment: int) -> None:
    part, task = planted()
    whole, trained = run(part, task)
    steps = 0

    class Dies(Linear):
        def loss(self, *arguments: object) -> Tensor:
            nonlocal steps
            if self.training:
                steps += 1
                if steps == moment + 1:
                    raise Killed
            return super().loss(*arguments)

    with pytest.raises(Killed):
        train(lambda: Dies(task), part, SETTINGS, 3, CPU, "test", tmp_path, {"architecture": "linear"})
    resumed, again = run(part, task, folder=tmp_path, describes={"architecture": "linear"})
    for name, values in whole.state_dict().items():
        assert torch.equal(values, resumed.state_dict()[name]), name
    assert [epoch.loss for epoch in again.history] == [epoch.loss for epoch in trained.history]


def test_the_epoch_with_the_best_validation_r_is_kept_and_patience_ends_training() -> None:
    part, task = planted()
    noise = Targets(torch.randn(120, 3, generator=torch.Generator().manual_seed(0)), None)
    network, trained = run(
        replace(part, targets=noise), task, replace(SETTINGS, epochs=200, patience=4, validation=0.3)
    )
    r = [epoch.validation_r for epoch in trained.history]
    assert trained.best_epoch == int(np.argmax(r))
    assert len(r) == trained.best_epoch + 1 + 4 < 200
    _, validation = validation_rows(120, None, 0.3, 3)
    with torch.no_grad():
        predicted = network(part.inputs.batch(torch.from_numpy(validation)))["responses"]
    assert mean_correlation(noise.responses[validation], predicted) == pytest.approx(max(r), abs=1e-6)


def test_predictions_are_scaled_by_least_squares_on_the_validation_part() -> None:
    part, task = planted()

    class Bold(Linear):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:
            responses = super().forward(inputs)["responses"]
            return {"responses": responses if self.training else 3 * responses}

    settings = replace(SETTINGS, epochs=60, validation=0.3)
    network, trained = train(lambda: Bold(task), part, settings, 3, CPU, "test")
    _, validation = validation_rows(120, None, 0.3, 3)
    with torch.no_grad():
        predicted = network(part.inputs.batch(torch.from_numpy(validation)))["responses"].numpy()
    measured = part.targets.responses[validation].numpy()
    expected = np.linalg.lstsq(predicted.reshape(-1, 1), measured.ravel(), rcond=None)[0][0]
    assert trained.scale == pytest.approx(expected, rel=1e-5)
    assert trained.scale == pytest.approx(1 / 3, abs=0.1)
    assert run(part, task, replace(SETTINGS, epochs=2, validation=0.0))[1].scale == 1


def test_validation_part_is_balanced_by_object() -> None:
    strata = np.repeat(np.arange(10), 30)
    kept, validation = validation_rows(300, strata, 0.1, 0)
    assert sorted([*kept, *validation]) == list(range(300))
    np.testing.assert_array_equal(np.bincount(strata[validation]), 3)


def test_schedules_are_counted_by_steps() -> None:
    n = 1000
    cosine = [learning_rate(step, n, "cosine", 0.1) for step in range(n)]
    assert cosine[99] == 1 == max(cosine)
    assert cosine[0] == pytest.approx(0.01)
    assert cosine[-1] == pytest.approx(0, abs=1e-5)
    assert cosine[549] == pytest.approx(0.5, abs=1e-3)
    onecycle = [learning_rate(step, n, "onecycle", 0.3) for step in range(n)]
    reference = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9), 1.0, total_steps=n
    )
    assert int(np.argmax(onecycle)) == 299
    assert onecycle[-1] == pytest.approx(1e-4, abs=1e-9)
    assert reference.get_last_lr()[0] == pytest.approx(1 / 25)
    assert {learning_rate(step, n, "constant", 0.1) for step in (0, 500, 999)} == {1.0}


def test_every_stimulus_counts_once_in_each_epoch_and_none_of_the_validation_part() -> None:
    part, task = planted(n=98)
    seen: list[list[int]] = []
    _, validation = validation_rows(98, None, 0.1, 3)

    class Watched(TensorInputs):
        def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
            if generator is not None:
                seen.append(rows.tolist())
            return super().batch(rows, generator)

    run(replace(part, inputs=Watched(part.inputs.rows, CPU)), task, replace(SETTINGS, epochs=2))
    per_epoch = len(seen) // 2
    for epoch in (seen[:per_epoch], seen[per_epoch:]):
        rows = sorted(row for batch in epoch for row in batch)
        assert rows == sorted(set(range(98)) - set(validation.tolist()))
    assert min(map(len, seen)) >= 2
    assert seen[:per_epoch] != seen[per_epoch:]


def test_a_loss_that_becomes_nan_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path) -> None:
    part, task = planted()

    class Breaks(Linear):
        steps = 0

        def loss(self, *arguments: object) -> Tensor:
            Breaks.steps += self.training
            return super().loss(*arguments) * (math.nan if self.training and Breaks.steps == 17 else 1.0)

    with pytest.raises(InputError, match=r"nan in step 17 \(epoch 3\).*smaller lr.*epoch 2, is kept"):
        train(lambda: Breaks(task), part, SETTINGS, 3, CPU, "test", tmp_path)
    checkpoint = load_checkpoint(tmp_path, {"training": vars_of(SETTINGS), "seed": 3})
    assert checkpoint is not None
    assert len(checkpoint.history) == 2
    assert all(torch.isfinite(values).all() for values in checkpoint.network.values())


def vars_of(settings: TrainingSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_out_of_memory_halves_the_batch_once_and_then_stops() -> None:
    part, task = planted()
    batches: list[int] = []

    def needing(most: int) -> type[Linear]:
        class Large(Linear):
            def forward(self, inputs: Tensor) -> dict[str, Tensor]:
                if self.training:
                    batches.append(len(inputs))
                    if len(inputs) > most:
                        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
                return super().forward(inputs)

        return Large

    with pytest.warns(UserWarning, match="batches of 16; training anew with 8"):
        _, trained = train(lambda: needing(8)(task), part, SETTINGS, 3, CPU, "test")
    assert trained.batch_size == 8
    with (
        pytest.warns(UserWarning, match="training anew"),
        pytest.raises(InputError, match="batches of 8 either; set a smaller batch_size"),
    ):
        train(lambda: needing(4)(task), part, SETTINGS, 3, CPU, "test")


def test_a_checkpoint_of_something_else_is_refused_with_both_named(tmp_path) -> None:
    part, task = planted()
    run(part, task, folder=tmp_path, describes={"architecture": "linear", "recording": "A"})
    for other in ({"architecture": "deep", "recording": "A"}, {"architecture": "linear", "recording": "B"}):
        key = "architecture" if other["architecture"] == "deep" else "recording"
        pattern = f"another {key}: '{'linear' if key == 'architecture' else 'A'}' there, '{other[key]}' asked"
        with pytest.raises(InputError, match=pattern):
            run(part, task, folder=tmp_path, describes=other)
    content = torch.load(tmp_path / NAME, weights_only=True)
    torch.save({**content, "format": 99}, tmp_path / NAME)
    with pytest.raises(InputError, match="format 99, this itprobe writes format 1"):
        run(part, task, folder=tmp_path, describes={"architecture": "linear", "recording": "A"})
    (tmp_path / NAME).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="cannot be read"):
        run(part, task, folder=tmp_path, describes={"architecture": "linear", "recording": "A"})


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path) -> None:
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return marker.touch, ()

    torch.save({"describes": "{}", "format": 1, "network": Hostile()}, tmp_path / NAME)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path, {})
    assert not marker.exists()


def test_too_few_stimuli() -> None:
    part, task = planted(n=15)
    with pytest.raises(InputError, match="15 training stimuli are too few; at least 16"):
        run(part, task)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("epochs", 0, "epochs must be from 1"),
        ("lr", 0.0, "lr must be from"),
        ("validation", 0.7, "validation must be from 0 to 0.5"),
        ("schedule", "steps", "cosine, onecycle or constant"),
    ],
)
def test_settings_that_cannot_be_meant(name: str, value: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        replace(SETTINGS, **{name: value})


def test_shifts_move_whole_images_within_reach() -> None:
    images = torch.arange(2 * 3 * 20 * 20).reshape(2, 3, 20, 20).float()
    moved = shifted(images, 0.1, torch.Generator().manual_seed(0))
    for image, other in zip(images, moved, strict=True):
        inner = other[:, 4:-4, 4:-4]
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(inner, image[:, 4 + down : 16 + down, 4 + right : 16 + right])
        ]
        assert len(found) == 1
    assert torch.equal(shifted(images, 0.0, torch.Generator()), images)


def test_augmentation_is_for_training_only_and_bytes_become_fractions() -> None:
    rows = torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8)
    inputs = TensorInputs(rows, CPU, shift=0.3, flip=True)
    assert torch.equal(inputs.batch(torch.arange(10)), rows.float() / 255)
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(inputs.batch(torch.arange(10), generator), rows.float() / 255)


def test_channel_statistics_are_numpys() -> None:
    rows = torch.randn(300, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 7
    rows[:, 2] = 4.0
    mean, deviation = channel_statistics(TensorInputs(rows, CPU))
    values = rows.double().numpy()
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation[:2], values.std((0, 2, 3))[:2], rtol=1e-6)
    assert deviation[2] == 1


def test_networks_are_not_shared_between_trainings() -> None:
    part, task = planted()
    one, _ = run(part, task, replace(SETTINGS, epochs=1))
    kept = copy.deepcopy(one.state_dict())
    run(part, task, replace(SETTINGS, epochs=3))
    assert all(torch.equal(values, kept[name]) for name, values in one.state_dict().items())
