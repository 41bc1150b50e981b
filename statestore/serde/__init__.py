"""Entities as the keys and values of Kafka records, and back.

A file imports only from files above it; ``avro/`` imports from the files here, and none of these from it::

    formats.py         what a key format and a value format are; how a class's formats are found by name
    scalars.py         one value of a scalar field, checked and normalised: the same for every format
    field_codecs.py    how a format represents each field: scalars, lists, dicts, nested dataclasses
    extra.py           members that no field declares, for the codec below
    structs.py         the value codec that json and msgpack share, and how it names the field at fault
    keys.py            what key formats without the order of the values share; the keys of streams
    ordered_keys.py    key_format="ordered": bytes that sort as the values do (docs/key-format.md)
    kafka_keys.py      key_format="kafka": the bytes of Kafka's own serializers
    kafka_values.py    value_format="kafka": the same for values of one field
    json.py            "json", for keys and values: times by their Format, and ksqlDB's dialect
    msgpack.py         value_format="msgpack"
    window_times.py    times of windows, as users give them
    window_keys.py     keys of one window's table: a key in any of these formats, and times
    raw.py             "raw", for keys and values: one field of bytes, as it is
    registry.py        questions to the Schema Registry
    native_decoder.py  which classes the extension decodes
    entities.py        EntityCodec: an entity to key and value, and back, by the formats of its class
    normalise.py       normalise(): an entity as it is read back

    avro/              "avro", for keys and values
        mapping.py     how Avro represents each field
        schema.py      the Avro schema of a class
        subject.py     data under one subject of the registry: encoding, decoding, versions of the schema
        values.py      the value codec
        keys.py        the key codec

Docs: ``docs/types.md`` shows how each format writes each type.
"""
