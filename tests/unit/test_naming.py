from __future__ import annotations

from typing import Any

import pytest

from statestore import naming
from statestore.errors import ConfigError


@pytest.mark.parametrize(
    ("logical", "physical"),
    [
        ("Order_Store", "order_store"),
        ("TradeLogCandle_5min_Store", "tradelogcandle_5min_store"),
        ("eu.orders-v2_Store", "eu_orders_v2_store"),
        ("sessions", "sessions"),
        ("../etc", "___etc"),
        ("Straße", "stra_e"),
        ("a\x00b/c", "a_b_c"),
        ("İx", "i_x"),  # lower() makes two characters of the first
    ],
)
def test_the_physical_name_is_a_safe_directory_name(logical: str, physical: str) -> None:
    assert naming.physical_name(logical) == physical
    assert naming.check_physical_name(physical) == physical


def test_the_longest_topic_just_fits_a_directory_name() -> None:
    topic = naming.check_topic_name("t" * 249)
    assert len(naming.physical_name(naming.logical_name(topic))) == 255


@pytest.mark.parametrize("logical", ["", None, 5, "x" * 256, "LOCK"])
def test_names_no_store_can_have(logical: Any) -> None:
    with pytest.raises(ConfigError):
        naming.physical_name(logical)


@pytest.mark.parametrize("physical", ["", None, "Orders", "a-b", "a/b", "..", "é", "x" * 256, "lock", "a\n"])
def test_a_physical_name_given_is_not_bent_but_refused(physical: Any) -> None:
    with pytest.raises(ConfigError):
        naming.check_physical_name(physical)


@pytest.mark.parametrize("topic", ["orders", "ORDERS", "eu.orders-v2_x", "...", "_", "t" * 249])
def test_legal_topic_names(topic: str) -> None:
    assert naming.check_topic_name(topic) == topic


@pytest.mark.parametrize("topic", ["", None, ".", "..", "t" * 250, "a b", "a/b", "ä", "a\n"])
def test_illegal_topic_names_are_named_in_the_error(topic: Any) -> None:
    with pytest.raises(ConfigError, match="topic"):
        naming.check_topic_name(topic)
