"""Keys and values of records as bytes."""
