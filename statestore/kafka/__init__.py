"""All requests to Kafka except writing: topics, offsets and records, and what the answers mean."""
