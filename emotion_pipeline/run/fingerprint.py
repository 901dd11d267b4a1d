"""Which code makes a number: the source behind a module, and one hash over it."""

import ast
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CARRIERS = ("errors", "params", "run", "data.artifact", "data.manifest", "weights.fetch")
"""Rooms and modules that bring arrays from one place to another: an edit there makes no result out of date."""


def carries_unchanged(module: str) -> bool:
    """Return whether a module is one of `CARRIERS`, or lies in such a room."""
    return module == "emotion_pipeline" or f"{module}.".startswith(tuple(f"emotion_pipeline.{c}." for c in CARRIERS))


def source_files(module: str, stop: Callable[[str], bool] = lambda _: False) -> dict[str, Path]:
    """Return name and file of every module of ours that `module` imports, itself included, also inside functions.

    Static: nothing is imported. Modules at which `stop` is true are left out, with what only they import.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in found or stop(name) or file is None:
            continue
        found[name] = file
        waiting += [".".join(name.split(".")[:k]) for k in range(1, name.count(".") + 1)]
        waiting += _imports(file)
    return dict(sorted(found.items()))


@cache
def code_fingerprint(module: str) -> str:
    """Return a SHA-256 over the code behind `module` and the versions of the libraries that this code imports.

    Comments, blank lines, formatting and docstrings do not count.
    """
    code = {name: _bare_code(file) for name, file in source_files(module, carries_unchanged).items()}
    return digest({"code": code, "versions": library_versions(module)})


@cache
def library_versions(module: str) -> dict[str, str]:
    """Return the versions of the libraries that the code behind `module` imports, by package."""
    files = source_files(module, carries_unchanged).values()
    libraries = {name.split(".")[0] for file in files for name in _imports(file)}
    known = packages_distributions()
    return {
        package: version(package).split("+")[0]  # 2.13.0+cpu makes the numbers of 2.13.0
        for library in libraries - set(sys.stdlib_module_names) - {"emotion_pipeline"}
        for package in known.get(library, [])
    }


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON-able value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file_of(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _bare_code(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
