"""Builds the one extension, ``statestore._native``; everything else is in ``pyproject.toml``.

Environment: ``STATESTORE_PURE_PYTHON=1`` builds none (the pure-Python twin serves);
``STATESTORE_BUILD=debug`` or ``coverage`` or ``sanitize`` chooses other compiler flags.
"""

import os

from setuptools import Extension, setup

FLAGS: dict[str, tuple[list[str], list[str], dict[str, bool]]] = {
    "release": (["-O3"], [], {}),
    "debug": (["-O0", "-g"], [], {"boundscheck": True}),
    "coverage": (["-O0", "-g", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"], [], {"linetrace": True}),
    "sanitize": (
        ["-O1", "-g", "-fsanitize=address,undefined", "-fno-omit-frame-pointer"],
        ["-fsanitize=address,undefined"],
        {},
    ),
}


def extensions() -> list[Extension]:
    if os.environ.get("STATESTORE_PURE_PYTHON") == "1":
        return []
    from Cython.Build import cythonize

    kind = os.environ.get("STATESTORE_BUILD", "release")
    if kind not in FLAGS:
        raise SystemExit(f"STATESTORE_BUILD={kind!r}: choose one of {', '.join(FLAGS)}")
    compile_flags, link_flags, directives = FLAGS[kind]
    extension = Extension(
        "statestore._native",
        ["_native/_native.pyx"],
        extra_compile_args=compile_flags,
        extra_link_args=link_flags,
    )
    return cythonize(
        [extension],
        language_level=3,
        include_path=["_native"],
        compiler_directives={"boundscheck": False, "wraparound": False, **directives},
    )


setup(ext_modules=extensions())
