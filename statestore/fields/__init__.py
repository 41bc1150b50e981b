"""The fields of a dataclass: names, types, attributes. Nothing here knows Kafka or settings.

A file imports only from files above it::

    attributes.py      Key, Precision, Format, …: what a user writes in Annotated
    type_parameters.py what NewType and the type variables of generic bases stand for
    types.py           RecordType, Field, Scalar, ListOf, …: the shape of a dataclass as values
    annotations.py     the attributes of one annotation, and the faults in them
    defaults.py        whether what a default_factory makes has the field's type
    inspection.py      a dataclass to its RecordType, with every fault
    stored_schema.py   the fields as store.json keeps them, and which later classes can read them
    ksql_types.py      the types of ksqlDB's columns
    windows.py         sizes of windows and their labels
"""
