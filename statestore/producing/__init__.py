"""Writing to Kafka: one idempotent producer of a manager. Nothing here touches a store."""
