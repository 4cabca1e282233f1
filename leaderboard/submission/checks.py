"""What can be said of a submission by reading it: nothing of it is imported or run here."""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from brainscore_core.metadata import MetadataError, validate, vocabulary_warnings
from brainscore_core.metadata.contract import read_yaml
from packaging.requirements import InvalidRequirement, Requirement

from itprobe.errors import InputError
from itprobe.leaderboard.submission.archive import MEGABYTE
from itprobe.leaderboard.submission.library import KINDS, library_folder, literal_ids, registered
from itprobe.leaderboard.submission.own_code import imported_packages, parse_source
from itprobe.leaderboard.submission.plugin import REGIONS
from itprobe.leaderboard.submission.reference import check_reference

State = Literal["ok", "note", "failed"]
_TEST_FILE = re.compile(r"test.*\.py")
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_IDENTIFIER = re.compile(r"[^\s/'\"\[\]\\]{1,200}")
_BY_THE_WAY = re.compile(r"__MACOSX/|\.|([^/]+/){1,2}\.[^/]*$")  # hidden files that lie in no plugin
_READ = (".py", ".json", ".yml", ".yaml", ".bib", ".txt")
_METADATA_NAMES = ("metadata.yml", "metadata.yaml")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    state : {"ok", "note", "failed"}
        A note is worth knowing and stops nothing.
    text : str
        What was found; where it failed, why and what to do.
    """

    name: str
    state: State
    text: str

    def __str__(self) -> str:
        line = f"{self.state:<7} {self.name}: {' '.join(self.text.split())}"
        return "".join(
            sign if sign.isprintable() else "?" for sign in line
        )  # it may come from the submission


@dataclass(frozen=True)
class SubmittedPlugin:
    """A plugin as it lies in a submission.

    Attributes
    ----------
    kind : str
        ``models``, ``benchmarks``, ``metrics`` or ``data``.
    name : str
        Of its folder.
    files : dict of str to bytes
        Path in its folder -> content.
    """

    kind: str
    name: str
    files: dict[str, bytes]

    @property
    def identifiers(self) -> list[str]:
        """Ids that Brain-Score's text search finds in it."""
        source = self.files["__init__.py"].decode(errors="replace")
        return [name for registry in KINDS[self.kind] for name in literal_ids(source, registry)]

    @property
    def sources(self) -> dict[str, bytes]:
        """Its Python files."""
        return {path: content for path, content in self.files.items() if path.endswith(".py")}

    @property
    def needs_itprobe(self) -> bool:
        """Whether its requirements name itprobe, as those of itprobe's own plugins do."""
        return "itprobe" in {requirement.name for requirement in _parsed_requirements(self)[0]}


def find_plugins(files: Mapping[str, bytes]) -> list[SubmittedPlugin]:
    """Find the plugins of a submission.

    Parameters
    ----------
    files : mapping of str to bytes
        As `itprobe.leaderboard.submission.archive.read_archive` gives them.

    Raises
    ------
    InputError
        If the folders are not those that Brain-Score looks for.
    """
    visible = {path: content for path, content in files.items() if not _BY_THE_WAY.match(path)}
    roots = {path.split("/")[0] for path in visible}
    if len(roots) != 1 or any(path.count("/") < 3 for path in visible) or roots & set(KINDS):
        raise InputError(
            "the zip file must hold one folder, and in it KIND/PLUGIN/__init__.py with KIND one of "
            f"{', '.join(KINDS)}, e.g. my_model/models/my_model/__init__.py"
        )
    grouped: dict[tuple[str, str], dict[str, bytes]] = {}
    for path, content in visible.items():
        _, kind, name, rest = path.split("/", 3)
        if kind not in KINDS:
            raise InputError(f"{path}: {kind!r} is no kind of plugin; Brain-Score knows {', '.join(KINDS)}")
        if len(content) > MEGABYTE and PurePosixPath(rest).suffix in _READ:
            raise InputError(f"{path} has {len(content) / MEGABYTE:.0f} MB of text; at most 1 MB is read")
        grouped.setdefault((kind, name), {})[rest] = content
    plugins = [SubmittedPlugin(kind, name, own) for (kind, name), own in grouped.items()]
    for plugin in plugins:
        if not _FOLDER.fullmatch(plugin.name):
            raise InputError(
                f"{plugin.kind}/{plugin.name}: name the folder with letters, digits, '_' and '-'"
            )
        if "__init__.py" not in plugin.files:
            raise InputError(
                f"{plugin.kind}/{plugin.name} has no __init__.py, where Brain-Score looks for registrations"
            )
    return plugins


def static_checks(plugin: SubmittedPlugin) -> list[Check]:
    """Check one plugin by its text.

    Returns
    -------
    list of Check
        In the order of a submitter's interest; a check that cannot be made after another failed is left out.
    """
    made: list[Check] = []
    for name, check in _CHECKS.items():
        try:
            made += [Check(name, state, text) for state, text in check(plugin)]
        except InputError as error:
            made.append(Check(name, "failed", str(error)))
    return made


Found = Iterator[tuple[State, str]]


def _source(plugin: SubmittedPlugin) -> Found:
    for path, content in plugin.sources.items():
        parse_source(content, path)
    yield "ok", f"{len(plugin.sources)} Python files can be read"


def _registration(plugin: SubmittedPlugin) -> Found:
    registry = KINDS[plugin.kind][0]
    identifiers = plugin.identifiers
    if not identifiers:
        raise InputError(
            f"Brain-Score finds a plugin by the very text {registry}['ID'] in its __init__.py, and there is none; "
            f"write {registry}['my_id'] = lambda: ... on a line of its own"
        )
    odd = [identifier for identifier in identifiers if not _IDENTIFIER.fullmatch(identifier)]
    if odd:
        raise InputError(
            f"{odd[0]!r} cannot be an id: Brain-Score makes file names of ids, so use no / or spaces"
        )
    twice = sorted({identifier for identifier in identifiers if identifiers.count(identifier) > 1})
    if plugin.kind != "data" and twice:
        yield "note", f"registered twice, of which the last counts: {_some(twice)}"
    # Brain-Score's list of new plugins takes all up to the last bracket of the line for the id.
    source = plugin.files["__init__.py"].decode(errors="replace")
    for line in source.splitlines():
        if f"{registry}[" in line and line.rstrip().count("]") > 1:
            yield (
                "note",
                f"a second ']' in a line of a registration confuses Brain-Score's list of ids: {line[:80]}",
            )
    yield "ok", f"{registry} gets {_some(identifiers)}"


def _names_are_free(plugin: SubmittedPlugin) -> Found:
    taken = registered(plugin.kind)
    installed = library_folder() / plugin.kind / plugin.name / "__init__.py"
    same = installed.is_file() and installed.read_bytes() == plugin.files["__init__.py"]
    for identifier in plugin.identifiers:
        if identifier in taken and not (same and taken[identifier] == plugin.name):
            raise InputError(
                f"{identifier!r} is registered in Brain-Score already ({plugin.kind}/{taken[identifier]}), and each "
                "id may be registered once; take another"
            )
    if installed.parent.is_dir() and not same:
        raise InputError(f"Brain-Score has a folder {plugin.kind}/{plugin.name} already; take another name")
    yield "ok", "no id or folder of the installed Brain-Score has these names"


def _tests(plugin: SubmittedPlugin) -> Found:
    found = [path for path in plugin.files if "/" not in path and _TEST_FILE.fullmatch(path)]
    if not found:
        raise InputError("there is no test.py; Brain-Score refuses plugins without a test")
    yield "ok", f"{_some(found)}"


def _parsed_requirements(plugin: SubmittedPlugin) -> tuple[list[Requirement], list[str]]:
    """Requirements that can be read, and lines that cannot (options, addresses)."""
    read, odd = [], []
    for line in plugin.files.get("requirements.txt", b"").decode(errors="replace").splitlines():
        text = line.split(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            read.append(Requirement(text))
        except InvalidRequirement:
            odd.append(text)
    return read, odd


def _requirements(plugin: SubmittedPlugin) -> Found:
    read, odd = _parsed_requirements(plugin)
    if odd and not all(text.startswith(("git+https://", "https://", "-e git+https://")) for text in odd):
        raise InputError(
            f"requirements.txt: {odd[0][:80]!r} is no requirement of a package; write e.g. timm>=1.0"
        )
    yield from (("note", f"{text[:80]} is fetched from an address that may change") for text in odd)
    if plugin.kind == "models" and "itprobe" in {requirement.name for requirement in read}:
        yield "note", "it names itprobe, which a model does not need: itprobe submit writes models without"
    imported = set().union(
        *(imported_packages(parse_source(text, path)) for path, text in plugin.sources.items())
    )
    if "itprobe" in imported and not plugin.needs_itprobe:
        raise InputError("it imports itprobe, which its requirements.txt does not name")
    if "environment.yml" in plugin.files:
        yield "note", "environment.yml is for conda, which is not tried here"
    if "requirements.txt" not in plugin.files:
        yield "note", "there is no requirements.txt: it runs with what Brain-Score itself needs"
    else:
        yield "ok", f"requirements.txt: {_some([str(requirement) for requirement in read]) or 'nothing'}"


def _region_layer_map(plugin: SubmittedPlugin) -> Found:
    if plugin.kind != "models":
        return
    for identifier in plugin.identifiers:
        path = f"region_layer_map/{identifier}.json"
        if path not in plugin.files:
            yield (
                "note",
                f"there is no {path}: Brain-Score would download recordings to choose layers by itself",
            )
            continue
        regions = _json(plugin.files[path], path)
        if not isinstance(regions, dict) or not all(isinstance(layer, str) for layer in regions.values()):
            raise InputError(f"{path} must give a layer's name for each region, {{'IT': 'layer4', ...}}")
        missing = [region for region in REGIONS if region not in regions]
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}, for which Brain-Score would download recordings"
            )
        committed = ", ".join(f"{region}: {layer}" for region, layer in regions.items())
        yield "ok", f"{identifier}: {committed[:300]}"


def _json(content: bytes, path: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON ({str(error)[:80]})") from None


def _metadata(plugin: SubmittedPlugin) -> Found:
    if plugin.kind != "models":
        return
    path = next((name for name in _METADATA_NAMES if name in plugin.files), None)
    if path is None:
        yield "note", "there is no metadata.yml: Brain-Score's site will show nothing about the model"
        return
    try:
        content = read_yaml(plugin.files[path].decode())
        if isinstance(content, dict) and "schema_version" not in content and "models" in content:
            yield "note", f"{path} is of the form before schema 2.0, which Brain-Score still reads"
            return
        document = validate(content, "vision")
    except (MetadataError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: {error}") from None
    strange = set(document["models"]) ^ set(plugin.identifiers)
    if strange:
        raise InputError(
            f"{path} and the registrations differ in {_some(sorted(strange))}; describe each model once"
        )
    yield from (("note", f"{path}: {warning}") for warning in vocabulary_warnings(document))
    yield "ok", f"{path} has the form that Brain-Score takes"


def _reference(plugin: SubmittedPlugin) -> Found:
    if plugin.kind != "models":
        return
    texts = _bibtex_texts(plugin)
    if not any(text.strip() for text in texts):
        yield "note", "there is no BibTeX: the model stands on Brain-Score's site without a reference"
        return
    for text in texts:
        try:
            yield "ok", check_reference(text)
        except InputError as error:  # Brain-Score takes the model and logs the same
            yield "note", f"{error}; the model will stand without a reference"
    if "model.py" not in plugin.files or b"def get_bibtex" not in plugin.files["model.py"]:
        yield "note", "model.py has no get_bibtex(identifier), by which Brain-Score asks for it"


def _bibtex_texts(plugin: SubmittedPlugin) -> list[str]:
    """Contents of .bib files, and of the constant BIBTEX."""
    texts = [
        content.decode(errors="replace") for path, content in plugin.files.items() if path.endswith(".bib")
    ]
    for path, content in plugin.sources.items():
        for node in parse_source(content, path).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
                continue
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            if "BIBTEX" in names and isinstance(node.value.value, str):
                texts.append(node.value.value)
    return texts


def _stray(plugin: SubmittedPlugin) -> Found:
    stray = [path for path in plugin.files if any(part.startswith(".") for part in PurePosixPath(path).parts)]
    if stray:
        yield "note", f"hidden files go along: {_some(stray)}"


_CHECKS: dict[str, Callable[[SubmittedPlugin], Found]] = {
    "source": _source,
    "registration": _registration,
    "names": _names_are_free,
    "tests": _tests,
    "requirements": _requirements,
    "region_layer_map": _region_layer_map,
    "metadata": _metadata,
    "reference": _reference,
    "files": _stray,
}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
