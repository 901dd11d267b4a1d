"""How large the rooms, modules and functions of emotion_pipeline/ are, and who imports whom.

Lines of a function are those from `def` to its last line, docstring included, decorators not; methods and functions
inside functions count on their own. Lines of a module are all lines of its file.
"""

import ast
import re
from statistics import median

import pytest

from benchmarks import rooms
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "emotion_pipeline"
SOURCES = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
FUNCTIONS = {
    f"{file}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
    for file, source in SOURCES.items()
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
}
A, B, C = "emotion_pipeline.data.a", "emotion_pipeline.faces.b", "emotion_pipeline.faces.c"


def test_at_most_six_modules_stand_beside_the_packages():
    beside = [file for file in SOURCES if "/" not in file and file != "__init__.py"]
    assert len(beside) <= 6, beside


def test_no_module_has_more_than_250_lines():
    lengths = {file: len(source.splitlines()) for file, source in SOURCES.items()}
    assert {file: n for file, n in lengths.items() if n > 250} == {}


def test_functions_are_short():
    assert len(FUNCTIONS) > 300
    assert median(FUNCTIONS.values()) <= 8
    assert {name: n for name, n in FUNCTIONS.items() if n > 50} == {}


@pytest.mark.parametrize("file", [file for file in SOURCES if file.endswith("__init__.py")])
def test_a_package_says_what_it_holds_and_has_no_logic(file):
    tree = ast.parse(SOURCES[file])
    assert ast.get_docstring(tree)
    other = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert [text for text in map(ast.unparse, other) if not text.startswith("__all__ = ")] == []


@pytest.mark.parametrize("file", [file for file in SOURCES if file.endswith("/__init__.py")])
def test_what_a_package_names_as_its_public_face_is_in_it(file):
    sources = [source for other, source in SOURCES.items() if other.startswith(file.removesuffix("__init__.py"))]
    top = [node for source in sources for node in ast.parse(source).body]
    public = {node.name for node in top if hasattr(node, "name")}
    public |= {name for node in top if isinstance(node, ast.Assign) for name in map(ast.unparse, node.targets)}
    own = ast.parse(SOURCES[file])
    imported = {alias.name for node in own.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    named = imported | set(re.findall(r"`(\w+)`", ast.get_docstring(own)))
    assert named
    assert named <= public, named - public


def test_rooms_import_only_from_rooms_before_them_and_in_no_circle():
    assert rooms.complaint(rooms.module_imports()) == ""


def test_an_import_upward_and_a_circle_are_seen():
    assert rooms.upward({A: set(), B: {A, C}, C: set()}) == []
    assert rooms.upward({A: {B}, B: set()}) == [(A, B)]
    assert rooms.circle({A: set(), B: {A, C}, C: {A}}) == []
    assert rooms.circle({B: {C}, C: {B}}) in ([B, C, B], [C, B, C])


def test_an_arrow_is_left_out_only_where_a_longer_way_says_the_same():
    graph = rooms.arrows({"x.data.a": {"x.errors"}, "x.faces.b": {"x.errors", "x.data.a"}, "x.api": {"x.errors"}})
    assert {room: used for room, used in graph.items() if used} == {
        "data": {"errors"},
        "faces": {"data"},
        "api": {"errors"},
    }


def test_the_docs_show_every_room():
    page, picture = ((REPOSITORY / "docs" / name).read_text() for name in ("rooms.md", "rooms.svg"))
    assert re.findall(r"^\| `(\w+)", page, re.MULTILINE) == list(rooms.ROOMS)
    assert set(re.findall(r'class="name"[^>]*>(\w+)<', picture)) == set(rooms.ROOMS)
