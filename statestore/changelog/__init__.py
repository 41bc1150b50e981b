"""Mirroring topics: :mod:`.source` talks to Kafka, :mod:`.lane` applies, :mod:`.binder` decides."""
