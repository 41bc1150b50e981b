"""What a dataclass says of its fields: names, types, attributes. It knows no Kafka and no settings."""
