"""What a user installs works: the sdist builds, the wheel runs, and type checkers see what Python sees."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow(seconds=5)

ROOT = Path(__file__).parents[3]

USE_EVERY_BACKEND = """
import sys, tempfile
from pathlib import Path
import statestore, statestore._native
from statestore.backends import Batch, StoreOptions, find_engine

for name in ("rocksdb", "lmdb", "memory"):
    engine = find_engine(name)(16 << 20)
    with tempfile.TemporaryDirectory() as folder, engine.open(Path(folder, "s"), StoreOptions()) as backend:
        backend.write(Batch([(b"a", b"1"), (b"b", b"2")], [b"a"]))
        assert list(backend.scan()) == [(b"a", b"1"), (b"b", b"2")], name
    engine.close()
    print(name)
print(Path(statestore.__file__).parent, Path(statestore._native.__file__).parent)
"""

USE_THE_FIXTURES = """
import os, sys
from pathlib import Path

def test_nothing_of_the_package_is_imported_before():
    assert "statestore_pytest" in sys.modules and "statestore" not in sys.modules

def test_driver(driver):
    one = driver("orders")
    one.record("orders", b"key", b"value")
    assert one.table("orders").get(b"key") == b"value"
    for name in ("statestore", "statestore_pytest"):
        assert Path(sys.modules[name].__file__).is_relative_to(os.environ["PACKAGES"])
"""

TYPED_USE = """
from statestore import _native
from statestore.backends import Batch, Engine, find_engine

engine: type[Engine] = find_engine("memory")
batch: Batch = Batch([(b"key", b"value")])
wrong: int = find_engine("memory")
missing = _native.there_is_no_such_function
"""


# make has compiled the same sources with optimisation, which takes ten times as long.
WITHOUT_OPTIMISATION = """\
#!/bin/sh
exec {compiler} "$@" -O0 -g0
"""


def run(*command: str | Path, cwd: Path, expect: int = 0, **variables: str) -> str:
    """Run a command outside the checkout and return its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STATESTORE_")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


def our_files() -> set[str]:
    """Return the names of the files git tracks, or would if they were added."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: git does not say which files are ours")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return {name for name in listing.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An sdist made from a copy of the checkout, and the wheel made from that sdist."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        pytest.skip("no C compiler to build the extension with")
    quick = tmp_path_factory.mktemp("compiler") / "cc"
    quick.write_text(WITHOUT_OPTIMISATION.format(compiler=compiler))
    quick.chmod(0o755)
    source = tmp_path_factory.mktemp("source")
    for name in our_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (source / "statestore" / "backends").symlink_to("../backends")
    build = (sys.executable, "-P", "-m", "build", "--no-isolation", "--outdir", source / "out")
    run(*build, cwd=source, CC=str(quick))
    (sdist,) = (source / "out").glob("*.tar.gz")
    (wheel,) = (source / "out").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an otherwise empty environment with the wheel in it."""
    environment = tmp_path_factory.mktemp("environment")
    python = environment / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment)
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-compile",
        distributions[1],
        cwd=environment,
    )
    return python


def test_sdist_holds_every_source(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[0]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    ours = our_files()
    wanted = {name for name in ours if name.startswith(("statestore/", "_native/", "tests/"))}
    wanted |= {f"statestore/{name}" for name in ours if name.startswith("backends/")}
    wanted.add("statestore_pytest.py")
    assert wanted | {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= inside
    assert not [name for name in inside if name.endswith((".c", ".so", ".pyc"))]


def test_wheel_holds_the_packages_and_nothing_else(distributions: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(distributions[1]) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    (extension,) = (name for name in inside if name.endswith(".so"))
    assert extension.startswith("statestore/_native.")
    sources = {name for name in our_files() if name.endswith((".py", ".pyi", "py.typed"))}
    packaged = {name for name in sources if name.startswith("statestore/")}
    packaged |= {f"statestore/{name}" for name in sources if name.startswith("backends/")}
    packaged.add("statestore_pytest.py")
    assert {"statestore/py.typed", "statestore/_native.pyi"} <= packaged
    assert inside - {extension} == packaged


def test_wheel_runs_every_backend_in_an_empty_environment(installed: Path, tmp_path: Path) -> None:
    output = run(installed, "-c", USE_EVERY_BACKEND, cwd=tmp_path).splitlines()
    assert output[:3] == ["rocksdb", "lmdb", "memory"]
    library = installed.parents[1] / "lib"
    assert all(Path(place).is_relative_to(library) for place in output[3].split())


def test_pytest_finds_the_fixtures_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    packages = next((installed.parents[1] / "lib").glob("python*/site-packages"))
    (tmp_path / "test_use.py").write_text(USE_THE_FIXTURES)
    # The wheel's packages go before those of this environment, which has pytest.
    test = (sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    output = run(*test, cwd=tmp_path, PYTHONPATH=str(packages), PACKAGES=str(packages))
    assert "2 passed" in output


with_extension = pytest.mark.skipif(
    find_spec("statestore._native") is None, reason="this checkout was installed without the extension"
)


@pytest.mark.parametrize(
    "kind", ["wheel", pytest.param("editable", marks=[with_extension, pytest.mark.types])]
)
def test_type_checkers_see_the_extension_and_the_backends(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python = request.getfixturevalue("installed") if kind == "wheel" else sys.executable
    use = tmp_path / "use.py"
    use.write_text(TYPED_USE)
    cache = tmp_path_factory.getbasetemp() / "mypy"  # what both kinds import besides
    strict = (sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, "--python-executable", python)
    mypy = run(*strict, use, cwd=tmp_path, expect=1)
    codes = re.findall(r"\[([a-z-]+)\]$", mypy, flags=re.MULTILINE)
    assert codes == ["assignment", "attr-defined"], mypy
    pyright = run(sys.executable, "-m", "pyright", "--pythonpath", python, use, cwd=tmp_path, expect=1)
    codes = re.findall(r"\((report\w+)\)$", pyright, flags=re.MULTILINE)
    assert codes == ["reportAssignmentType", "reportAttributeAccessIssue"], pyright


@with_extension
def test_editable_install_is_the_checkout(tmp_path: Path) -> None:
    output = run(
        sys.executable,
        "-c",
        "import statestore.backends as b, os; print(os.path.realpath(b.__file__))",
        cwd=tmp_path,
    )
    assert Path(output.strip()).samefile(ROOT / "backends" / "__init__.py")
