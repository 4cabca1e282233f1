"""Stimuli through a network in batches: images are decoded ahead, layers are copied as they come."""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from itprobe.errors import InputError, unknown_name
from itprobe.models.identifiers import LayerName, parse_layer
from itprobe.models.layers import first_tensor
from itprobe.models.maps import as_map
from itprobe.models.preprocessing import Preprocessing, read_image
from itprobe.models.user_code import user_code

if TYPE_CHECKING:
    from brainscore_core.supported_data_standards.brainio.stimuli import StimulusSet

_BATCHES_AHEAD = 2
Precision = Literal["full", "tf32", "bf16"]
"""Of a forward pass: float32; float32 with factors rounded to tf32; bfloat16 where torch's autocast takes it."""
_RUNS_ON = {"full": ("cpu", "cuda", "mps"), "tf32": ("cuda",), "bf16": ("cpu", "cuda")}
PREPARES = "it must turn an RGB image (PIL) into a tensor (channel, height, width)"


def choose_device(name: str) -> torch.device:
    """Turn ``auto`` into cuda, else mps, else cpu; check any other name.

    Raises
    ------
    InputError
        If torch does not know the device or cannot use it here.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, usable in available.items() if usable))
    kind = name.partition(":")[0]
    if kind not in available:
        raise unknown_name("device", name, ["auto", *available])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"unknown device: {name!r}; write e.g. cpu, cuda or cuda:1") from None
    if not available[kind] or (kind == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"device {name!r} is not available here; use --device auto or cpu")
    return device


def check_precision(precision: str, device: torch.device | None = None) -> None:
    """Raise `InputError` if there is no such precision of a forward pass, or not on this device."""
    if precision not in _RUNS_ON:
        raise unknown_name("precision", precision, get_args(Precision))
    if device is not None and device.type not in _RUNS_ON[precision]:
        usable = [name for name, kinds in _RUNS_ON.items() if device.type in kinds]
        raise InputError(
            f"precision {precision!r} needs a device of kind {' or '.join(_RUNS_ON[precision])}, "
            f"not {device.type}; choose {' or '.join(usable)}, or another device"
        )


def stimulus_ids(stimulus_set: "StimulusSet") -> np.ndarray:
    """Ids of the stimuli as texts (n,), in order.

    Raises
    ------
    InputError
        If there is no column ``stimulus_id``, no stimulus, or an id occurs twice.
    """
    if "stimulus_id" not in stimulus_set.columns:
        columns = ", ".join(map(str, stimulus_set.columns))
        raise InputError(f"the stimulus set has no column 'stimulus_id'; its columns: {columns}")
    ids = stimulus_set["stimulus_id"].astype(str)
    if not len(ids):
        raise InputError("the stimulus set is empty")
    twice = list(ids[ids.duplicated()].unique())
    if twice:
        raise InputError(f"{len(twice)} stimulus ids occur more than once, e.g. {', '.join(twice[:3])}")
    return ids.to_numpy(dtype=str)


def image_paths(stimulus_set: "StimulusSet") -> list[str | Path]:
    """Paths of the images, in the order of the stimulus set, or `InputError` if a stimulus has none."""
    ids = list(stimulus_set["stimulus_id"])
    known = getattr(stimulus_set, "stimulus_paths", None) or {}
    without = [str(stimulus_id) for stimulus_id in ids if stimulus_id not in known]
    if without:
        raise InputError(
            f"{len(without)} of {len(ids)} stimuli have no image file in the stimulus set, "
            f"e.g. {', '.join(without[:3])}"
        )
    return [known[stimulus_id] for stimulus_id in ids]


def image_batches(
    stimulus_set: "StimulusSet", preprocessing: Preprocessing, batch_size: int, candidate: str
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Prepared images (b, channel, height, width) in the order of the stimulus set.

    A few threads decode the next batches while the caller works on this one.

    Raises
    ------
    InputError
        If a stimulus has no image, its image cannot be read, or the candidate's own preprocessing fails
        on it.
    """
    ids = list(stimulus_set["stimulus_id"])
    paths = image_paths(stimulus_set)
    preprocessing = preprocessing.for_stimuli(stimulus_set)

    def prepared(row: int) -> torch.Tensor:
        image = read_image(paths[row], ids[row])
        with user_code(f"{candidate}: the preprocessing of stimulus {str(ids[row])!r}", PREPARES):
            return preprocessing(image)

    pending: deque[tuple[slice, list[Future[torch.Tensor]]]] = deque()
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    try:
        for start in range(0, len(ids), batch_size):
            rows = slice(start, min(start + batch_size, len(ids)))
            pending.append((rows, [pool.submit(prepared, row) for row in range(rows.start, rows.stop)]))
            if len(pending) > _BATCHES_AHEAD:
                yield _stacked(*pending.popleft(), candidate)
        while pending:
            yield _stacked(*pending.popleft(), candidate)
    finally:
        pool.shutdown(cancel_futures=True)


class _EnoughError(BaseException):
    """Every wanted layer has run; no Exception, so that no network's own handler can catch it."""


def recorded_forward(
    module: nn.Module,
    images: torch.Tensor,
    layers: Sequence[str],
    calls: Mapping[str, int] | None = None,
    precision: Precision = "full",
    axes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, torch.Tensor]:
    """One forward pass that copies the outputs of several layers, pooled where their names say so.

    A layer that runs several times is recorded at its last call. Outputs are copied inside the hook:
    later in-place operations would change them.

    Parameters
    ----------
    images : torch.Tensor
        (b, channel, height, width) on the module's device.
    layers : sequence of str
    calls : mapping of str to int, optional
        How often each layer runs in a pass. The pass ends as soon as all have run so often, so that
        what lies behind the last of them costs nothing.
    precision : {"full", "tf32", "bf16"}
        Where it is full, float32 stays float32 on a GPU (no tf32).
    axes : mapping of str to tuple of int, optional
        Order of a layer's axes, the image's left out; others keep their own.

    Returns
    -------
    dict of str to torch.Tensor
        Layer -> (b, ...) float32, contiguous, on the module's device.

    Raises
    ------
    InputError
        If a layer did not run, or gave no tensor.
    """
    outputs: dict[str, torch.Tensor] = {}
    with (
        _hooked(module, layers, outputs, calls, axes or {}),
        torch.inference_mode(),
        _computing(precision, images.device),
        suppress(_EnoughError),
    ):
        module(images)
    skipped = [name for name in layers if name not in outputs]
    if skipped:
        raise InputError(f"layer {skipped[0]!r} did not run; choose one that runs for every image")
    return outputs


def copy_output(layer: LayerName, output: Any, axes: tuple[int, ...] | None = None) -> torch.Tensor:
    """Contiguous copy of the first tensor of a module's output as float32, pooled where `layer` says so.

    What is not pooled has its axes, the image's left out, in the order `axes`, if that is given.
    """
    tensor = first_tensor(output)
    if tensor is None:
        raise InputError(f"layer {str(layer)!r} gives no tensor; choose another layer")
    if layer.pool is not None:
        return adaptive_avg_pool2d(as_map(tensor).float(), layer.pool).contiguous()
    if axes is not None:
        tensor = tensor.permute(0, *(1 + axis for axis in axes))
    return tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def check_finite(values: np.ndarray | torch.Tensor, layer: str, candidate: str, ids: np.ndarray) -> None:
    """Raise `InputError` naming layer and first stimulus if (b, p) `values` hold NaN or infinity."""
    tensor = torch.as_tensor(values)
    # NaN and infinity survive in a sum, which takes far less time than looking at each number.
    if bool(torch.isfinite(tensor.sum())):
        return
    finite = torch.isfinite(tensor).all(dim=1).cpu().numpy()
    if finite.all():
        return
    bad = ids[~finite]
    raise InputError(
        f"layer {layer!r} of {candidate} gives NaN or infinite activations for {len(bad)} stimuli of a "
        f"batch, first {str(bad[0])!r}; check the weights and the image, or choose another layer"
    )


@contextmanager
def _hooked(
    module: nn.Module,
    layers: Sequence[str],
    outputs: dict[str, torch.Tensor],
    calls: Mapping[str, int] | None,
    axes: Mapping[str, tuple[int, ...]],
) -> Iterator[None]:
    modules = dict(module.named_modules())
    remaining = Counter(calls)

    def keep(layer: LayerName, output: Any) -> None:
        outputs[str(layer)] = copy_output(layer, output, axes.get(str(layer)))
        if calls is not None:
            remaining[str(layer)] -= 1
            if max(remaining.values()) <= 0:
                raise _EnoughError

    handles = [
        modules[layer.module].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: keep(layer, output)
        )
        for layer in map(parse_layer, layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute in a precision, whatever torch's switches stand at."""
    with ExitStack() as stack:
        if precision == "bf16":
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        if device.type == "cuda":
            tf32 = precision == "tf32"
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)
            )
            stack.enter_context(_matrix_products(tf32))
        yield


@contextmanager
def _matrix_products(tf32: bool) -> Iterator[None]:
    # From torch 2.9 on, the older switch raises where somebody has used the newer one.
    matmul = torch.backends.cuda.matmul
    newer = hasattr(matmul, "fp32_precision")
    switch, value = ("fp32_precision", "tf32" if tf32 else "ieee") if newer else ("allow_tf32", tf32)
    before = getattr(matmul, switch)
    setattr(matmul, switch, value)
    try:
        yield
    finally:
        setattr(matmul, switch, before)


def _stacked(rows: slice, futures: list[Future[torch.Tensor]], candidate: str) -> tuple[slice, torch.Tensor]:
    images = [future.result() for future in futures]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise InputError(
            f"{candidate}: the preprocessing gives images of different shapes ({shapes}); "
            "let it resize them to one size"
        )
    return rows, torch.stack(images)
