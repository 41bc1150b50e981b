"""Values of users in messages: bounded in length, without secrets, never an exception of their own."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

MOST_CHARACTERS = 200
HIDDEN = "***"
"""Stands for a secret."""

_SECRET_WORDS = (
    "pass",  # password, passwd, passphrase
    "pasw",
    "pwd",
    "secret",
    "token",
    "key.pem",
    "ssl_key",
    "jaas",
    "credential",
    "oauthbearer.config",
    "user.info",
    "api.key",
    "apikey",
    "private.key",
)
_SECRET_PREFIXES = ("sasl.", "ssl.")
_SHOWN = frozenset(
    (
        *(f"sasl.{name}" for name in ("mechanism", "mechanisms", "username")),
        *(f"sasl.kerberos.{name}" for name in ("service.name", "principal", "keytab", "kinit.cmd")),
        "sasl.kerberos.min.time.before.relogin",
        *(f"sasl.oauthbearer.{name}" for name in ("method", "client.id", "scope", "extensions")),
        *(f"ssl.{name}" for name in ("cipher.suites", "curves.list", "sigalgs.list", "providers")),
        *(f"ssl.{name}.location" for name in ("ca", "certificate", "crl", "engine", "key", "keystore")),
        *(f"ssl.{name}" for name in ("ca.pem", "ca.certificate.stores", "certificate.pem", "engine.id")),
        "ssl.endpoint.identification.algorithm",
    )
)
"""Properties of Kafka's client about security that may be shown; another one may be a misspelt password."""
_USER_INFO = re.compile(r"(://)[^,\s]+@|\b[^/@:,\s]+:[^,\s]+@")
"""In a URL, and in an address without a scheme where it has a password, which may have / and @ in it."""
_MOST_BITS = 128
_TELLING_TYPES = (type(None), bool, int, float, str, bytes, tuple, list, dict, set, frozenset)
"""Types that the ``repr`` of a value shows without naming them."""


def is_secret(name: str) -> bool:
    """Whether a property called ``name`` holds a password, a token or the like, also if it is misspelt."""
    lowered = name.lower().replace("_", ".")
    if lowered.startswith(_SECRET_PREFIXES) and lowered not in _SHOWN:
        return True
    return any(word in lowered for word in _SECRET_WORDS)


def without_user_info(text: str) -> str:
    """Return ``text`` with ``HIDDEN`` instead of user names and passwords in addresses."""
    return _USER_INFO.sub(lambda found: f"{found[1] or ''}{HIDDEN}@", text)


def redacted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``properties`` that may be shown: ``HIDDEN`` instead of each secret."""
    return {name: _redacted(name, value) for name, value in properties.items()}


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return redacted(value)
    if is_secret(name):
        return HIDDEN
    if isinstance(value, list | tuple):
        return [_redacted(name, one) for one in value]
    return without_user_info(value) if isinstance(value, str) else value


class _Repr(reprlib.Repr):
    """``reprlib`` with what it lacks: bytes, huge ints, and the secrets of mappings."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 120

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, int) and x.bit_length() > _MOST_BITS:  # Python prints no more than 4,300 digits
            return f"<int of {x.bit_length()} bits>"
        if isinstance(x, dict | MappingProxyType):
            return self.repr_dict(x, level)
        return super().repr1(x, level)

    def repr_bytes(self, x: bytes, level: int) -> str:
        return self.repr_str(x, level)  # type: ignore[arg-type]  # it only slices and joins texts of repr

    def repr_dict(self, x: Mapping[Any, Any], level: int) -> str:
        return super().repr_dict(
            {
                key: _Hidden() if isinstance(key, str) and is_secret(key) else value
                for key, value in x.items()
            },
            level,
        )


class _Hidden:
    def __repr__(self) -> str:
        return repr(HIDDEN)


_REPR = _Repr()


def bounded_repr(value: object, most: int = MOST_CHARACTERS) -> str:
    """Return the ``repr`` of ``value`` in at most ``most`` characters, with ``...`` where some are left out.

    Never raises: a ``repr`` that fails is told as such. In mappings the values of secrets are hidden.
    """
    try:
        text = _REPR.repr(value)
    except Exception:  # noqa: BLE001 - whatever the class of a value raises
        text = "<no repr: it raised>"
    if len(text) <= most:
        return text
    head = max(0, (most - 3) // 2)
    tail = max(0, most - 3 - head)
    return (text[:head] + "..." + text[len(text) - tail :])[:most]


def typed_repr(value: object) -> str:
    """Return the bounded ``repr`` of ``value``, and the name of its type where that is not in it."""
    text, name = bounded_repr(value), type(value).__name__
    return text if type(value) in _TELLING_TYPES or name in text else f"{text} ({name})"
