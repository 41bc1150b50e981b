"""Which values are NaN, of floats and decimals: greater than every number, and equal to NaN, for queries."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from statestore.fields.types import FieldType, scalar_type


def nan_test(type_: FieldType | None) -> Callable[[Any], bool] | None:
    """Return what tells whether a value of ``type_``, not ``None``, is NaN; ``None``: no value is."""
    kind = scalar_type(type_)
    if kind is float:
        return math.isnan
    return Decimal.is_nan if kind is Decimal else None
