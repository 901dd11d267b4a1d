"""Draw docs/rooms.svg: the rooms of emotion_pipeline/, their lines of code, and who imports whom.

    python -m benchmarks.rooms [rooms.svg]

A room is a package or a module of emotion_pipeline/. A room stands above all rooms that it imports, so that every
arrow points down, from the importer to what it imports. An arrow is left out where a longer way says the same. Ends
with a message where a room imports one that comes after it in `ROOMS`, or where modules import each other in a circle.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.optimize import isotonic_regression

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "emotion_pipeline"

ROOMS = (
    *("errors", "emotions", "metrics", "params", "data", "run", "training", "weights", "datasets", "sample"),
    *("faces", "features", "temporal", "fusion", "search", "report", "audit", "api", "__main__"),
)
"""Every room, in the order of imports: a room imports only from itself and from rooms before it."""

PAPER = ("faces", "features", "temporal", "fusion")
BOX, ROW, GAP, LANE, EDGE = (140, 52), 92, 36, 36, 20
"""Pixels: box, from row to row, between boxes, for an arrow that passes a row, and around everything."""

Imports = dict[str, set[str]]


def module_files() -> dict[str, Path]:
    """Return every module of the package by its name."""
    files = {path.relative_to(REPOSITORY).with_suffix(""): path for path in (REPOSITORY / PACKAGE).rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in sorted(files.items())}


def room_of(module: str) -> str:
    """Return the room of a module: `faces` for `emotion_pipeline.faces.track`."""
    return module.split(".")[1]


def module_imports() -> Imports:
    """Return which modules of the package each module imports, also inside functions."""
    files = module_files()
    return {m: set(_named(path, files)) & set(files) - {PACKAGE} for m, path in files.items() if m != PACKAGE}


def _named(path: Path, files: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else node.module for name in inner)


def upward(imports: Imports) -> list[tuple[str, str]]:
    """Return module and imported module where the imported one's room comes later in `ROOMS`."""
    place = ROOMS.index
    return [(m, used) for m, found in imports.items() for used in found if place(room_of(used)) > place(room_of(m))]


def circle(imports: Imports) -> list[str]:
    """Return modules of which each imports the next and the last is the first, or an empty list."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def complaint(imports: Imports) -> str:
    """Return what is wrong with the rooms, or an empty text."""
    rooms = {room_of(module) for module in imports}
    if rooms != set(ROOMS):
        return f"ROOMS in {__file__} and {PACKAGE}/ differ in {', '.join(sorted(rooms ^ set(ROOMS)))}"
    if up := upward(imports):
        return "\n".join(f"{module} imports {used}, whose room comes later in ROOMS" for module, used in up)
    if modules := circle(imports):
        return f"a circle of imports: {' -> '.join(modules)}"
    return ""


def arrows(imports: Imports) -> Imports:
    """Return which rooms each room imports, without those that it reaches through another one."""
    direct: Imports = {room: set() for room in ROOMS}
    for module, found in imports.items():
        direct[room_of(module)] |= {room_of(used) for used in found} - {room_of(module)}
    reached: Imports = {}
    for room in ROOMS:
        reached[room] = direct[room].union(*(reached[used] for used in direct[room]))
    return {room: used.difference(*(reached[one] for one in used)) for room, used in direct.items()}


def levels(graph: Imports) -> dict[str, int]:
    """Return the row of each room, 0 at the bottom: one above the highest room that it imports."""
    level: dict[str, int] = {}
    for room in ROOMS:
        level[room] = max((level[used] + 1 for used in graph[room]), default=0)
    return level


def routes(graph: Imports, level: dict[str, int]) -> list[list[str]]:
    """Return for each arrow the names on its way down: room, a lane in every row that it passes, room."""
    return [
        [room, *(f"{room}>{used}>{row}" for row in range(level[room] - 1, level[used], -1)), used]
        for room, found in graph.items()
        for used in sorted(found)
    ]


def columns(ways: list[list[str]], level: dict[str, int]) -> dict[str, float]:
    """Return the x of every room and lane: of 400 sweeps over the rows, that with the fewest crossings."""
    row_of = level | {name: level[way[0]] - i for way in ways for i, name in enumerate(way)}
    rows = [[name for name in row_of if row_of[name] == row] for row in range(max(row_of.values()) + 1)]
    links = [link for way in ways for link in pairwise(way)]
    near = {name: [b if a == name else a for a, b in links if name in (a, b)] for name in row_of}
    x = {name: (i + 1) * BOX[0] for row in rows for i, name in enumerate(row)}
    found = []
    for turn in range(400):
        for row in rows if turn % 2 else reversed(rows):
            wanted = {name: fmean(x[other] for other in near[name] or [name]) for name in row}
            row.sort(key=wanted.__getitem__)
            x |= apart(row, wanted)
        found.append((crossings(links, row_of, x), sum(abs(x[a] - x[b]) for a, b in links), turn, dict(x)))
    best = min(found)[-1]
    aside = BOX[0] / 2 + EDGE - min(best.values())
    return {name: place + aside for name, place in best.items()}


def apart(row: list[str], wanted: dict[str, float]) -> dict[str, float]:
    """Return x of a row's names in their order: as near to the wanted ones as their widths allow."""
    widths = np.array([LANE if ">" in name else BOX[0] + GAP for name in row])
    offset = np.cumsum(widths) - widths / 2
    places = isotonic_regression([wanted[name] for name in row] - offset).x + offset
    return dict(zip(row, places.tolist(), strict=True))


def crossings(links: list[tuple[str, str]], row_of: dict[str, int], x: dict[str, float]) -> int:
    """Return how many pairs of links between the same two rows cross."""
    return sum(
        row_of[a] == row_of[c] and (x[a] - x[c]) * (x[b] - x[d]) < 0 for (a, b), (c, d) in combinations(links, 2)
    )


def picture(graph: Imports, lines: dict[str, int]) -> str:
    """Return the SVG."""
    level = levels(graph)
    ways = routes(graph, level)
    x = columns(ways, level)
    rows = max(level.values()) + 1
    y = {name: (rows - level[way[0]] + i - 0.5) * ROW for way in ways for i, name in enumerate(way)}
    parts = [arrow([(x[name], y[name]) for name in way]) for way in ways]
    parts += [box(room, x[room], y[room], lines[room], lines[room] / max(lines.values())) for room in ROOMS]
    width = round(max(x.values()) + BOX[0] / 2 + EDGE)
    return HEAD.format(width=width, height=rows * ROW) + "\n".join(parts) + "\n</svg>\n"


def arrow(points: list[tuple[float, float]]) -> str:
    """Return an arrow from the first box through the lanes below it to the last box."""
    half = BOX[1] / 2
    path = f"M{points[0][0]:.0f},{points[0][1] + half:.0f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        path += f" V{y1 + half:.0f} C{x1:.0f},{middle:.0f} {x2:.0f},{middle:.0f} {x2:.0f},{y2 - half - 4:.0f}"
    return f'<path d="{path}" marker-end="url(#head)"/>'


def box(room: str, x: float, y: float, lines: int, share: float) -> str:
    """Return a room: its name, its lines of code, and a bar in proportion to them."""
    width, height = BOX
    kind = "paper" if room in PAPER else "other"
    return (
        f'<g class="{kind}" transform="translate({x - width / 2:.0f} {y - height / 2:.0f})">'
        f'<rect width="{width}" height="{height}" rx="8"/>'
        f'<text class="name" x="{width / 2}" y="20">{room}</text><text x="{width / 2}" y="37">{lines:,} lines</text>'
        f'<rect class="bar" x="10" y="{height - 8}" width="{share * (width - 20):.0f}" height="3"/></g>'
    )


HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>
text {{ font: 13px "DejaVu Sans", Verdana, sans-serif; text-anchor: middle; fill: #475569 }}
.key {{ text-anchor: start }}
.name {{ font-size: 15px; font-weight: bold; fill: #0f172a }}
path {{ fill: none; stroke: #64748b; stroke-width: 1.5 }}
.other rect {{ fill: #f1f5f9; stroke: #94a3b8 }}
.paper rect {{ fill: #dbeafe; stroke: #3b82f6 }}
.other .bar {{ fill: #94a3b8; stroke: none }}
.paper .bar {{ fill: #3b82f6; stroke: none }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="6" markerHeight="6" orient="auto">
<polygon points="0,0 8,4 0,8" fill="#64748b"/></marker></defs>
<rect width="100%" height="100%" fill="white"/>
<text class="key" x="24" y="36">An arrow leads from a room to one that it imports;</text>
<text class="key" x="24" y="56">what it also reaches by a longer way has no arrow.</text>
<text class="key" x="24" y="76">Blue rooms are the method of the paper.</text>
<text class="key" x="24" y="96">Bars are in proportion to lines of Python.</text>
"""


def main(target: Path) -> None:
    """Write the picture, or end with what is wrong."""
    imports = module_imports()
    if wrong := complaint(imports):
        sys.exit(wrong)
    lines = dict.fromkeys(ROOMS, 0)
    for module, path in module_files().items():
        if module != PACKAGE:
            lines[room_of(module)] += len(path.read_text(encoding="utf-8").splitlines())
    target.write_text(picture(arrows(imports), lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs/rooms.svg")
