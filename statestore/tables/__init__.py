"""What users read through: tables of bound topics, and streams."""
