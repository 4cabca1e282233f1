"""A submitter's own code: read without running it, and packed with what it imports from beside it."""

import ast
import importlib.util
import re
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path, PurePosixPath

from itprobe.errors import InputError, unknown_name
from itprobe.models.identifiers import CandidateId
from itprobe.models.neighbours import Neighbours

_COMES_WITH_BRAINSCORE = {
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "pillow",
    "h5py",
    "tqdm",
}


def check_factory(candidate: CandidateId) -> None:
    """Check that ``path/to/file.py::factory`` names a function or class, without running the file.

    Raises
    ------
    InputError
        If the file is missing or no Python, has no such name, or the name stands for a value: a lambda, a
        closure, an object.
    """
    path_text, _, factory = candidate.name.partition("::")
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise InputError(f"candidate {candidate.name!r}: there is no file {path}")
    bound = _bound_names(parse_source(path.read_bytes(), str(path)).body)
    if factory not in bound and "*" not in bound:
        functions = [name for name, kind in bound.items() if kind == "definition"]
        raise unknown_name(f"factory in {path}", factory, functions)
    if bound.get(factory) == "value":
        raise InputError(
            f"{candidate.name} is a lambda, a closure or an object that exists in memory only, and cannot be "
            f"submitted; write it as 'def {factory}():' in {path.name}"
        )


def parse_source(content: bytes, name: str) -> ast.Module:
    """Parse Python source without running it, or raise `InputError` with its first mistake."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise InputError(f"{name} is no Python source{line}: {reason}; mend it") from None


def imported_packages(tree: ast.Module) -> set[str]:
    """Names of the top-level packages that a module imports anywhere in it, relative imports aside."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def packed_sources(path: Path, neighbours: Neighbours) -> dict[str, bytes]:
    """The file and the modules beside it that it imported: path below ``source/`` -> content.

    Raises
    ------
    InputError
        If one of them is compiled.
    """
    files = {packed_name(path): path.read_bytes()}
    beside = {name: file for name, file in neighbours.files().items() if file.resolve() != path.resolve()}
    for name, file in beside.items():
        if file.suffix != ".py":
            raise InputError(f"{path.name} imports {file}, which is no Python source and cannot be submitted")
        parts = PurePosixPath(*name.split("."))
        packed = parts / "__init__.py" if file.name == "__init__.py" else parts.with_suffix(".py")
        files[str(packed)] = file.read_bytes()
    return files


def packed_name(path: Path) -> str:
    """The file's own name, where every system takes it."""
    return path.name if re.fullmatch(r"[\w.-]+", path.name, re.ASCII) else "factory.py"


def third_party_requirements(files: dict[str, bytes]) -> list[str]:
    """Requirement lines for the packages that own modules (``source/PATH`` -> content) import.

    Raises
    ------
    InputError
        If itprobe is among them, or one that pip did not install.
    """
    own = {PurePosixPath(path).parts[1].removesuffix(".py") for path in files}
    wanted: set[str] = set()
    for path, content in files.items():
        wanted |= imported_packages(parse_source(content, path))
    if "itprobe" in wanted:
        raise InputError("the file imports itprobe, which Brain-Score does not have; write it without")
    distributions = packages_distributions()
    lines = []
    for package in sorted(wanted - own - set(sys.stdlib_module_names)):
        names = distributions.get(package)
        if names:
            plain = names[0].lower() in _COMES_WITH_BRAINSCORE
            lines.append(names[0].lower() if plain else requirement(names[0]))
        elif importlib.util.find_spec(package):
            raise InputError(
                f"the file imports {package}, which is installed here but belongs to no package of pip's; put its "
                "source beside the file"
            )
    return lines


def requirement(distribution: str) -> str:
    """Requirement line for the installed version of a distribution, or a later one."""
    return f"{distribution}>={version(distribution)}"


def _bound_names(body: list[ast.stmt]) -> dict[str, str]:
    """Names at the top level of a module: bound by a definition, an import or as a value."""
    bound: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound[node.name] = "definition"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.partition(".")[0]: "import" for alias in node.names}
        elif isinstance(node, ast.If | ast.Try | ast.With):
            parts = list(ast.iter_child_nodes(node))
            parts += [
                part for handler in parts if isinstance(handler, ast.ExceptHandler) for part in handler.body
            ]
            bound |= _bound_names([part for part in parts if isinstance(part, ast.stmt)])
        else:
            stored = (name for name in ast.walk(node) if isinstance(name, ast.Name))
            bound |= {name.id: "value" for name in stored if isinstance(name.ctx, ast.Store)}
    return bound
