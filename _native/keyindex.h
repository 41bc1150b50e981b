/* A hash index of the pairs in a tree: a point read takes one place in memory where a tree takes one a level.
 *
 * Extendible hashing: the first `depth` bits of a hash choose a segment, and a full segment alone is divided
 * into two. So no change costs more than one segment's work, where a table that doubles as a whole would
 * hold the GIL for long. Keys and values are borrowed: whoever changes the tree changes the index too. */

#ifndef STATESTORE_KEYINDEX_H
#define STATESTORE_KEYINDEX_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

enum { SEGMENT_LEAST = 16, SEGMENT_MOST = 1024 /* places */ };

typedef struct {
    PyObject *key, *value;
} IndexEntry;

typedef struct {
    int count;
    int depth;          /* bits of the hash that all keys in here have in common */
    uint32_t mask;      /* places - 1 */
    uint8_t *tags;      /* by place; 0: free, else 0x80 and 7 bits of the hash */
    IndexEntry entries[]; /* the tags follow them */
} Segment;

typedef struct {
    Segment **directory; /* 2^depth slots; NULL: nothing was put yet */
    int depth;
    Py_ssize_t deepest; /* segments of that depth: without any, the directory can be halved */
} KeyIndex;

static inline uint64_t key_hash(PyObject *key)
{
    /* The hash of a bytes object is kept in it. The factor brings 32-bit hashes to the upper bits. */
    return (uint64_t)PyObject_Hash(key) * 0x9E3779B97F4A7C15u;
}

static inline uint8_t hash_tag(uint64_t hash)
{
    return 0x80 | (hash >> 24 & 0x7f);
}

static inline Py_ssize_t directory_slot(const KeyIndex *index, uint64_t hash)
{
    return index->depth ? (Py_ssize_t)(hash >> (64 - index->depth)) : 0;
}

static Segment *segment_new(int depth, uint32_t places)
{
    Segment *segment = PyMem_RawMalloc(sizeof(Segment) + places * (sizeof(IndexEntry) + 1));
    if (segment != NULL) {
        segment->count = 0;
        segment->depth = depth;
        segment->mask = places - 1;
        segment->tags = (uint8_t *)(segment->entries + places);
        memset(segment->tags, 0, places);
    }
    return segment;
}

/* At most 13 of 16 places are taken: beyond that the search for an absent key gets long. */
static inline int segment_is_full(const Segment *segment)
{
    return (uint32_t)segment->count * 16 >= (segment->mask + 1) * 13;
}

/* Add a key that is not there; a place is free. */
static void segment_add(Segment *segment, uint64_t hash, PyObject *key, PyObject *value)
{
    uint32_t at = hash & segment->mask;
    while (segment->tags[at])
        at = (at + 1) & segment->mask;
    segment->tags[at] = hash_tag(hash);
    segment->entries[at] = (IndexEntry){key, value};
    segment->count++;
}

static void segment_add_all(Segment *segment, const Segment *source)
{
    for (uint32_t at = 0; at <= source->mask; at++)
        if (source->tags[at])
            segment_add(segment, key_hash(source->entries[at].key), source->entries[at].key,
                        source->entries[at].value);
}

static void segment_remove(Segment *segment, uint32_t hole)
{
    uint32_t mask = segment->mask;
    for (uint32_t at = (hole + 1) & mask; segment->tags[at]; at = (at + 1) & mask) {
        uint32_t home = key_hash(segment->entries[at].key) & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) { /* its way from home leads over the hole */
            segment->entries[hole] = segment->entries[at];
            segment->tags[hole] = segment->tags[at];
            hole = at;
        }
    }
    segment->tags[hole] = 0;
    segment->count--;
}

static IndexEntry *index_find(const KeyIndex *index, uint64_t hash, PyObject *key)
{
    Py_ssize_t size = PyBytes_GET_SIZE(key);
    uint8_t tag = hash_tag(hash);
    Segment *segment;
    if (index->directory == NULL)
        return NULL;
    segment = index->directory[directory_slot(index, hash)];
    for (uint32_t at = hash & segment->mask; segment->tags[at]; at = (at + 1) & segment->mask) {
        PyObject *other;
        if (segment->tags[at] != tag)
            continue;
        other = segment->entries[at].key;
        if (other == key || (PyBytes_GET_SIZE(other) == size &&
                             memcmp(PyBytes_AS_STRING(other), PyBytes_AS_STRING(key), size) == 0))
            return &segment->entries[at];
    }
    return NULL;
}

static void directory_set(KeyIndex *index, Py_ssize_t slot, Segment *segment)
{
    Py_ssize_t width = (Py_ssize_t)1 << (index->depth - segment->depth);
    slot -= slot % width;
    for (Py_ssize_t i = 0; i < width; i++)
        index->directory[slot + i] = segment;
}

static int directory_double(KeyIndex *index)
{
    Py_ssize_t slots = (Py_ssize_t)1 << index->depth;
    Segment **directory = PyMem_RawRealloc(index->directory, 2 * slots * sizeof(Segment *));
    if (directory == NULL)
        return -1;
    for (Py_ssize_t i = slots - 1; i >= 0; i--)
        directory[2 * i] = directory[2 * i + 1] = directory[i];
    index->directory = directory;
    index->depth++;
    index->deepest = 0;
    return 0;
}

static void directory_halve(KeyIndex *index)
{
    Segment **directory;
    Py_ssize_t slots = (Py_ssize_t)1 << --index->depth;
    index->deepest = 0;
    for (Py_ssize_t i = 0; i < slots; i++) {
        index->directory[i] = index->directory[2 * i];
        index->deepest += index->directory[i]->depth == index->depth;
    }
    directory = PyMem_RawRealloc(index->directory, slots * sizeof(Segment *));
    if (directory != NULL)
        index->directory = directory;
}

static int segment_split(KeyIndex *index, Py_ssize_t slot)
{
    Segment *full = index->directory[slot], *half[2];
    int depth = full->depth + 1;
    if (full->depth == index->depth) {
        if (directory_double(index) < 0)
            return -1;
        slot *= 2;
    }
    half[0] = segment_new(depth, SEGMENT_MOST);
    half[1] = segment_new(depth, SEGMENT_MOST);
    if (half[0] == NULL || half[1] == NULL) {
        PyMem_RawFree(half[0]);
        PyMem_RawFree(half[1]);
        return -1;
    }
    for (uint32_t at = 0; at <= full->mask; at++)
        if (full->tags[at]) {
            IndexEntry *entry = &full->entries[at];
            uint64_t hash = key_hash(entry->key);
            segment_add(half[hash >> (64 - depth) & 1], hash, entry->key, entry->value);
        }
    slot -= slot % ((Py_ssize_t)1 << (index->depth - full->depth));
    directory_set(index, slot, half[0]);
    directory_set(index, slot + ((Py_ssize_t)1 << (index->depth - depth)), half[1]);
    if (depth == index->depth)
        index->deepest += 2;
    PyMem_RawFree(full);
    return 0;
}

/* Give the segment of `hash` twice or half its places. */
static int segment_resize(KeyIndex *index, uint64_t hash, uint32_t places)
{
    Py_ssize_t slot = directory_slot(index, hash);
    Segment *old = index->directory[slot], *segment = segment_new(old->depth, places);
    if (segment == NULL)
        return -1;
    segment_add_all(segment, old);
    directory_set(index, slot, segment);
    PyMem_RawFree(old);
    return 0;
}

/* Add a key that is not there. Return -1 without memory, and nothing has changed then. */
static int index_add(KeyIndex *index, uint64_t hash, PyObject *key, PyObject *value)
{
    Segment *segment;
    if (index->directory == NULL) {
        Segment **directory = PyMem_RawMalloc(sizeof(Segment *));
        segment = segment_new(0, SEGMENT_LEAST);
        if (directory == NULL || segment == NULL) {
            PyMem_RawFree(directory);
            PyMem_RawFree(segment);
            return -1;
        }
        directory[0] = segment;
        *index = (KeyIndex){directory, 0, 1};
    }
    for (;;) {
        segment = index->directory[directory_slot(index, hash)];
        if (!segment_is_full(segment))
            break;
        if (segment->mask + 1 < SEGMENT_MOST) {
            if (segment_resize(index, hash, 2 * (segment->mask + 1)) < 0)
                return -1;
        } else if (segment_split(index, directory_slot(index, hash)) < 0)
            return -1;
    }
    segment_add(segment, hash, key, value);
    return 0;
}

/* Add a key that was removed, after every change since was undone: its place is still free. */
static void index_put_back(KeyIndex *index, uint64_t hash, PyObject *key, PyObject *value)
{
    segment_add(index->directory[directory_slot(index, hash)], hash, key, value);
}

static void index_remove(KeyIndex *index, uint64_t hash, IndexEntry *entry)
{
    Segment *segment = index->directory[directory_slot(index, hash)];
    segment_remove(segment, (uint32_t)(entry - segment->entries));
}

/* Join the segment of `hash` with its other half. Return whether they were small enough. */
static int segment_join(KeyIndex *index, uint64_t hash)
{
    Py_ssize_t slot = directory_slot(index, hash);
    Segment *segment = index->directory[slot], *other;
    other = index->directory[slot ^ ((Py_ssize_t)1 << (index->depth - segment->depth))];
    if (other->depth != segment->depth || segment->count + other->count > SEGMENT_MOST * 3 / 8)
        return 0;
    if (segment->depth == index->depth)
        index->deepest -= 2;
    segment_add_all(segment, other);
    segment->depth--;
    directory_set(index, slot, segment);
    PyMem_RawFree(other);
    while (index->depth > 0 && index->deepest == 0)
        directory_halve(index);
    return 1;
}

/* Give back space after the key with `hash` was removed. Without memory for it things stay as they are. */
static void index_shrink(KeyIndex *index, uint64_t hash)
{
    Segment *segment;
    if (index->directory == NULL)
        return;
    while (segment = index->directory[directory_slot(index, hash)], segment->depth > 0)
        if (!segment_join(index, hash))
            return;
    while (segment = index->directory[0],
           segment->mask + 1 > SEGMENT_LEAST && (uint32_t)segment->count * 8 <= segment->mask + 1)
        if (segment_resize(index, hash, (segment->mask + 1) / 2) < 0)
            return;
}

/* Whether the segment of `hash` has so few keys that it may be joined to another or made smaller. */
static inline int index_is_small(const KeyIndex *index, uint64_t hash)
{
    return index->directory[directory_slot(index, hash)]->count <= SEGMENT_MOST * 3 / 8;
}

/* Fetch the place where a key with `hash` belongs into the CPU's cache ... */
static inline void index_fetch_place(const KeyIndex *index, uint64_t hash)
{
    Segment *segment = index->directory[directory_slot(index, hash)];
    __builtin_prefetch(&segment->tags[hash & segment->mask], 1);
    __builtin_prefetch(&segment->entries[hash & segment->mask], 1);
}

/* ... and then the keys there, which are asked for their hashes when one of them is removed. */
static inline void index_fetch_neighbours(const KeyIndex *index, uint64_t hash)
{
    Segment *segment = index->directory[directory_slot(index, hash)];
    for (uint32_t at = hash & segment->mask; segment->tags[at]; at = (at + 1) & segment->mask)
        __builtin_prefetch((char *)segment->entries[at].key + sizeof(PyVarObject));
}

static void index_free(KeyIndex *index)
{
    Py_ssize_t width;
    if (index->directory == NULL)
        return;
    for (Py_ssize_t slot = 0; slot < (Py_ssize_t)1 << index->depth; slot += width) {
        width = (Py_ssize_t)1 << (index->depth - index->directory[slot]->depth);
        PyMem_RawFree(index->directory[slot]);
    }
    PyMem_RawFree(index->directory);
    *index = (KeyIndex){NULL, 0, 0};
}

#endif
