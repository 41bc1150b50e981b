/* A B+tree of bytes objects, ordered by their unsigned bytes, whose nodes are counted: a snapshot is one more
 * reference to the root. A node with one reference below nodes with one reference belongs to its tree alone and
 * is changed in place; any other is copied first (node_own), so what a snapshot sees never changes.
 *
 * Everything here runs under the GIL, and nothing runs Python code: keys and values are exact bytes objects,
 * whose end has no side effects. Where memory ends, a function returns -1 without an exception set, and the
 * tree's content is what it was. */

#ifndef STATESTORE_TREE_H
#define STATESTORE_TREE_H

#include <Python.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

enum {
    TREE_WIDTH = 64,  /* pairs of a leaf, children of an inner node */
    TREE_HEIGHT = 24, /* neighbours hold more than half a node together, so 16^24 leaves fit at the least */
};

typedef struct TreeNode {
    Py_ssize_t refs; /* of parents, trees and cursors */
    int count;
    int height;                  /* 0: a leaf */
    PyObject *keys[TREE_WIDTH];  /* of an inner node: keys[i] <= the keys of child i; keys[0] is NULL */
    union {
        PyObject *values[TREE_WIDTH];
        struct TreeNode *children[TREE_WIDTH];
    };
} TreeNode;

typedef struct {
    TreeNode *root; /* NULL: empty */
    Py_ssize_t count;
    Py_ssize_t size; /* bytes of all keys and values */
} Tree;

/* --- Long work under the GIL lets others have it now and then ------------------------------------------- */

enum { PACE_UNITS = 512, PACE_NANOSECONDS = 2000000 };

typedef struct {
    int units; /* of work until the next look at the clock */
    int64_t end;
} Pace;

static inline int64_t pace_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void pace_begin(Pace *pace)
{
    pace->units = PACE_UNITS;
    pace->end = pace_clock() + PACE_NANOSECONDS;
}

/* Count `units` of work (about 50 ns each); other threads may have run when this returns. */
static inline void pace_work(Pace *pace, int units)
{
    if ((pace->units -= units) > 0)
        return;
    pace->units = PACE_UNITS;
    if (pace_clock() < pace->end)
        return;
    Py_BEGIN_ALLOW_THREADS
    sched_yield();
    Py_END_ALLOW_THREADS
    pace->end = pace_clock() + PACE_NANOSECONDS;
}

/* --- Keys ------------------------------------------------------------------------------------------------ */

static inline int key_compare(PyObject *left, PyObject *right)
{
    Py_ssize_t left_size = PyBytes_GET_SIZE(left), right_size = PyBytes_GET_SIZE(right);
    int order = memcmp(PyBytes_AS_STRING(left), PyBytes_AS_STRING(right),
                       left_size < right_size ? left_size : right_size);
    return order ? order : (left_size > right_size) - (left_size < right_size);
}

/* Return the first place of `leaf` whose key is not below `key`. */
static inline int leaf_place(const TreeNode *leaf, PyObject *key, int *found)
{
    int low = 0, high = leaf->count;
    *found = 0;
    while (low < high) {
        int middle = (low + high) / 2;
        int order = key_compare(leaf->keys[middle], key);
        if (order < 0)
            low = middle + 1;
        else if (order > 0)
            high = middle;
        else {
            *found = 1;
            return middle;
        }
    }
    return low;
}

/* Return which child of `node` has `key` in its range. */
static inline int child_place(const TreeNode *node, PyObject *key)
{
    int low = 1, high = node->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (key_compare(node->keys[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

/* --- Nodes ----------------------------------------------------------------------------------------------- */

static TreeNode *node_new(int height)
{
    TreeNode *node = PyMem_RawMalloc(sizeof(TreeNode));
    if (node != NULL) {
        node->refs = 1;
        node->count = 0;
        node->height = height;
    }
    return node;
}

/* Give up a reference to `node`. With a pace other threads may run meanwhile. */
static void node_drop(TreeNode *node, Pace *pace)
{
    if (--node->refs > 0)
        return;
    for (int i = 0; i < node->count; i++) {
        Py_XDECREF(node->keys[i]);
        if (node->height)
            node_drop(node->children[i], pace);
        else
            Py_DECREF(node->values[i]);
    }
    if (pace != NULL)
        pace_work(pace, 2 * node->count);
    PyMem_RawFree(node);
}

/* Give up a reference to a root, whatever hangs on it; other threads may run meanwhile. */
static void tree_release(TreeNode *root)
{
    Pace pace;
    if (root == NULL)
        return;
    if (root->refs == 1)
        pace_begin(&pace);
    node_drop(root, &pace);
}

/* Append what `source` holds to `node`; there is room. */
static void node_append_copies(TreeNode *node, const TreeNode *source)
{
    for (int i = 0; i < source->count; i++) {
        PyObject *key = source->keys[i];
        Py_XINCREF(key);
        node->keys[node->count + i] = key;
        if (node->height) {
            source->children[i]->refs++;
            node->children[node->count + i] = source->children[i];
        } else {
            Py_INCREF(source->values[i]);
            node->values[node->count + i] = source->values[i];
        }
    }
    node->count += source->count;
}

/* Make the node in `slot` one that no other tree sees; `slot` is in such a node, or holds a root. */
static int node_own(TreeNode **slot)
{
    TreeNode *shared = *slot, *copy;
    if (shared->refs == 1)
        return 0;
    copy = node_new(shared->height);
    if (copy == NULL)
        return -1;
    node_append_copies(copy, shared);
    shared->refs--;
    *slot = copy;
    return 0;
}

/* Split the full child `at` of `parent`, both owned, where `parent` has room. */
static int node_split(TreeNode *parent, int at, PyObject *key)
{
    TreeNode *left = parent->children[at], *right = node_new(left->height);
    PyObject *between;
    int found, keep = TREE_WIDTH / 2;
    if (right == NULL)
        return -1;
    if (left->height == 0 && leaf_place(left, key, &found) == TREE_WIDTH) {
        keep = TREE_WIDTH; /* keys that come in order fill their leaves: `key` opens the next one */
        between = key;
        Py_INCREF(between);
    } else {
        between = left->keys[keep];
        if (left->height == 0)
            Py_INCREF(between);
    }
    right->count = left->count - keep;
    memcpy(right->keys, left->keys + keep, right->count * sizeof(PyObject *));
    memcpy(right->values, left->values + keep, right->count * sizeof(PyObject *));
    left->count = keep;
    if (right->height)
        right->keys[0] = NULL; /* it is `between` now */
    memmove(parent->keys + at + 2, parent->keys + at + 1, (parent->count - at - 1) * sizeof(PyObject *));
    memmove(parent->children + at + 2, parent->children + at + 1, (parent->count - at - 1) * sizeof(TreeNode *));
    parent->keys[at + 1] = between;
    parent->children[at + 1] = right;
    parent->count++;
    return 0;
}

/* Take the slot of child `at` out of `parent`; its reference is the caller's to drop. */
static void node_cut(TreeNode *parent, int at)
{
    Py_XDECREF(parent->keys[at]);
    parent->count--;
    memmove(parent->keys + at, parent->keys + at + 1, (parent->count - at) * sizeof(PyObject *));
    memmove(parent->children + at, parent->children + at + 1, (parent->count - at) * sizeof(TreeNode *));
    if (at == 0 && parent->count > 0)
        Py_CLEAR(parent->keys[0]);
}

/* Join child `at + 1` of the owned `parent` to child `at`, where both fit into one. */
static int node_join(TreeNode *parent, int at)
{
    TreeNode *left, *right = parent->children[at + 1];
    int first;
    if (node_own(&parent->children[at]) < 0)
        return -1;
    left = parent->children[at];
    first = left->count;
    if (right->refs == 1) {
        memcpy(left->keys + first, right->keys, right->count * sizeof(PyObject *));
        memcpy(left->values + first, right->values, right->count * sizeof(PyObject *));
        left->count += right->count;
        PyMem_RawFree(right); /* what it held has moved */
    } else {
        node_append_copies(left, right);
        right->refs--;
    }
    if (left->height) {
        left->keys[first] = parent->keys[at + 1];
        Py_INCREF(left->keys[first]);
    }
    node_cut(parent, at + 1);
    return 0;
}

/* --- Trees ----------------------------------------------------------------------------------------------- */

/* Return the value of `key` in the tree under `root`, borrowed, or NULL; `stored` becomes the tree's key. */
static PyObject *tree_find(const TreeNode *node, PyObject *key, PyObject **stored)
{
    int at, found;
    if (node == NULL)
        return NULL;
    while (node->height)
        node = node->children[child_place(node, key)];
    at = leaf_place(node, key, &found);
    if (!found)
        return NULL;
    *stored = node->keys[at];
    return node->values[at];
}

static void leaf_insert(TreeNode *leaf, int at, PyObject *key, PyObject *value)
{
    memmove(leaf->keys + at + 1, leaf->keys + at, (leaf->count - at) * sizeof(PyObject *));
    memmove(leaf->values + at + 1, leaf->values + at, (leaf->count - at) * sizeof(PyObject *));
    Py_INCREF(key);
    Py_INCREF(value);
    leaf->keys[at] = key;
    leaf->values[at] = value;
    leaf->count++;
}

/* Put a pair. Return 1 for a new key, 0 for a known one (which stays; `old` gets the reference to its value),
 * -1 without memory. Full inner nodes are split on the way down, so each step leaves a valid tree. */
static int tree_put(Tree *tree, PyObject *key, PyObject *value, PyObject **old)
{
    TreeNode **slot = &tree->root, *parent = NULL, *node;
    int place = 0, at, found;
    if (tree->root == NULL && (tree->root = node_new(0)) == NULL)
        return -1;
    for (;;) {
        if (node_own(slot) < 0)
            return -1;
        node = *slot;
        if (node->height == 0) {
            at = leaf_place(node, key, &found);
            if (found) {
                *old = node->values[at];
                Py_INCREF(value);
                node->values[at] = value;
                tree->size += PyBytes_GET_SIZE(value) - PyBytes_GET_SIZE(*old);
                return 0;
            }
            if (node->count < TREE_WIDTH) {
                leaf_insert(node, at, key, value);
                tree->count++;
                tree->size += PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(value);
                return 1;
            }
        } else if (node->count < TREE_WIDTH) {
            parent = node;
            place = child_place(node, key);
            slot = &node->children[place];
            continue;
        }
        if (parent == NULL) {
            if (node->height + 1 == TREE_HEIGHT || (parent = node_new(node->height + 1)) == NULL)
                return -1;
            parent->keys[0] = NULL;
            parent->children[0] = node;
            parent->count = 1;
            tree->root = parent;
        }
        if (node_split(parent, place, key) < 0)
            return -1;
        if (key_compare(parent->keys[place + 1], key) <= 0)
            place++;
        slot = &parent->children[place];
    }
}

/* Undo a tree_put of a known key, or a tree_delete, after every later change was undone: the way to the leaf is
 * owned, and the leaf has room. */
static void tree_put_back(Tree *tree, PyObject *key, PyObject *value)
{
    TreeNode *node = tree->root;
    int at, found;
    while (node->height)
        node = node->children[child_place(node, key)];
    at = leaf_place(node, key, &found);
    if (found) {
        tree->size += PyBytes_GET_SIZE(value) - PyBytes_GET_SIZE(node->values[at]);
        Py_INCREF(value);
        Py_SETREF(node->values[at], value);
        return;
    }
    leaf_insert(node, at, key, value);
    tree->count++;
    tree->size += PyBytes_GET_SIZE(key) + PyBytes_GET_SIZE(value);
}

/* Delete `key`. Return 1 (`old_key` and `old` get the references), 0 where it is not, -1 without memory.
 * Leaves may be left small, or empty: tree_tidy follows when nothing needs to be undone any more. */
static int tree_delete(Tree *tree, PyObject *key, PyObject **old_key, PyObject **old)
{
    TreeNode **slot = &tree->root, *leaf;
    PyObject *stored;
    int at, found;
    if (tree_find(tree->root, key, &stored) == NULL)
        return 0;
    for (;;) {
        if (node_own(slot) < 0)
            return -1;
        if ((*slot)->height == 0)
            break;
        slot = &(*slot)->children[child_place(*slot, key)];
    }
    leaf = *slot;
    at = leaf_place(leaf, key, &found);
    *old_key = leaf->keys[at];
    *old = leaf->values[at];
    leaf->count--;
    memmove(leaf->keys + at, leaf->keys + at + 1, (leaf->count - at) * sizeof(PyObject *));
    memmove(leaf->values + at, leaf->values + at + 1, (leaf->count - at) * sizeof(PyObject *));
    tree->count--;
    tree->size -= PyBytes_GET_SIZE(*old_key) + PyBytes_GET_SIZE(*old);
    return 1;
}

/* Join child `at` of `parent` to a neighbour if they are small together, or take it out if it is empty. */
static int node_tidy(TreeNode *parent, int at)
{
    TreeNode *node = parent->children[at];
    if (node->count == 0) {
        node_cut(parent, at);
        node_drop(node, NULL);
        return 1;
    }
    for (int left = at - 1; left <= at; left++)
        if (left >= 0 && left + 1 < parent->count &&
            parent->children[left]->count + parent->children[left + 1]->count <= TREE_WIDTH / 2)
            return node_join(parent, left) == 0;
    return 0;
}

/* Clear up where `key` was deleted. Without memory for it small nodes stay, which does no harm. */
static void tree_tidy(Tree *tree, PyObject *key)
{
    TreeNode *path[TREE_HEIGHT], *root;
    int places[TREE_HEIGHT], depth = 0;
    for (TreeNode **slot = &tree->root; *slot != NULL; slot = &path[depth]->children[places[depth]], depth++) {
        if (node_own(slot) < 0)
            return;
        path[depth] = *slot;
        if (path[depth]->height == 0)
            break;
        places[depth] = child_place(path[depth], key);
    }
    while (depth-- > 0)
        if (!node_tidy(path[depth], places[depth]))
            break;
    while (tree->root != NULL && (tree->root->count == 0 || (tree->root->height && tree->root->count == 1))) {
        if (node_own(&tree->root) < 0)
            return;
        root = tree->root;
        tree->root = root->count ? root->children[0] : NULL;
        root->count = 0;
        node_drop(root, NULL);
    }
}

#endif
