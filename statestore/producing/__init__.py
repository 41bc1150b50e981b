"""Writing to Kafka through one idempotent producer for each manager. Nothing here touches a store."""
