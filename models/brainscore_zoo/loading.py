"""Loading a model of Brain-Score's zoo, and saying in one line why one cannot be had."""

import http.client
import os
import random
import re
import socket
import ssl
import sys
import traceback
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import numpy as np
import torch

from itprobe.errors import InputError
from itprobe.models.brainscore_zoo.registrations import PREFIX, plugin_of
from itprobe.models.user_code import one_line
from itprobe.models.weights import build_seeded

_NETWORK_ERRORS = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    ssl.SSLError,
    urllib.error.URLError,
    http.client.HTTPException,
)
_NETWORK_PACKAGES = {
    "botocore",
    "boto3",
    "gdown",
    "httpcore",
    "httpx",
    "huggingface_hub",
    "requests",
    "urllib3",
}
_ADDRESS = re.compile(r"https?://[^\s'\"<>,)]+")
_ADDRESS_NAMES = ("url", "fullurl", "full_url", "endpoint_url", "uri")


@contextmanager
def brainscore_calls() -> Iterator[None]:
    """Call Brain-Score's code without its caches, and with what it prints on standard error.

    Its caches of activations, placed stimuli and layer choices (``~/.result_caching``) are keyed by the
    names of the model and of the stimulus set: they answer for other weights or other images of the same
    name. Standard output belongs to our own results.
    """
    before = os.environ.get("RESULTCACHING_DISABLE")
    os.environ["RESULTCACHING_DISABLE"] = "1"
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if before is None:
            os.environ.pop("RESULTCACHING_DISABLE", None)
        else:
            os.environ["RESULTCACHING_DISABLE"] = before


def load_zoo_model(name: str) -> Any:
    """Load a model as Brain-Score does; what it draws at random it draws again the same.

    Returns
    -------
    object
        A BrainModel or an activations model.

    Raises
    ------
    InputError
        If there is no such model, it needs a package that is missing, its weights cannot be downloaded, or
        its own code fails.
    """
    plugin = plugin_of(name)
    import brainscore_vision  # takes seconds, and only these candidates need it

    shown = PREFIX + name
    try:
        with brainscore_calls(), _seeded():
            return build_seeded(lambda: brainscore_vision.load_model(name), 0)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{shown} needs the Python package {error.name!r}, which is not installed{_asked_for(plugin)}; "
            "install it and try again"
        ) from error
    # What a plugin raises is its own business, an exit included.
    except (Exception, SystemExit) as error:
        if _is_network_error(error):
            raise InputError(
                f"the weights of {shown} cannot be downloaded from {_origin(error)} ({one_line(error)}); "
                "try again where that can be reached"
            ) from error
        raise InputError(
            f"{shown} cannot be loaded: its plugin (brainscore_vision/models/{plugin.name}) raised "
            f"{one_line(error)}; choose another model"
        ) from error


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed numpy's and Python's generators (torch's is seeded elsewhere), and leave them as they were.

    Torch's default type stays, too: some plugins change it for the whole process.
    """
    default = torch.get_default_dtype()
    numpys, pythons = np.random.get_state(), random.getstate()  # noqa: NPY002 - plugins draw from the global one
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(numpys)  # noqa: NPY002
        random.setstate(pythons)
        torch.set_default_dtype(default)


def _asked_for(plugin: Any) -> str:
    file = plugin / "requirements.txt"
    if not file.is_file():
        return ""
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line]
    return f" (its plugin asks for: {', '.join(wanted[:8])})" if wanted else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _is_network_error(error: BaseException) -> bool:
    return any(
        isinstance(one, _NETWORK_ERRORS) or type(one).__module__.partition(".")[0] in _NETWORK_PACKAGES
        for one in _chain(error)
    )


def _origin(error: BaseException) -> str:
    """What could not be reached: from the message, else from the variables of the calls that failed."""
    for one in _chain(error):
        match = _ADDRESS.search(str(one))
        if match:
            return match.group()
    for one in _chain(error):
        for frame, _ in reversed(list(traceback.walk_tb(one.__traceback__))):
            origin = _origin_in(frame.f_locals)
            if origin:
                return origin
    return "its origin"


def _origin_in(variables: dict[str, Any]) -> str | None:
    for name in _ADDRESS_NAMES:
        match = _ADDRESS.search(str(variables.get(name, "")))
        if match:
            return match.group()
    repository = variables.get("repo_id") or variables.get("pretrained_model_name_or_path")
    if isinstance(repository, str):
        return f"https://huggingface.co/{repository}"
    bucket = variables.get("bucket") or variables.get("bucket_name")
    path = variables.get("relative_path") or variables.get("key")
    return f"s3://{bucket}/{path}" if isinstance(bucket, str) and isinstance(path, str) else None
