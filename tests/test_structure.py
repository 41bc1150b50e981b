"""The shape of the code: who may import whom, and how long a module gets."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Lowest first: a module imports from its own layer and from those before it in this list.
# "package" stands for the package and everything in it; the longest name that fits decides.
LAYERS: list[set[str]] = [
    {"statestore.delivery", "statestore.errors", "statestore.fork"},
    {
        "statestore._common",
        "statestore._native",
        "statestore._pure",
        "statestore._pure_reads",
        "statestore._scan",
        "statestore.declaration.attributes",
        "statestore.declaration.columns",
        "statestore.core",
        "statestore.declaration.fields",
        "statestore.declaration.marks",
        "statestore.naming",
        "statestore.declaration.records",
        "statestore.declaration.schema",
        "statestore.declaration.windows",
    },
    {"statestore.backends.contract"},
    {"statestore.backends", "statestore.budget", "statestore.settings", "statestore.directory"},
    {
        "statestore.declaration.declared",
        "statestore.entity",
        "statestore.declaration.models",
        "statestore.query.aggregates",
        "statestore.query.checking",
        "statestore.query.evaluation",
        "statestore.query.expressions",
        "statestore.serde",
        "statestore.declaration.windowed",
    },
    {"statestore.store", "statestore.expiry"},
    {
        "statestore.changelog",
        "statestore.ksql",
        "statestore.producing",
        "statestore.query",
        "statestore.topics",
        "statestore.windowing",
    },
    {
        "statestore.manager",
        "statestore.opening",
        "statestore.declaration.validation",
        "statestore.choosing",
        "statestore.explaining",
    },
    {"statestore.cli", "statestore.testing"},
    {"statestore"},
]

# Who, besides statestore.testing, may import a library that one part of the code hides from the others.
OWNERS: dict[str, tuple[str, ...]] = {
    "rocksdict": ("statestore.backends.rocksdb",),
    "lmdb": ("statestore.backends.lmdb",),
    "confluent_kafka": (
        "statestore.changelog.answers",
        "statestore.changelog.source",
        "statestore.changelog.reader",
        "statestore.changelog.records",
        "statestore.serde.registry",
        "statestore.producing",
        "statestore.testing",
        "statestore.topics",
    ),
    "fastavro": ("statestore.serde.avro",),
}

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


def imports(module: str) -> Iterator[str]:
    """Give the modules that ``module`` imports, at its top or inside its functions."""
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


def layer(module: str) -> int:
    fitting = {
        name: level
        for level, names in enumerate(LAYERS)
        for name in names
        if within(module, name) and (name != "statestore" or module == "statestore")
    }
    assert fitting, f"{module} is in no layer: give it a place in LAYERS of {Path(__file__).name}"
    return fitting[max(fitting, key=len)]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downwards(module: str) -> None:
    for imported in imports(module):
        if within(imported, "statestore"):
            assert layer(imported) <= layer(module), f"{module} imports {imported}, which stands above it"
            assert not within(imported, "statestore.testing") or within(module, "statestore.testing")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_bindings_are_imported_by_their_owners_only(module: str) -> None:
    for imported in imports(module):
        owners = OWNERS.get(imported.partition(".")[0])
        if owners is not None:
            assert any(within(module, owner) for owner in owners), f"{module} imports {imported}"


def test_ksql_knows_entities_and_query_values_only() -> None:
    allowed = ("statestore.ksql", "statestore.entity", "statestore.query", "statestore.errors")
    for module in (name for name in MODULES if within(name, "statestore.ksql")):
        for imported in imports(module):
            if within(imported, "statestore"):
                assert any(within(imported, name) for name in allowed), f"{module} imports {imported}"


def test_no_module_is_too_long() -> None:
    folders = ("statestore", "backends", "_native", "tests", "benchmarks", "demo")
    lengths = {
        path.relative_to(ROOT): len(path.read_text().splitlines())
        for folder in folders
        for pattern in ("*.py", "*.pyi", "*.pyx", "*.pxi", "*.pxd")
        for path in (ROOT / folder).rglob(pattern)
    }
    assert {str(path): lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_package_is_declared_and_exists() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    packages = [name for name, path in MODULES.items() if path.name == "__init__.py"]
    assert sorted(declared) == sorted(packages)


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
