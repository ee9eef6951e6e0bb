"""Reads the sources, never runs them, and lists every import or call that breaks the layers.

The arrow: topics <- windows <- predicates <- modes <- pipeline <- (service, lab) <- cli. `contract` stands
beside `windows`. A gateway's client stands on topics alone, and its shim may read contracts too.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PURE = ("topics", "windows", "contract", "predicates", "modes", "pipeline")

# layer -> the layers that it may import, beside itself
ALLOWED: dict[str, tuple[str, ...]] = {
    "topics": (),
    "root": (),
    "windows": ("topics",),
    "contract": ("topics", "windows"),
    "predicates": ("topics", "windows", "contract"),
    "modes": ("topics", "windows", "contract", "predicates"),
    "pipeline": ("topics", "windows", "contract", "predicates", "modes"),
    "gateway": ("topics", "root"),
    "gateway.shim": ("topics", "root", "gateway", "contract", "windows"),
    "embedded": ("topics", "root"),
    # Knows nothing of predicates and modes: what it calls wrong must not depend on what a detector can see.
    "lab.simulator": ("topics",),
    "lab": (*_PURE, "root", "lab.simulator"),
    "service": (*_PURE, "root", "gateway", "embedded"),
    "embedded.demo": (*_PURE, "root", "gateway", "gateway.shim", "embedded", "service", "lab"),
    "bench": (*_PURE, "root", "service", "gateway"),  # a drill has a gateway that obeys
    "cli": (
        *_PURE,
        "root",
        "gateway",
        "gateway.shim",
        "embedded",
        "embedded.demo",
        "service",
        "lab",
        "bench",
    ),
}

# Whatever waits, reads a clock, draws lots, talks to the machine or says something aloud.
BANNED_STDLIB = frozenset(
    "asyncio concurrent ctypes fcntl glob http importlib io logging mmap multiprocessing os pathlib queue "
    "random sched secrets select selectors shutil signal socket socketserver sqlite3 ssl subprocess tempfile "
    "threading time urllib uuid warnings".split()
)
BANNED_CALLS = frozenset("open print input breakpoint exec eval __import__".split())
_CLOCK_READERS = {"now", "utcnow", "today"}

# Third-party packages by layer; a layer that is not named here may use any.
LIBRARIES: dict[str, frozenset[str]] = {
    "topics": frozenset({"msgspec"}),
    "root": frozenset(),
    "windows": frozenset({"msgspec", "numpy"}),
    "contract": frozenset({"msgspec", "yaml"}),
    "predicates": frozenset({"msgspec", "numpy", "scipy", "river"}),
    "modes": frozenset({"msgspec", "numpy", "scipy", "river"}),
    "pipeline": frozenset({"msgspec", "numpy", "scipy", "river"}),
    "gateway": frozenset({"msgspec", "aiokafka"}),
    "lab.simulator": frozenset({"msgspec", "numpy"}),
    "lab": frozenset(
        {"msgspec", "numpy", "scipy", "river", "pyarrow", "pandas", "narwhals", "matplotlib", "rich", "yaml"}
    ),
}


@dataclass(frozen=True)
class Breach:
    """One place where a layer reaches where it must not."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def layer_of(module: str) -> str | None:
    """The layer of a dotted module name: None outside the product, "?" for one that has no place yet."""
    parts = module.split(".")
    if parts[0] == "topics":
        return "topics"
    if parts[0] != "detector":
        return None
    if len(parts) == 1:
        return "root"
    if parts[1] == "__main__":
        return "cli"
    # The broker serves whoever asks; all else in that folder is the demo, which drives the whole product.
    if parts[1] == "embedded" and len(parts) > 2 and parts[2] not in {"broker", "child"}:
        return "embedded.demo"
    if len(parts) > 2 and f"{parts[1]}.{parts[2]}" in ALLOWED:
        return f"{parts[1]}.{parts[2]}"
    # An adapter brings the library that it adapts to, so only its way inwards is held.
    if parts[1] == "gateway" and len(parts) > 2 and parts[2] == "adapters":
        return "gateway.adapters"
    return parts[1] if parts[1] in ALLOWED else "?"


def breaches(root: Path) -> list[Breach]:
    """Every breach in `root/topics` and `root/detector`, in the order of the files."""
    files = sorted([*(root / "topics").rglob("*.py"), *(root / "detector").rglob("*.py")])
    names = {_module(root, path) for path in files}
    return [breach for path in files for breach in _in_file(root, path, names)]


def _module(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _in_file(root: Path, path: Path, names: set[str]) -> Iterator[Breach]:
    module, shown = _module(root, path), str(path.relative_to(root))
    layer = layer_of(module)
    if layer is None or layer == "?":
        yield Breach(shown, 1, f"{module} has no place in the layers; give it one in tests/layering.py")
        return
    tree = ast.parse(path.read_text(encoding="utf-8"), shown)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        for target in _imports(node, package, names):
            what = _import_fault(layer, target)
            if what:
                yield Breach(shown, getattr(node, "lineno", 1), what)
        if layer in _PURE:
            what = _call_fault(node)
            if what:
                yield Breach(shown, getattr(node, "lineno", 1), what)


def _imports(node: ast.AST, package: str, names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*above, *([base] if base else [])])
        for alias in node.names:
            # `from detector import pipeline` is a module, `from detector import __version__` the package.
            inner = f"{base}.{alias.name}"
            yield inner if inner in names or base in {"numpy", "importlib"} else base


def _import_fault(layer: str, target: str) -> str | None:
    other = layer_of(target)
    if other is not None:
        allowed = ALLOWED["gateway"] + ("gateway",) if layer == "gateway.adapters" else ALLOWED[layer]
        return None if other in (layer, *allowed) else f"{layer} imports {target}, which is not below it"
    top = target.split(".")[0]
    if target.startswith("importlib.resources"):  # what ships inside the package is part of the program
        return None
    if top in sys.stdlib_module_names:
        return f"{layer} is pure and imports {target}" if layer in _PURE and top in BANNED_STDLIB else None
    if target.startswith("numpy.random") and layer in _PURE:
        return f"{layer} is pure and imports {target}"
    if layer in LIBRARIES and top not in LIBRARIES[layer]:
        return f"{layer} imports {target}, which is not among its libraries"
    return None


def _call_fault(node: ast.AST) -> str | None:
    if (
        isinstance(node, ast.Attribute)
        and node.attr == "random"
        and ast.unparse(node.value) in {"np", "numpy"}
    ):
        return "a pure layer draws lots from numpy"
    if not isinstance(node, ast.Call):
        return None
    called = node.func
    if isinstance(called, ast.Name) and called.id in BANNED_CALLS:
        return f"a pure layer calls {called.id}()"
    if isinstance(called, ast.Attribute) and called.attr in _CLOCK_READERS:
        holder = ast.unparse(called.value).rsplit(".", 1)[-1]
        if holder in {"datetime", "date"}:
            return f"a pure layer reads the clock with {ast.unparse(called)}()"
    return None
