"""Reads arrays of HDF5 files that strangers wrote, in a process of its own: run as a script, it imports no itprobe.

The HDF5 library can be made to run for ever, or to crash, by a file that was tampered with; then only this process
does. One request a line on the standard input, as JSON: path, variables (dimensions by name), texts (those that hold
texts), most (values of one array), longest (characters of one text), wanted (what to read; none: only look) and
attributes (of the file, all of them texts). The answer is a line of JSON, with the texts in it, and behind it the
bytes of all arrays of numbers, as float64.
"""

import json
import math
import sys
from typing import Any, BinaryIO

import h5py
import numpy as np

LARGEST_MEMORY = 4 * 2**30
SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "deflate",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}


class Unreadable(ValueError):
    """The file is not what is asked for; the message says how."""


def answer(request: dict[str, Any], output: BinaryIO) -> None:
    """Look at a file and write what is asked for."""
    texts: dict[str, list[str]] = {}
    attributes: dict[str, str] = {}
    numbers: dict[str, np.ndarray] = {}
    try:
        _read(request, texts, attributes, numbers)
    except Exception as error:  # whatever the libraries raise on a broken file is a fact about that file
        said = str(error) if isinstance(error, Unreadable) else f"cannot be read as netCDF4: {error!r}"
        header: dict[str, object] = {"fault": said[:300]}
        numbers = {}
    else:
        header = {
            "texts": texts,
            "attributes": attributes,
            "shapes": {name: array.shape for name, array in numbers.items()},
        }
    output.write(json.dumps(header).encode() + b"\n")
    for array in numbers.values():
        output.write(array.tobytes())
    output.flush()


def _read(
    request: dict[str, Any],
    texts: dict[str, list[str]],
    attributes: dict[str, str],
    numbers: dict[str, np.ndarray],
) -> None:
    with open(request["path"], "rb") as stream:  # noqa: PTH123
        if stream.read(len(SIGNATURE)) != SIGNATURE:
            raise Unreadable("is no netCDF4 file")
    sizes: dict[str, int] = {}
    with h5py.File(request["path"], "r") as source:
        datasets = {}
        for name, dims in request["variables"].items():
            datasets[name] = _dataset(source, name)
            _check_storage(datasets[name], name, request["most"])
            _check_kind(datasets[name], name, name in request["texts"])
            _check_shape(datasets[name], name, dims, sizes, request["most"])
        for name in request["wanted"]:
            if name in request["texts"]:
                texts[name] = [str(text) for text in datasets[name].asstr()[()]]
                if any(len(text) > request["longest"] for text in texts[name]):
                    raise Unreadable(f"holds a {name} of more than {request['longest']} characters")
            else:
                numbers[name] = np.asarray(datasets[name][()], dtype=np.float64)
        for name in request["attributes"]:
            if name in source.attrs:
                attributes[name] = _text(source.attrs[name])


def _text(value: Any) -> str:
    """A text as netCDF libraries keep it: as such, as an array of one, or as bytes."""
    one = value.item() if isinstance(value, np.ndarray | np.generic) else value
    return one.decode("utf-8") if isinstance(one, bytes) else str(one)


def _dataset(source: h5py.File, name: str) -> h5py.Dataset:
    link = source.get(name, getlink=True)
    if link is None:
        raise Unreadable(f"has no variable {name}")
    if not isinstance(link, h5py.HardLink):  # it would lead to another place, or to another file
        raise Unreadable(f"has a link for {name}")
    dataset = source[name]
    if not isinstance(dataset, h5py.Dataset):
        raise Unreadable(f"has no array {name}")
    return dataset


def _check_storage(dataset: h5py.Dataset, name: str, most: int) -> None:
    """Values must lie within the file, in chunks of bearable size, packed with filters that HDF5 brings along."""
    if dataset.external or dataset.is_virtual:
        raise Unreadable(f"has the values of {name} outside of it")
    if dataset.chunks and math.prod(dataset.chunks) > most:
        raise Unreadable(f"has chunks of {math.prod(dataset.chunks):,} values for {name}")
    created = dataset.id.get_create_plist()
    if {created.get_filter(index)[0] for index in range(created.get_nfilters())} - set(FILTERS):
        raise Unreadable(f"packs {name} with another filter than {', '.join(FILTERS.values())}")


def _check_kind(dataset: h5py.Dataset, name: str, text: bool) -> None:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    if text and not is_text:
        raise Unreadable(f"holds {dataset.dtype} for {name}, not texts")
    if not text and dataset.dtype.kind not in "iuf":
        raise Unreadable(f"holds {dataset.dtype} for {name}, not numbers")


def _check_shape(dataset: h5py.Dataset, name: str, dims: list[str], sizes: dict[str, int], most: int) -> None:
    shape = dataset.shape
    same = shape is not None and len(shape) == len(dims)
    if not same or any(sizes.setdefault(dim, n) != n for dim, n in zip(dims, shape, strict=True)):
        raise Unreadable(f"has the shape {shape} for {name}, not {tuple(dims)} as its other variables")
    if math.prod(shape) > most:
        raise Unreadable(f"declares {math.prod(shape):,} values of {name}; the limit is {most:,}")


def main() -> None:
    """Answer requests until the input ends."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LARGEST_MEMORY, LARGEST_MEMORY))
    except (ImportError, ValueError, OSError):  # no such limit on this system: sizes are limited all the same
        pass
    for line in sys.stdin.buffer:
        answer(json.loads(line), sys.stdout.buffer)


if __name__ == "__main__":
    main()
