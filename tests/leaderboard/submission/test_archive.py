"""Zip files: the same bytes every time, in the form Brain-Score unpacks, and nothing hostile gets through."""

import hashlib
import io
import json
import os
import pickle
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from brainscore_core.submission.repository import extract_zip_file
from hypothesis import given, settings
from hypothesis import strategies as st

from itprobe.errors import InputError
from itprobe.leaderboard.submission import archive
from itprobe.leaderboard.submission.archive import read_archive, unpack, write_archive

FILES = {"net/models/net/__init__.py": b"model_registry['net'] = 1\n", "net/models/net/a/b.json": b"{}"}


def pack(path, *entries, **options):
    """A zip file with entries (name or ZipInfo, content), written by the standard library."""
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_STORED)) as made:
        for name, content in entries:
            made.writestr(name, content)
    return path


def test_archive_is_the_same_whenever_and_in_whatever_order_it_is_written(tmp_path, monkeypatch):
    first = write_archive(FILES, tmp_path / "a.zip").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    os.umask(os.umask(0o077))
    second = write_archive(dict(reversed(FILES.items())), tmp_path / "b.zip").read_bytes()
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert read_archive(tmp_path / "a.zip") == FILES


def test_brain_score_unpacks_it_and_its_website_finds_the_plugin(tmp_path):
    write_archive(FILES, tmp_path / "submission_7.zip")
    (tmp_path / "work").mkdir()
    folder = extract_zip_file(7, tmp_path, tmp_path / "work")
    assert (folder / "models" / "net" / "__init__.py").read_bytes() == FILES["net/models/net/__init__.py"]
    # The website looks at entries of folders: ROOT/models/ and ROOT/models/PLUGIN/.
    with zipfile.ZipFile(tmp_path / "submission_7.zip") as made:
        folders = [name for name in made.namelist() if name.endswith("/")]
        modes = {stat.filemode(entry.external_attr >> 16) for entry in made.infolist()}
    assert folders == ["net/", "net/models/", "net/models/net/", "net/models/net/a/"]
    assert modes == {"drwxr-xr-x", "-rw-r--r--"}


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    out = write_archive(FILES, tmp_path / "a.zip")
    before = out.read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError):
        write_archive({"other/x": b"1"}, out)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def link(name, target=b"/etc/passwd", kind=stat.S_IFLNK):
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    return entry, target


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/itprobe-was-here",)


def saved_by_torch():
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, stream)
    return stream.getvalue()


def object_array():
    stream = io.BytesIO()
    np.save(stream, np.array([Evil()], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (("../x", b""), "leads out"),
        (("a/../../x", b""), "leads out"),
        (("/etc/x", b""), "leads out"),
        (("C:/x", b""), "leads out"),
        (("a\\..\\..\\x", b""), "no name"),
        (("a//x", b""), "no name"),
        (("./x", b""), "no name"),
        (("a/\nx", b""), "no name"),
        (("a/\x1b[31mx", b""), "no name"),
        (("a/<script>", b""), "no name"),
        (("a/\u202etxt.py", b""), "no name"),
        (("a" * 201, b""), "no name"),
        (link("a/link"), "symbolic link"),
        (link("a/pipe", b"", stat.S_IFIFO), "no ordinary file"),
        (("a/w.pkl", b"x"), "pickle"),
        (("a/w.pth", b"x"), "pickle"),
        (("a/w.PT", b"x"), "pickle"),
        (("a/w.so", b"x"), "compiled"),
        (("a/w.txt", pickle.dumps(Evil())), "pickle"),
        (("a/w.txt", pickle.dumps(Evil(), protocol=0)), "pickle"),
        (("a/w.txt", pickle.dumps(Evil())[:-1] + b"\xff"), "pickle"),
        (("a/w.npy", object_array()), "pickle"),
        (("a/w.safetensors", saved_by_torch()), "zip file"),
        (("a/w.txt", b"\x1f\x8b\x08"), "gzip"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_could_escape_or_run_is_refused(tmp_path, entry, reason):
    with pytest.raises(InputError, match=reason) as raised:
        read_archive(pack(tmp_path / "hostile.zip", entry))
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert not Path("/tmp/itprobe-was-here").exists()


def test_two_names_for_one_file_and_a_file_as_a_folder(tmp_path):
    with pytest.raises(InputError, match="would be one file"):
        read_archive(pack(tmp_path / "a.zip", ("m/A.py", b"1"), ("m/a.py", b"2")))
    with pytest.warns(UserWarning, match="Duplicate"):
        pack(tmp_path / "b.zip", ("m/a.py", b"1"), ("m/a.py", b"2"))
    with pytest.raises(InputError, match="would be one file"):
        read_archive(tmp_path / "b.zip")
    with pytest.raises(InputError, match="a file and a folder"):
        read_archive(pack(tmp_path / "c.zip", ("m", b"1"), ("m/a.py", b"2")))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).bytes(4000)
    bomb = pack(tmp_path / "bomb.zip", ("m/zeros", bytes(5 * 10**6)), compression=zipfile.ZIP_DEFLATED)
    large = pack(tmp_path / "large.zip", ("m/large", noise))
    many = pack(tmp_path / "many.zip", *((f"m/{k}", bytes(k) + noise[:2900]) for k in range(6)))
    opened = []
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: opened.append(1))
    with pytest.raises(InputError, match="100 times its size"):
        read_archive(bomb)
    monkeypatch.setattr(archive, "LARGEST_FILE", 3000)
    with pytest.raises(InputError, match="GitHub's limit"):
        read_archive(large)
    monkeypatch.setattr(archive, "LARGEST_TOTAL", 10_000)
    with pytest.raises(InputError, match="at most"):
        read_archive(many)
    assert not opened


def test_more_files_than_a_plugin_needs(tmp_path, monkeypatch):
    crowd = pack(tmp_path / "crowd.zip", *((f"m/{k}", b"") for k in range(archive.MOST_FILES + 1)))
    with pytest.raises(InputError, match=r"1001|lists more than"):
        read_archive(crowd)
    # Where the directory itself is huge it is not even parsed.
    monkeypatch.setattr(archive, "MOST_FILES", 10)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(InputError, match="lists more than 10"):
        read_archive(crowd)


def test_a_size_that_is_a_lie(tmp_path):
    raw = bytearray(
        pack(tmp_path / "honest.zip", ("m/a", b"x" * 9000), compression=zipfile.ZIP_DEFLATED).read_bytes()
    )
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = raw.index(signature)
        raw[start + offset : start + offset + 4] = struct.pack("<I", 10)
    (tmp_path / "liar.zip").write_bytes(raw)
    with pytest.raises(InputError, match="zip file"):
        read_archive(tmp_path / "liar.zip")


def test_encrypted_damaged_and_missing(tmp_path):
    raw = bytearray(pack(tmp_path / "a.zip", ("m/a", b"text")).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    (tmp_path / "locked.zip").write_bytes(raw)
    with pytest.raises(InputError, match="encrypted"):
        read_archive(tmp_path / "locked.zip")
    for content in (b"", b"no zip", b"PK\x05\x06" + bytes(18), raw[:40]):
        (tmp_path / "damaged.zip").write_bytes(content)
        if content[:4] == b"PK\x05\x06":
            assert read_archive(tmp_path / "damaged.zip") == {}
        else:
            with pytest.raises(InputError, match=r"cannot be read|is no"):
                read_archive(tmp_path / "damaged.zip")
    with pytest.raises(InputError, match="cannot be read"):
        read_archive(tmp_path / "missing.zip")
    with pytest.raises(InputError, match="no file"):
        read_archive(tmp_path)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.zip"
    content = bytearray(write_archive(FILES, path).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    try:
        assert all(isinstance(name, str) for name in read_archive(path))
    except InputError as error:
        assert "\n" not in str(error)


def test_ordinary_files_of_a_plugin_are_taken(tmp_path):
    tensors = struct.pack("<Q", 0x0280) + json.dumps({"w": 1}).encode()  # begins as pickles of protocol 2 do
    files = {
        "n/models/n/weights.safetensors": tensors,
        "n/models/n/README": b"N. Surname wrote this.\n",
        "n/models/n/class.txt": b"class Net:\n  pass\n",
        "n/models/n/x.png": b"\x89PNG\r\n\x1a\n.",
    }
    write_archive(files, tmp_path / "a.zip")
    assert read_archive(tmp_path / "a.zip") == files
    unpack(read_archive(tmp_path / "a.zip"), tmp_path / "out")
    assert (tmp_path / "out" / "n/models/n/README").read_bytes() == files["n/models/n/README"]
