"""Names and literals of KSQL."""
