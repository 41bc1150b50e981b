"""The shape of the code: which package may import which, and how long a module gets."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Lowest first: a package imports from itself and from those before it in this list. Each name is a package of
# statestore, with all that is in it, or one of its modules.
PACKAGES = (
    "delivery",
    "errors",
    "runtime",
    "naming",
    "core",  # with its native half, the extension statestore._native
    "fields",
    "expressions",
    "backends",
    "settings",
    "entity",
    "relational",
    "ksql",
    "serde",
    "storage",
    "kafka",
    "changelog",
    "producing",
    "deploy",
    "query",
    "tables",
    "windowing",
    "manager",
    "aio",
    "bench",
    "testing",
    "cli",
)

# Who, besides statestore.testing, may import a library that one part of the code hides from the others.
OWNERS: dict[str, tuple[str, ...]] = {
    "rocksdict": ("statestore.backends.rocksdb", "statestore.bench.references"),
    "lmdb": ("statestore.backends.lmdb", "statestore.bench.references"),
    "confluent_kafka": (
        "statestore.bench.restoring",
        "statestore.bench.topics",
        "statestore.kafka",
        "statestore.producing",
        "statestore.serde.registry",
        "statestore.testing",
    ),
    "fastavro": ("statestore.bench.entities", "statestore.serde.avro"),
    "pyarrow": ("statestore.query", "statestore.aio.query"),
    "httpx2": ("statestore.deploy.client",),
}

ABOVE_STORAGE = tuple(
    name for name in PACKAGES[PACKAGES.index("storage") + 1 :] if name not in {"bench", "testing"}
)
"""What sees stores and no backend: of statestore.backends it imports nothing. These two test them."""

MOST_LINES = 500

# In the form of patterns, so that this file does not name one either.
REGISTRY = re.compile(
    r"pypi\.org|pythonhosted\.org|maven\.apache\.org/maven2|maven\.org|npmjs\.(org|com)|crates\.io"
    r"|conda\.io|anaconda\.org|docker\.io|ghcr\.io|quay\.io|--(extra-)?index-url|PIP_(EXTRA_)?INDEX"
)


def modules() -> dict[str, Path]:
    """Return the library's modules by name: Python files, and the stub of the extension."""
    found = {}
    for folder, package in (("statestore", "statestore"), ("backends", "statestore.backends")):
        for path in (ROOT / folder).rglob("*.py*"):
            if path.suffix in {".py", ".pyi"}:
                parts = path.relative_to(ROOT / folder).with_suffix("").parts
                found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


@cache
def imports(module: str) -> tuple[str, ...]:
    """Return the modules that ``module`` imports, at its top or inside its functions."""
    return tuple(read_imports(module))


def read_imports(module: str) -> Iterator[str]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                stem = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*stem, base]).rstrip(".")
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if name in MODULES else base


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def package_of(module: str) -> str:
    """Return the one of ``PACKAGES`` that ``module`` is, or is in; nothing for the library's own name."""
    package = module.removeprefix("statestore").removeprefix(".").partition(".")[0]
    return "core" if package == "_native" else package


def circles(arrows: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of names from each of which the others of the set can be reached, and itself."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = list(arrows[start])
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += arrows.get(name, ())
        return seen

    all_reached = {name: reached(name) for name in arrows}
    found: list[set[str]] = []
    for name in sorted(arrows):
        together = {other for other in all_reached[name] if name in all_reached.get(other, ())}
        if together and together not in found:
            found.append(together)
    return found


def test_every_package_has_one_place_and_exists() -> None:
    assert len(set(PACKAGES)) == len(PACKAGES)
    assert {package_of(module) for module in MODULES} - {""} == set(PACKAGES)


def test_every_owner_of_a_library_exists() -> None:
    owners = {owner for names in OWNERS.values() for owner in names}
    assert owners <= set(MODULES)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downwards(module: str) -> None:
    order = {name: place for place, name in enumerate((*PACKAGES, ""))}
    for imported in imports(module):
        if within(imported, "statestore"):
            package, other = package_of(module), package_of(imported)
            assert order[other] <= order[package], f"{module} imports {imported}, which stands above it"
            assert other != "testing" or package in {"testing", "cli"}, f"{module} imports {imported}"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Importing a package's name counts as importing its ``__init__``; what that needs is not counted."""
    arrows = {module: {other for other in imports(module) if other in MODULES} for module in MODULES}
    assert circles(arrows) == []


def test_no_folder_imports_a_folder_inside_it() -> None:
    """A folder in a package builds on the files beside it, never the other way round.

    ``statestore.testing`` itself gives out what is in its folders.
    """
    folders = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    for module in MODULES.keys() - {"statestore.testing"}:
        folder = module if module in folders else module.rpartition(".")[0]
        inner = {one for one in folders if one.rpartition(".")[0] == folder != "statestore"}
        for imported in imports(module):
            assert not any(within(imported, one) for one in inner), f"{module} imports {imported}"


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": set()}) == []


@pytest.mark.parametrize("module", sorted(MODULES))
def test_bindings_are_imported_by_their_owners_only(module: str) -> None:
    for imported in imports(module):
        owners = OWNERS.get(imported.partition(".")[0])
        if owners is not None:
            assert any(within(module, owner) for owner in owners), f"{module} imports {imported}"


@pytest.mark.parametrize("package", ABOVE_STORAGE)
def test_nothing_above_storage_sees_a_backend(package: str) -> None:
    for module in (name for name in MODULES if package_of(name) == package):
        for imported in imports(module):
            assert not within(imported, "statestore.backends"), f"{module} imports {imported}"


def test_no_module_is_too_long() -> None:
    folders = ("statestore", "backends", "_native", "tests", "benchmarks", "demo", "examples")
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for folder in folders
        for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxi", "*.pxd", "*.h")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert {str(path): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the affair of the machine that installs them."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git does not say which files are ours")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    naming = [
        f"{name}: {found[0]}"
        for name in listing.decode().split("\0")
        if name and (path := ROOT / name).is_file() and not path.is_symlink()
        if (found := REGISTRY.search(path.read_text(errors="ignore")))
    ]
    assert naming == []
