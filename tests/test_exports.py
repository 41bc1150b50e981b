"""The public names, pinned: taking one away or adding one is a decision."""

import statestore


def test_every_public_name_and_nothing_else_is_exported() -> None:
    public = {name for name in vars(statestore) if not name.startswith("_")}
    modules = {name for name in public if type(getattr(statestore, name)).__name__ == "module"}
    assert public - modules == set(statestore.__all__)
    assert set(statestore.__all__) == {
        "BytesTable",
        "ConfigError",
        "DecodeError",
        "Delivery",
        "DeliveryError",
        "DirectoryLockedError",
        "EncodeError",
        "F",
        "ForkedProcessError",
        "KafkaError",
        "Key",
        "KeyValueStore",
        "ReadyTimeoutError",
        "Reason",
        "RefusedError",
        "RegistryError",
        "RestoreProgress",
        "Settings",
        "StartupError",
        "State",
        "StateChange",
        "StateStoreError",
        "StoreClosedError",
        "StoreCorruptError",
        "StoreFormatError",
        "StoreFullError",
        "StoreIdentityError",
        "StoreManager",
        "StoreMissingError",
        "StoreNotReadyError",
        "StorePositionError",
        "StoreReader",
        "StoreUnavailableError",
        "Table",
        "TopicDifference",
        "TopicsReport",
        "UnreachableRegistryError",
        "WriteBatch",
        "entity",
        "normalise",
    }
