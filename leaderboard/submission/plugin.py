"""A candidate as a Brain-Score model plugin that stands alone."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlparse

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from safetensors.torch import save

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import LARGEST_FILE, MEGABYTE, write_archive
from itprobe.leaderboard.submission.library import registered_folder
from itprobe.leaderboard.submission.metadata import model_metadata
from itprobe.leaderboard.submission.probe_images import expected_activations, probe_images
from itprobe.leaderboard.submission.recipes import REFERENCES, Recipe
from itprobe.models import NetworkCandidate

REGIONS = ("V1", "V2", "V4", "IT")
"""Those that Brain-Score would download recordings for, to choose a layer, if a model named none."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
TOLERANCE = 1e-3
"""Of the plugin's own test, relative to a layer's largest value: libraries differ from machine to machine."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["literal"] = repr
_STANDARD_LIBRARY = ["import json", "from pathlib import Path"]
_LIBRARIES = [
    "import numpy as np",
    "import torch",
    "from brainscore_vision.model_helpers.activations.pytorch import PytorchWrapper",
    "from brainscore_vision.model_helpers.brain_transformation import ModelCommitment",
    "from PIL import Image",
    "from torch.nn.functional import adaptive_avg_pool2d",
]


@dataclass(frozen=True)
class Plugin:
    """A Brain-Score plugin.

    Attributes
    ----------
    kind : str
        ``models``, ``benchmarks``, ``metrics`` or ``data``.
    name : str
        Of its folder; for models `folder_name` of the model's.
    files : dict of str to bytes
        Path in its folder -> content.
    """

    kind: str
    name: str
    files: dict[str, bytes]

    def write(self, out: str | Path) -> Path:
        """Write ``NAME/KIND/NAME/...`` into a zip file, the form that Brain-Score's website takes."""
        prefix = f"{self.name}/{self.kind}/{self.name}"
        return write_archive({f"{prefix}/{path}": content for path, content in self.files.items()}, out)


@dataclass(frozen=True)
class Weights:
    """Weights of the submitter's: where they go.

    Attributes
    ----------
    content : bytes
        Tensors, as safetensors.
    url : str or None
        Where they will be downloaded from; None where they go into the zip file.
    """

    content: bytes
    url: str | None

    @property
    def sha256(self) -> str:
        """What the plugin checks a download by."""
        return hashlib.sha256(self.content).hexdigest()


def default_name(recipe: Recipe) -> str:
    """Name for a plugin from its candidate's id: letters, digits and ``_``."""
    stem = (
        recipe.title.replace(".py::", "_")
        .removesuffix(".safetensors")
        .removesuffix(".pth")
        .removesuffix(".pt")
    )
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:50].strip("_")


def check_name(name: str) -> None:
    """Raise `InputError` if a name is no plugin's name or is taken in the installed Brain-Score."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a plugin; use up to 50 letters, digits, '_' and '-' (--name)"
        )
    taken = registered_folder("models", name) or registered_folder("models", folder_name(name))
    if taken:
        raise InputError(
            f"Brain-Score has a model {name!r} already (in models/{taken}); give another with --name"
        )


def folder_name(name: str) -> str:
    """Folder of a model's plugin: its name as a package's that Python can import, or pytest runs no test in it."""
    folder = name.replace("-", "_")
    return folder if folder.isidentifier() else f"model_{folder}"


def weights_to_submit(candidate: NetworkCandidate, recipe: Recipe, url: str | None) -> Weights | None:
    """The tensors that have to go with a submission; None where the network's own package brings or draws them.

    Raises
    ------
    InputError
        If they are too large for the zip file and no address is given, the address is no https, or it is given
        for weights that need none.
    """
    if not recipe.from_file:
        if url:
            raise InputError(f"--weights-url: {recipe.title} has no weights file; leave it out")
        return None
    parsed = urlparse(url or "")
    if url and (parsed.scheme != "https" or not parsed.hostname or parsed.username or parsed.password):
        raise InputError(f"--weights-url: {url!r} is no https address (without a password) of a file")
    state = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in candidate.module.state_dict().items()
    }
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if url is None and size > LARGEST_FILE:
        raise InputError(
            f"the weights of {recipe.title} have {size / MEGABYTE:,.0f} MB, and Brain-Score takes files up to "
            f"{LARGEST_FILE / MEGABYTE:.0f} MB (GitHub's limit); give the https address where you will host them with "
            "--weights-url"
        )
    return Weights(save(state), url)


def model_plugin(
    candidate: NetworkCandidate,
    recipe: Recipe,
    name: str,
    region_layer_map: Mapping[str, str],
    *,
    weights: Weights | None = None,
    bibtex: str | None = None,
    visual_degrees: float = 8,
    chosen: str = "layers named by the submitter",
) -> Plugin:
    """Write the plugin of a network.

    Parameters
    ----------
    candidate : NetworkCandidate
        Loaded, so that its layers, preprocessing and activations are known.
    recipe : Recipe
        How it is built without itprobe.
    name : str
        Of the model; its folder is `folder_name` of it.
    region_layer_map : mapping of str to str
        Every region in `REGIONS` -> layer; layers may be pooled (``NAME~pool4``).
    weights : Weights, optional
        From `weights_to_submit`.
    bibtex : str, optional
        One entry; by default that of the network's package, where there is one.
    visual_degrees : float
        Of the field of view.
    chosen : str
        How the layers were chosen, in words.

    Returns
    -------
    Plugin

    Raises
    ------
    InputError
        If the name is none, a layer does not exist, or the BibTeX is none.
    """
    for layer in region_layer_map.values():
        candidate.check_layer(layer)
    layers = list(dict.fromkeys(region_layer_map.values()))
    reference = REFERENCES.get(recipe.source, "") if bibtex is None else bibtex
    committed = "; ".join(f"{region}: {layer}" for region, layer in region_layer_map.items())
    files = {
        "__init__.py": rendered("__init__.py", identifier=name),
        "model.py": rendered("model.py", **_model_values(candidate, recipe, name, weights, visual_degrees)),
        "test.py": rendered("test.py", identifier=name, tolerance=TOLERANCE),
        "requirements.txt": _requirements(recipe, weights),
        "reference.bib": reference.encode(),
        "metadata.yml": model_metadata(
            name, recipe, candidate, f"{committed} ({chosen})", visual_degrees, itprobe_version()
        ),
        f"region_layer_map/{name}.json": (json.dumps(dict(region_layer_map), indent=4) + "\n").encode(),
        "test_images/expected.json": expected_activations(candidate, layers),
        **{f"test_images/{image}": content for image, content in probe_images().items()},
        **recipe.files,
    }
    if weights and weights.url is None:
        files["weights.safetensors"] = weights.content
    return Plugin("models", folder_name(name), files)


def itprobe_version() -> str:
    """Version of the installed itprobe."""
    try:
        return version("itprobe")
    except PackageNotFoundError:
        return "0+checkout"


def _model_values(
    candidate: NetworkCandidate, recipe: Recipe, name: str, weights: Weights | None, visual_degrees: float
) -> dict[str, object]:
    preparing = candidate.preprocessing
    standard = [*_STANDARD_LIBRARY, *(line for line in recipe.imports if _is_standard(line))]
    libraries = [*_LIBRARIES, *(line for line in recipe.imports if not _is_standard(line))]
    if weights:
        standard.append("from collections import OrderedDict")
        libraries.append("from safetensors.torch import load_file")
    if weights and weights.url:
        standard.append("import hashlib")
    if preparing.transform:
        standard.append("import functools")
    height, width = preparing.size
    return {
        "identifier": name,
        "version": itprobe_version(),
        "candidate": recipe.title,
        "imports": [*sorted(standard, key=_place), "", *sorted(libraries, key=_place)],
        "visual_degrees": visual_degrees,
        "transform": preparing.transform is not None,
        "height": height,
        "width": width,
        "mean": preparing.mean,
        "std": preparing.std,
        "resampling": preparing.resampling().name,
        "build": recipe.build,
        "seed": recipe.seed,
        "weights": ("hosted" if weights.url else "packed") if weights else "",
        "weights_url": weights.url if weights else None,
        "weights_sha256": weights.sha256 if weights else None,
        "source_file": recipe.source_file,
        "factory": recipe.factory,
    }


def _requirements(recipe: Recipe, weights: Weights | None) -> bytes:
    lines = [*recipe.requirements, *(["safetensors>=0.4"] if weights else [])]
    return ("\n".join(dict.fromkeys(lines)) + "\n").encode()


def _is_standard(line: str) -> bool:
    return line in ("import importlib.util", "import sys")


def _place(line: str) -> tuple[bool, str]:
    """Plain imports first, then those of names, as isort has them."""
    return line.startswith("from"), line.split()[1].lower()


def rendered(template: str, **values: object) -> bytes:
    """Fill in a template of this folder; the filter ``literal`` writes a value as Python source."""
    return _TEMPLATES.get_template(f"{template}.jinja").render(values).encode() + b"\n"
