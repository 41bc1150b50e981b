"""What is asked of Kafka: topics, offsets, records; and what its answers mean."""
