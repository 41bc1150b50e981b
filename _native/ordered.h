/* The content of a memory store: a tree for order and snapshots, and an index of it for point reads.
 *
 * A list of changes is applied as a whole or not at all. A short one is applied in place, each change with what
 * undoes it, and no other thread runs meanwhile. A long one makes a new tree beside the present one, which
 * others read in the pauses; then the index is changed, while they read the present tree by itself; then the
 * new tree takes its place. */

#ifndef STATESTORE_ORDERED_H
#define STATESTORE_ORDERED_H

#include "keyindex.h"
#include "cursor.h"

enum {
    /* A longer list gives other threads their turn. One by one in place these take 5 ms in a large tree, a
     * few times less than beside it; and a batch of a table that follows its topic is not longer. */
    CHANGES_AT_ONCE = 4500,
};

typedef struct {
    PyObject *key;
    PyObject *value;     /* NULL: delete */
    PyObject *old_key;   /* what was deleted ... */
    PyObject *old_value; /* ... or overwritten; NULL: nothing */
    Py_ssize_t turn;     /* the later of two changes of a key counts */
} Change;

typedef struct {
    Tree tree;
    KeyIndex index;
    int index_valid; /* 0 while the index is on its way from one tree to the next */
    int closed;
    int writing; /* a long list of changes is under way */
} Ordered;

typedef enum { APPLIED, TOO_LARGE, NO_MEMORY, CLOSED } Outcome;

/* Return the value of `key`, borrowed, or NULL. `root` is what to read: the present tree or an older one. */
static inline PyObject *ordered_find(const Ordered *map, const TreeNode *root, PyObject *key)
{
    PyObject *stored;
    if (map != NULL && map->index_valid && map->tree.root == root) {
        IndexEntry *entry = index_find(&map->index, key_hash(key), key);
        return entry != NULL ? entry->value : NULL;
    }
    return tree_find(root, key, &stored);
}

/* --- Few changes, in place ------------------------------------------------------------------------------- */

static int ordered_change(Ordered *map, Change *change)
{
    uint64_t hash = key_hash(change->key);
    IndexEntry *entry = index_find(&map->index, hash, change->key);
    if (change->value == NULL) {
        if (entry == NULL)
            return 0;
        if (tree_delete(&map->tree, change->key, &change->old_key, &change->old_value) < 0)
            return -1;
        index_remove(&map->index, hash, entry);
        return 0;
    }
    if (entry == NULL && index_add(&map->index, hash, change->key, change->value) < 0)
        return -1;
    if (tree_put(&map->tree, change->key, change->value, &change->old_value) < 0) {
        if (entry == NULL)
            index_remove(&map->index, hash, index_find(&map->index, hash, change->key));
        return -1;
    }
    if (entry != NULL)
        entry->value = change->value;
    return 0;
}

/* Undo a change after which every later one was undone. Needs no memory: nothing has shrunk since. */
static void ordered_undo(Ordered *map, Change *change)
{
    uint64_t hash = key_hash(change->key);
    PyObject *key = NULL, *value = NULL;
    if (change->value == NULL) {
        if (change->old_key == NULL)
            return;
        tree_put_back(&map->tree, change->old_key, change->old_value);
        index_put_back(&map->index, hash, change->old_key, change->old_value);
    } else if (change->old_value == NULL) {
        index_remove(&map->index, hash, index_find(&map->index, hash, change->key));
        tree_delete(&map->tree, change->key, &key, &value);
        Py_XDECREF(key);
        Py_XDECREF(value);
    } else {
        index_find(&map->index, hash, change->key)->value = change->old_value;
        tree_put_back(&map->tree, change->key, change->old_value);
    }
}

/* Apply the changes while no other thread runs. `reached` becomes the size that the content has, or would have;
 * beyond `most` it must not grow. */
static Outcome ordered_apply_few(Ordered *map, Change *changes, Py_ssize_t count, Py_ssize_t most,
                                 Py_ssize_t *reached)
{
    Outcome outcome = APPLIED;
    Py_ssize_t done = 0, size = map->tree.size;
    while (outcome == APPLIED && done < count) {
        if (ordered_change(map, &changes[done]) < 0)
            outcome = NO_MEMORY;
        else
            done++;
    }
    *reached = map->tree.size;
    if (outcome == APPLIED && *reached > most && *reached > size)
        outcome = TOO_LARGE;
    if (outcome != APPLIED) {
        while (done-- > 0)
            ordered_undo(map, &changes[done]);
        return outcome;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (changes[i].old_key != NULL) {
            tree_tidy(&map->tree, changes[i].key);
            index_shrink(&map->index, key_hash(changes[i].key));
        }
    return APPLIED;
}

/* --- The pairs of a range, in place ------------------------------------------------------------------------- */

enum { RANGE_AT_ONCE = 4096 /* pairs that go while no other thread runs: a millisecond */ };

/* Take places [at, end) out of a leaf that is the tree's own, and their keys out of the index. All that is
 * needed lies anywhere in memory, so it is fetched into the CPU's cache for the whole leaf, step by step. */
static void ordered_empty_leaf(Ordered *map, TreeNode *leaf, int at, int end)
{
    PyObject *keys[TREE_WIDTH], *values[TREE_WIDTH];
    uint64_t hashes[TREE_WIDTH];
    int count = end - at;
    for (int i = at; i < end; i++)
        cursor_fetch_ahead(leaf, i);
    for (int i = 0; i < count; i++) {
        keys[i] = leaf->keys[at + i];
        values[i] = leaf->values[at + i];
        hashes[i] = key_hash(keys[i]);
        index_fetch_place(&map->index, hashes[i]);
    }
    for (int i = 0; i < count; i++)
        index_fetch_neighbours(&map->index, hashes[i]);
    for (int i = 0; i < count; i++) {
        map->tree.size -= PyBytes_GET_SIZE(keys[i]) + PyBytes_GET_SIZE(values[i]);
        index_remove(&map->index, hashes[i], index_find(&map->index, hashes[i], keys[i]));
        if (index_is_small(&map->index, hashes[i]))
            index_shrink(&map->index, hashes[i]);
    }
    map->tree.count -= count;
    leaf->count -= count;
    memmove(leaf->keys + at, leaf->keys + end, (leaf->count - at) * sizeof(PyObject *));
    memmove(leaf->values + at, leaf->values + end, (leaf->count - at) * sizeof(PyObject *));
    for (int i = 0; i < count; i++) {
        Py_DECREF(keys[i]);
        Py_DECREF(values[i]);
    }
}

/* Delete pairs of the range [start, stop), each of which may be NULL, from its lowest key on, until about
 * RANGE_AT_ONCE are gone, or memory ends. Return 1 when none is left, 0 when some are, -1 if nothing was deleted
 * for want of memory. No other thread runs meanwhile. */
static int ordered_delete_range(Ordered *map, PyObject *start, PyObject *stop)
{
    for (Py_ssize_t left = RANGE_AT_ONCE; left > 0;) {
        TreeNode **slot = &map->tree.root;
        TreeCursor cursor;
        PyObject *key, *value;
        int at, end, found;
        cursor_begin(&cursor, *slot, start, stop, 0);
        found = cursor_next(&cursor, &key, &value);
        if (found)
            Py_INCREF(key);
        cursor_end(&cursor);
        if (!found)
            return 1;
        while ((found = node_own(slot)) == 0 && (*slot)->height)
            slot = &(*slot)->children[child_place(*slot, key)];
        if (found < 0) {
            Py_DECREF(key);
            return left < RANGE_AT_ONCE ? 0 : -1;
        }
        at = leaf_place(*slot, key, &found);
        end = (*slot)->count;
        if (stop != NULL && key_compare((*slot)->keys[end - 1], stop) >= 0)
            end = leaf_place(*slot, stop, &found);
        left -= end - at;
        ordered_empty_leaf(map, *slot, at, end);
        tree_tidy(&map->tree, key);
        Py_DECREF(key);
    }
    return 0;
}

/* --- Many changes, beside the present tree --------------------------------------------------------------- */

static int change_order(const void *left, const void *right)
{
    const Change *one = left, *other = right;
    int order = key_compare(one->key, other->key);
    return order ? order : (one->turn > other->turn) - (one->turn < other->turn);
}

/* Sort by key. Bytes do not change, so this needs no GIL. */
static void changes_sort(Change *changes, Py_ssize_t count)
{
    for (Py_ssize_t i = 1; i < count; i++)
        if (key_compare(changes[i - 1].key, changes[i].key) >= 0) {
            qsort(changes, count, sizeof(Change), change_order);
            return;
        }
}

static inline int change_counts(const Change *changes, Py_ssize_t count, Py_ssize_t at)
{
    return at + 1 == count || key_compare(changes[at].key, changes[at + 1].key) != 0;
}

static int tree_apply(Tree *tree, const Change *change)
{
    PyObject *key, *value;
    int done;
    if (change->value != NULL) {
        done = tree_put(tree, change->key, change->value, &value);
        if (done == 0)
            Py_DECREF(value);
        return done;
    }
    done = tree_delete(tree, change->key, &key, &value);
    if (done == 1) {
        Py_DECREF(key);
        Py_DECREF(value);
        tree_tidy(tree, change->key);
    }
    return done;
}

/* Let the index say of `key` what the tree under `root` says. */
static int index_follow(KeyIndex *index, const TreeNode *root, PyObject *key)
{
    uint64_t hash = key_hash(key);
    IndexEntry *entry = index_find(index, hash, key);
    PyObject *stored, *value = tree_find(root, key, &stored);
    if (value == NULL) {
        if (entry != NULL)
            index_remove(index, hash, entry);
    } else if (entry == NULL)
        return index_add(index, hash, stored, value);
    else
        *entry = (IndexEntry){stored, value};
    return 0;
}

/* Take the index from the present tree to the one under `root`, or leave it as it is. */
static Outcome ordered_move_index(Ordered *map, const TreeNode *root, Change *changes, Py_ssize_t count, Pace *pace)
{
    Py_ssize_t done;
    map->index_valid = 0;
    for (done = 0; done < count; done++, pace_work(pace, 8)) {
        if (map->closed)
            return CLOSED;
        if (index_follow(&map->index, root, changes[done].key) < 0)
            break;
    }
    if (done == count)
        return APPLIED;
    /* Back again. That needs no memory: nothing has shrunk since. */
    for (; done-- > 0; pace_work(pace, 8)) {
        if (map->closed)
            return CLOSED;
        index_follow(&map->index, map->tree.root, changes[done].key);
    }
    map->index_valid = 1;
    return NO_MEMORY;
}

static Outcome ordered_apply_beside(Ordered *map, Tree *tree, Change *changes, Py_ssize_t count, Py_ssize_t most,
                                    Pace *pace)
{
    Outcome outcome;
    for (Py_ssize_t i = 0; i < count; i++, pace_work(pace, 16)) {
        if (map->closed)
            return CLOSED;
        if (change_counts(changes, count, i) && tree_apply(tree, &changes[i]) < 0)
            return NO_MEMORY;
    }
    if (tree->size > most && tree->size > map->tree.size)
        return TOO_LARGE;
    outcome = ordered_move_index(map, tree->root, changes, count, pace);
    if (outcome != APPLIED)
        return outcome;
    for (Py_ssize_t i = 0; i < count; i++, pace_work(pace, 2)) {
        if (map->closed)
            return CLOSED;
        if (changes[i].value == NULL)
            index_shrink(&map->index, key_hash(changes[i].key));
    }
    return map->closed ? CLOSED : APPLIED;
}

/* As ordered_apply_few, for sorted changes and while other threads run. */
static Outcome ordered_apply_many(Ordered *map, Change *changes, Py_ssize_t count, Py_ssize_t most,
                                  Py_ssize_t *reached)
{
    Outcome outcome;
    Pace pace;
    Tree tree = map->tree; /* the new one */
    pace_begin(&pace);
    if (tree.root != NULL)
        tree.root->refs++;
    map->writing = 1;
    outcome = ordered_apply_beside(map, &tree, changes, count, most, &pace);
    map->writing = 0;
    *reached = tree.size;
    if (outcome == APPLIED) {
        Tree old = map->tree;
        map->tree = tree;
        map->index_valid = 1;
        tree = old;
    }
    tree_release(tree.root);
    return outcome;
}

/* --- The end --------------------------------------------------------------------------------------------- */

/* Empty the map for good. A leak frees nothing: in a forked child another thread's work may be half done. */
static void ordered_close(Ordered *map, int leak)
{
    TreeNode *root = map->tree.root;
    map->closed = 1;
    map->tree = (Tree){NULL, 0, 0};
    if (!leak)
        index_free(&map->index);
    map->index = (KeyIndex){NULL, 0, 0};
    if (!leak)
        tree_release(root);
}

static void changes_free(Change *changes, Py_ssize_t count)
{
    Pace pace;
    pace_begin(&pace);
    for (Py_ssize_t i = 0; i < count; i++, pace_work(&pace, 2)) {
        Py_DECREF(changes[i].key);
        Py_XDECREF(changes[i].value);
        Py_XDECREF(changes[i].old_key);
        Py_XDECREF(changes[i].old_value);
    }
    PyMem_RawFree(changes);
}

#endif
