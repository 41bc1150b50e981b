"""Mirroring topics: :mod:`.binder` asks the broker, :mod:`.lane` applies records, :mod:`.machine` decides."""
