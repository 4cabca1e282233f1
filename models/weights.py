"""Weights of networks: read from files without running code, drawn from a seed, and digested."""

import hashlib
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from itprobe.errors import InputError
from itprobe.models.identifiers import CandidateId

WEIGHT_SUFFIXES = (".pth", ".pt", ".safetensors")
_WRAPPERS = ("state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_HOW_TO_SAVE = "save it with torch.save(model.state_dict(), PATH) or as safetensors"
Built = TypeVar("Built")
WeightsKind = Literal["trained", "random", "unknown"]


def random_seed(candidate: CandidateId) -> int | None:
    """Seed of ``@random`` (0) or ``@random-SEED``; None where the weights are not random.

    Raises
    ------
    InputError
        If what follows ``random-`` is no whole number that torch takes as a seed.
    """
    weights = candidate.weights or ""
    if weights != "random" and not weights.startswith("random-"):
        return None
    text = weights.removeprefix("random").removeprefix("-") or "0"
    if not re.fullmatch(r"\d{1,18}", text):
        raise InputError(f"candidate {str(candidate)!r}: the seed must be a whole number, e.g. @random-3")
    return int(text)


def is_weights_file(weights: str | None) -> bool:
    """Whether the part after ``@`` is a path rather than a name."""
    return weights is not None and (weights.endswith(WEIGHT_SUFFIXES) or "/" in weights)


def weights_kind(candidate: CandidateId, own: WeightsKind) -> WeightsKind:
    """Whether weights are trained: ``random`` where the id says so, ``unknown`` from a file, else `own`."""
    if random_seed(candidate) is not None:
        return "random"
    return "unknown" if is_weights_file(candidate.weights) else own


def build_seeded(build: Callable[[], Built], seed: int) -> Built:
    """Call `build` with torch's generator seeded, and leave the global generator as it was.

    Batch norms of a random network keep their initial running statistics (mean 0, variance 1), which
    is what ``eval()`` uses.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def load_weights_file(module: nn.Module, path: str, candidate: CandidateId) -> None:
    """Fill `module` from a file of tensors.

    The usual wrappers are taken off: a dict with ``state_dict`` or ``model``, the prefix ``module.`` of
    parallel training, ``_orig_mod.`` of compiled modules, and the dotted names of old DenseNet files.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds anything but tensors, or does not fit the network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"candidate {str(candidate)!r}: there is no weights file {file}")
    expected = module.state_dict()
    state = OrderedDict(_unwrapped(_read(file), file))
    # Versions of the modules' formats; some modules refuse a state dict that has none.
    state._metadata = expected._metadata  # type: ignore[attr-defined]
    # A counter that evaluation does not use, and that files from before it existed lack.
    missing = [key for key in expected if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in expected]
    wrong = [key for key in expected if key in state and expected[key].shape != state[key].shape]
    if missing or unexpected or wrong:
        raise InputError(
            f"{file} does not fit {candidate.name}: "
            + "; ".join(
                _some(what, keys)
                for what, keys in (
                    ("missing", missing),
                    ("unexpected", unexpected),
                    ("of another shape", wrong),
                )
                if keys
            )
        )
    module.load_state_dict(state, strict=False)


def weights_digest(module: nn.Module, architecture: str) -> str:
    """SHA-256 over `architecture` and every parameter and buffer of `module` (name, type, shape, bytes)."""
    digest = hashlib.sha256(architecture.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{file} holds more than tensors (a pickled module?) and is not loaded, because that would run "
            f"its code; {_HOW_TO_SAVE}"
        ) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"the weights file {file} cannot be read ({reason}); {_HOW_TO_SAVE}") from None


def _unwrapped(content: Any, file: Path) -> Mapping[str, torch.Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{file} holds no state dict but {type(content).__name__}; {_HOW_TO_SAVE}")
    strange = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InputError(f"{file} holds entries that are no tensors: {_some('', strange)}; {_HOW_TO_SAVE}")
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key): value
        for key, value in content.items()
    }


def _some(what: str, keys: list[str]) -> str:
    count = f"{len(keys)} {what} " if what else f"{len(keys)} "
    return f"{count}({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
