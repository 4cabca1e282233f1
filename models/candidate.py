"""What is scored: anything that turns stimuli into rows of features."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from itprobe.errors import InputError
from itprobe.models.identifiers import parse_layer
from itprobe.models.layers import TracedModule, all_layers, block_layers, check_traced_layer
from itprobe.models.layout import traced_and_laid_out
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.stream import (
    PREPARES,
    Precision,
    check_finite,
    check_precision,
    choose_device,
    image_batches,
    image_paths,
    recorded_forward,
    stimulus_ids,
)
from itprobe.models.user_code import one_line, user_code
from itprobe.models.weights import WeightsKind
from itprobe.progress import progress_bar

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

Track = Literal["frozen", "control"]
Features = np.ndarray | torch.Tensor
Batch = tuple[slice, dict[str, Features]]


class Candidate(ABC):
    """A named source of features, layer by layer.

    Attributes
    ----------
    identifier : str
        ``NAME[@WEIGHTS]``, without a layer.
    track : {"frozen", "control"}
        Networks are frozen; pixels and stimulus metadata are controls.
    weights_sha256 : str or None
        Digest of the architecture and the weights; None for controls.
    preprocessing : Preprocessing or None
        None where no image is looked at.
    code : str or None
        Package and version of the code that makes the features; None where a user's own code does, or
        none that could change them.
    weights_kind : {"trained", "random", "unknown"} or None
        Whether the weights are trained: unknown for a user's files and objects; None for controls.
    batch_size : int
        Stimuli at a time unless a caller says otherwise.
    """

    batch_size = 64

    def __init__(
        self,
        identifier: str,
        track: Track,
        weights_sha256: str | None = None,
        preprocessing: Preprocessing | None = None,
        code: str | None = None,
        weights_kind: WeightsKind | None = None,
    ) -> None:
        self.code = code
        self.weights_kind = weights_kind
        self.identifier = identifier
        self.track = track
        self.weights_sha256 = weights_sha256
        self.preprocessing = preprocessing

    @abstractmethod
    def layers(self, which: Literal["all", "blocks"] = "all") -> list[str]:
        """Names of the layers, in order of execution."""

    @abstractmethod
    def check_layer(self, name: str) -> None:
        """Raise `InputError` with the nearest names if there is no layer `name`, or it cannot be pooled."""

    def resolve_layer(self, name: str) -> str:
        """A layer's own name, for one of its names; raises as `check_layer` does."""
        self.check_layer(name)
        return name

    def check_stimuli(self, stimulus_set: "StimulusSet") -> None:
        """Check, before any image is read, that the stimulus set has what this candidate needs.

        Raises
        ------
        InputError
            If ids are missing or occur twice, or image files are missing.
        """
        ids = stimulus_ids(stimulus_set)
        paths = image_paths(stimulus_set)
        missing = [row for row, path in enumerate(paths) if not Path(path).is_file()]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(ids)} image files are missing, "
                f"first of stimulus {str(ids[missing[0]])!r}: {paths[missing[0]]}"
            )

    @abstractmethod
    def _batches(
        self, stimulus_set: "StimulusSet", layers: Sequence[str], batch_size: int, any_order: bool
    ) -> Iterator[Batch]:
        """Features (b, p) float32 of checked layers, on whatever device they were computed."""

    def stream(
        self, stimulus_set: "StimulusSet", layers: Sequence[str], batch_size: int | None = None
    ) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
        """Features of several layers, batch by batch, from one pass over the stimuli.

        Parameters
        ----------
        stimulus_set : StimulusSet
            n stimuli with ``stimulus_id``, and ``stimulus_paths`` where images are needed.
        layers : sequence of str
            As `check_layer` takes them; a name given twice counts once.
        batch_size : int, optional
            Stimuli at a time (the candidate's own by default); it does not change the features beyond
            rounding.

        Yields
        ------
        (slice, dict of str to np.ndarray)
            Rows of the stimulus set and, per layer, their features (b, p), float32. What is not the
            stimulus axis of a layer's output is flattened in its own order.

        Raises
        ------
        InputError
            If a layer is unknown, an image cannot be read, features are NaN or infinite, their number
            changes between batches, or a user's own code fails.
        """
        for rows, features in self._checked(stimulus_set, layers, batch_size):
            yield rows, {name: as_array(values) for name, values in features.items()}

    def stream_tensors(
        self,
        stimulus_set: "StimulusSet",
        layers: Sequence[str],
        batch_size: int | None = None,
        first_row: int = 0,
        any_order: bool = False,
    ) -> Generator[tuple[slice, dict[str, torch.Tensor]], None, None]:
        """As `stream`, but tensors on the device that computed them, from `first_row` on.

        Parameters
        ----------
        first_row : int
            Rows before it are left out; other than 0 only where features of an image depend on that
            image alone (`preprocessing` is not None).
        any_order : bool
            Features may come in another order than that of a layer's output, the same for all stimuli: in
            the one in which they lie in memory, which takes less time.
        """
        part = stimulus_set.iloc[first_row:] if first_row else stimulus_set
        for rows, features in self._checked(part, layers, batch_size, any_order):
            shifted = slice(rows.start + first_row, rows.stop + first_row)
            yield shifted, {name: torch.as_tensor(values) for name, values in features.items()}

    def _checked(
        self,
        stimulus_set: "StimulusSet",
        layers: Sequence[str],
        batch_size: int | None,
        any_order: bool = False,
    ) -> Iterator[Batch]:
        names = list(dict.fromkeys(layers))
        if not names:
            raise InputError(f"no layer of {self.identifier} was asked for; name one, or 'all'")
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise InputError(f"the batch size must be at least 1, not {size}")
        for name in names:
            self.check_layer(name)
        ids = stimulus_ids(stimulus_set)
        widths: dict[str, int] = {}
        with progress_bar(len(ids), self.identifier, "image") as bar:
            for rows, features in self._batches(stimulus_set, names, size, any_order):
                for name, values in features.items():
                    self._check_batch(name, values, ids[rows], widths)
                yield rows, features
                bar.update(rows.stop - rows.start)

    def _check_batch(self, name: str, values: Features, ids: np.ndarray, widths: dict[str, int]) -> None:
        width = widths.setdefault(name, values.shape[1])
        if values.shape != (len(ids), width):
            raise InputError(
                f"layer {name!r} of {self.identifier} gives {tuple(values.shape)} features for {len(ids)} stimuli "
                f"where earlier batches had {width} per stimulus; choose a layer of fixed size"
            )
        check_finite(values, name, self.identifier, ids)


def as_array(values: Features) -> np.ndarray:
    """Features as an array in memory; one that lies there already is not copied."""
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


class NetworkCandidate(Candidate):
    """A torch network whose layers are read with forward hooks, always in evaluation mode.

    Parameters
    ----------
    identifier : str
    module : nn.Module
        Moved to the device and switched to ``eval()``: hand over a copy of what must not change.
    preprocessing : Preprocessing
        The one that belongs to the weights.
    weights_sha256 : str
    device : torch.device or str
        ``auto`` takes cuda, else mps, else cpu.
    code : str, optional
        Package and version of the network's code; None where it is a user's own.
    weights_kind : {"trained", "random", "unknown"}
    neighbours : callable, optional
        Gives a context in which the modules are present that a user's file imported.
    precision : {"full", "tf32", "bf16"}
        Of the forward pass: float32 without tf32, float32 with tf32 (cuda alone), or bfloat16 where
        torch's autocast takes it (cpu, cuda). Features are float32 copies in any case.
    """

    preprocessing: Preprocessing

    def __init__(
        self,
        identifier: str,
        module: nn.Module,
        preprocessing: Preprocessing,
        weights_sha256: str,
        device: torch.device | str = "auto",
        code: str | None = None,
        weights_kind: WeightsKind = "unknown",
        neighbours: Callable[[], AbstractContextManager[None]] = nullcontext,
        precision: Precision = "full",
    ) -> None:
        super().__init__(identifier, "frozen", weights_sha256, preprocessing, code, weights_kind)
        self.device = choose_device(device) if isinstance(device, str) else device
        self.precision = precision
        self._neighbours = neighbours
        with user_code(f"{identifier}: moving the network to {self.device}", "choose another device"):
            self.module = module.float().eval().to(self.device)
        # On a CPU, temporary tensors above the allocator's threshold (32 MB) are mapped anew each time and
        # the time goes into page faults (efficientnet_lite0, two cores: 9-14 ms an image in batches of 4,
        # 50 ms in batches of 64).
        self.batch_size = 4 if self.device.type == "cpu" else 64

    @property
    def precision(self) -> Precision:
        """Of the forward pass; setting one that the device lacks raises `InputError`."""
        return self._precision

    @precision.setter
    def precision(self, precision: Precision) -> None:
        check_precision(precision, self.device)
        self._precision = precision

    @property
    def traced(self) -> dict[str, TracedModule]:
        """What a dry run on two images of noise saw of every module, in order of execution.

        Raises
        ------
        InputError
            If the network cannot take images of its preprocessing's size, or either fails.
        """
        return self._dry_run[0]

    @cached_property
    def _dry_run(self) -> tuple[dict[str, TracedModule], torch.memory_format]:
        """What the dry run saw, and in which order images lie in memory.

        Raises
        ------
        InputError
            If the network cannot take images of its preprocessing's size, or either fails.
        """
        noise = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8)
        with self._neighbours():
            with user_code(f"{self.identifier}: the preprocessing of a test image", PREPARES):
                images = torch.stack([self.preprocessing(Image.fromarray(image)) for image in noise])
            shape = " x ".join(map(str, images.shape[1:]))
            hint = "mend its forward, or give the size that it takes with its preprocessing"
            with user_code(f"{self.identifier}: the forward pass on test images of {shape}", hint):
                traced, memory_format = traced_and_laid_out(self.module, images.to(self.device))
        if not traced:
            raise InputError(f"{self.identifier} has no module that gives one row of features per image")
        return traced, memory_format

    def layers(self, which: Literal["all", "blocks"] = "all") -> list[str]:
        """Blocks, or computational leaves and blocks, in order of execution.

        `check_layer` accepts more: any module that runs and gives one row per image.
        """
        chosen = block_layers if which == "blocks" else all_layers
        return chosen(self.module, self.traced)

    def check_layer(self, name: str) -> None:  # noqa: D102
        check_traced_layer(name, self.traced, self.identifier)

    def _batches(
        self, stimulus_set: "StimulusSet", layers: Sequence[str], batch_size: int, any_order: bool
    ) -> Iterator[Batch]:
        self.module.eval()
        ids = stimulus_ids(stimulus_set)
        traced, memory_format = self._dry_run
        parsed = {name: parse_layer(name) for name in layers}
        calls = {name: traced[layer.module].calls for name, layer in parsed.items()}
        axes = {name: traced[layer.module].in_memory for name, layer in parsed.items()} if any_order else {}
        with self._neighbours():
            for rows, images in image_batches(stimulus_set, self.preprocessing, batch_size, self.identifier):
                first, last = str(ids[rows.start]), str(ids[rows.stop - 1])
                step = f"{self.identifier}: the forward pass on stimuli {first!r} to {last!r}"
                with user_code(step, "mend its forward"):
                    laid_out = images.to(self.device, memory_format=memory_format)
                    outputs = recorded_forward(self.module, laid_out, layers, calls, self.precision, axes)
                yield rows, {name: outputs[name].flatten(1) for name in layers}


def private_copy(module: nn.Module) -> nn.Module:
    """Deep copy of a user's module, so that its mode, device and later training stay its own.

    Raises
    ------
    InputError
        If the module cannot be copied.
    """
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise InputError(
            f"the {type(module).__name__} object cannot be copied ({one_line(error)}); "
            "name it as path/to/file.py::factory instead"
        ) from error
