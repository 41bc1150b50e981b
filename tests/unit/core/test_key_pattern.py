"""Canonical JSON keys told from others: what fits a pattern, and which keys of a run do not."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = ("int", "text", "uuid", "time")
UUID_TEXT = b'"00000000-0000-0000-0000-00000000000a"'


@pytest.mark.parametrize(
    ("kind", "fitting", "others"),
    [
        (
            "int",
            [b"0", b"7", b"-1", b"9223372036854775807"],
            [b"", b"-", b"-0", b"01", b"1.0", b"+1", b" 1", b"1 "],
        ),
        (
            "text",
            [b'""', b'"a b"', '"äé\uffff\'"'.encode()],
            [b"", b'"', b'"a', b'"\\n"', b'"\x1f"', '"😀"'.encode()],
        ),
        ("uuid", [UUID_TEXT], [UUID_TEXT.upper(), UUID_TEXT.replace(b"-", b""), UUID_TEXT[:-1], b'""']),
        (
            "time",
            [b'"2024-01-01T00:00:00Z"', b'"2024-01-01T00:00:00.100000Z"'],
            [
                b'"2024-01-01T00:00:00.000000Z"',
                b'"2024-01-01T00:00:00.1Z"',
                b'"2024-01-01T00:00:00+00:00"',
                b'"2024-01-01 00:00:00Z"',
                b'"2024-01-01T00:00:00z"',
                b'"2024-01-01"',
            ],
        ),
    ],
)
def test_a_value_fits_in_its_canonical_text(
    core: ModuleType, kind: str, fitting: list[bytes], others: list[bytes]
) -> None:
    pattern, within = core.KeyPattern([kind]), core.KeyPattern([b'{"a":', kind, b"}"])
    for text, fits in [*((text, True) for text in fitting), *((text, False) for text in others)]:
        assert pattern.fits(text) is fits, text
        assert within.fits(b'{"a":' + text + b"}") is fits, text
        assert not within.fits(b'{"a": ' + text + b"}")
        assert not within.fits(text)


PIECES = st.sampled_from(
    [
        b"{",
        b"}",
        b'"',
        b",",
        b":",
        b" ",
        b"0",
        b"1",
        b"-",
        b"a",
        b"\\",
        b".",
        b"Z",
        b"T",
        b"\xf0",
        b"\xc3\xa4",
        b"\n",
        b"\0",
    ]
)


@settings(max_examples=300)
@given(
    parts=st.lists(
        st.sampled_from(KINDS) | st.sampled_from([b"{", b",", b"}", b"a.*"]), min_size=1, max_size=5
    ),
    key=st.lists(PIECES | st.just(UUID_TEXT) | st.just(b'"2024-01-01T00:00:00Z"'), max_size=8).map(b"".join),
)
def test_both_implementations_agree(parts: list[bytes | str], key: bytes) -> None:
    native = pytest.importorskip("statestore._native")
    from statestore.core import pure

    assert native.KeyPattern(parts).fits(key) is pure.KeyPattern(parts).fits(key)


def test_a_run_lists_the_keys_that_do_not_fit(core: ModuleType) -> None:
    run = core.WriteRun(b"\x01")
    for key, value, timestamp in [
        (b"1", b"a", 1),
        (b" 1", b"b", 2),
        (b"2", None, 3),
        (b" 3", None, 4),
        (b" 1", b"c", 5),
    ]:
        run.write(key, value, timestamp)
    pattern = core.KeyPattern(["int"])
    listed = [(b" 1", (5).to_bytes(8, "big")), (b" 3", None)]
    assert run.unlike(pattern) == listed
    run.feed(lambda *_: None, lambda _: None)
    assert sorted(run.unlike(pattern)) == sorted(listed)
    assert core.WriteRun(b"\x01").unlike(pattern) == []
