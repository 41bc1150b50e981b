"""Builds the one extension, ``statestore._native``; everything else is in ``pyproject.toml``.

Environment: ``STATESTORE_PURE_PYTHON=1`` builds none (the pure-Python twin serves);
``STATESTORE_BUILD=debug`` or ``coverage`` or ``sanitize`` chooses other compiler flags than ``release``.
A sanitised build needs the sanitizer's runtime in the process:
``LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 python …``.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

FLAGS: dict[str, tuple[list[str], list[str], dict[str, bool]]] = {
    # Python asks for -g: that takes a quarter of the compiler's time, and nine tenths of the file.
    "release": (["-O3", "-g0"], [], {"boundscheck": False, "wraparound": False}),
    "debug": (["-O0", "-g", "-UNDEBUG"], [], {}),
    "coverage": (
        ["-O0", "-g", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"],
        [],
        {"linetrace": True},
    ),
    "sanitize": (
        ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-fno-omit-frame-pointer"],
        ["-fsanitize=address,undefined"],
        {},
    ),
}


def extensions() -> list[Extension]:
    if os.environ.get("STATESTORE_PURE_PYTHON") == "1":
        return []
    kind = os.environ.get("STATESTORE_BUILD") or "release"
    if kind not in FLAGS:
        raise SystemExit(f"STATESTORE_BUILD={kind!r}: choose one of {', '.join(FLAGS)}")
    compile_flags, link_flags, directives = FLAGS[kind]
    extension = Extension(
        "statestore._native",
        ["_native/_native.pyx"],
        include_dirs=["_native"],
        depends=sorted(str(path) for path in Path("_native").glob("*.*") if path.suffix != ".c"),
        extra_compile_args=compile_flags,
        extra_link_args=link_flags,
    )
    # Read by Cython's build_ext, which setuptools uses; so the C file is made when, and only when, building.
    extension.cython_directives = {"language_level": 3, **directives}
    return [extension]


# Forced, because neither the C file nor the object file shows which STATESTORE_BUILD it was made for.
setup(ext_modules=extensions(), options={"build_ext": {"force": True}})
