"""``F`` and ``agg``: expressions over the fields of an entity, their types and their meaning."""
