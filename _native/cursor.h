/* Ranges of a tree (tree.h), pair by pair, in both directions. */

#ifndef STATESTORE_CURSOR_H
#define STATESTORE_CURSOR_H

#include "tree.h"

enum { CURSOR_AHEAD = 8 /* pairs whose objects are fetched into the CPU's cache before their turn */ };

/* A way through one range of a tree that does not change, on a reference to its root. */
typedef struct {
    TreeNode *root; /* NULL: at the end */
    PyObject *start, *stop; /* references; NULL: open */
    TreeNode *path[TREE_HEIGHT]; /* by height; path[0] is the leaf */
    int places[TREE_HEIGHT];
    int low, high; /* the leaf's pairs still to come */
    int reverse, last; /* last: no other leaf has pairs of the range */
} TreeCursor;

static inline void cursor_fetch_ahead(const TreeNode *leaf, int at)
{
    __builtin_prefetch(leaf->keys[at], 1);
    __builtin_prefetch(leaf->values[at], 1);
}

/* Go down from path[height], whose place is set, to the leaf at the near end of what is below it. */
static void cursor_descend(TreeCursor *cursor, int height, PyObject *bound)
{
    TreeNode *leaf;
    int found;
    for (; height > 0; height--) {
        TreeNode *child = cursor->path[height]->children[cursor->places[height]];
        cursor->path[height - 1] = child;
        if (child->height)
            cursor->places[height - 1] =
                bound != NULL ? child_place(child, bound) : cursor->reverse ? child->count - 1 : 0;
    }
    leaf = cursor->path[0];
    cursor->low = 0;
    cursor->high = leaf->count;
    if (leaf->count == 0)
        return;
    if (cursor->start != NULL && key_compare(leaf->keys[0], cursor->start) < 0) {
        cursor->low = leaf_place(leaf, cursor->start, &found);
        cursor->last |= cursor->reverse;
    }
    if (cursor->stop != NULL && key_compare(leaf->keys[leaf->count - 1], cursor->stop) >= 0) {
        cursor->high = leaf_place(leaf, cursor->stop, &found);
        cursor->last |= !cursor->reverse;
    }
    for (int i = 0; i < CURSOR_AHEAD && i < cursor->high - cursor->low; i++)
        cursor_fetch_ahead(leaf, cursor->reverse ? cursor->high - 1 - i : cursor->low + i);
}

/* Begin with the range [start, stop) of the tree under `root`; each of the three may be NULL. */
static void cursor_begin(TreeCursor *cursor, TreeNode *root, PyObject *start, PyObject *stop, int reverse)
{
    PyObject *bound = reverse ? stop : start;
    cursor->root = NULL;
    cursor->start = cursor->stop = NULL;
    if (root == NULL || (start != NULL && stop != NULL && key_compare(start, stop) >= 0))
        return;
    root->refs++;
    Py_XINCREF(start);
    Py_XINCREF(stop);
    cursor->root = root;
    cursor->start = start;
    cursor->stop = stop;
    cursor->reverse = reverse;
    cursor->last = 0;
    cursor->path[root->height] = root;
    if (root->height)
        cursor->places[root->height] =
            bound != NULL ? child_place(root, bound) : reverse ? root->count - 1 : 0;
    cursor_descend(cursor, root->height, bound);
}

/* Let go of the tree. Other threads may run meanwhile, and find the cursor at its end. */
static void cursor_end(TreeCursor *cursor)
{
    TreeNode *root = cursor->root;
    cursor->root = NULL;
    Py_CLEAR(cursor->start);
    Py_CLEAR(cursor->stop);
    tree_release(root);
}

static int cursor_next_leaf(TreeCursor *cursor)
{
    int step = cursor->reverse ? -1 : 1;
    if (cursor->last)
        return 0;
    for (int height = 1; height <= cursor->root->height; height++) {
        int place = cursor->places[height] + step;
        if (place >= 0 && place < cursor->path[height]->count) {
            cursor->places[height] = place;
            cursor_descend(cursor, height, NULL);
            return 1;
        }
    }
    return 0;
}

/* Return whether there is a next pair, and which: borrowed, valid until the cursor's end. */
static inline int cursor_next(TreeCursor *cursor, PyObject **key, PyObject **value)
{
    TreeNode *leaf;
    int at;
    if (cursor->root == NULL)
        return 0;
    while (cursor->low >= cursor->high)
        if (!cursor_next_leaf(cursor))
            return 0;
    leaf = cursor->path[0];
    if (cursor->reverse) {
        at = --cursor->high;
        if (at - CURSOR_AHEAD >= cursor->low)
            cursor_fetch_ahead(leaf, at - CURSOR_AHEAD);
    } else {
        at = cursor->low++;
        if (at + CURSOR_AHEAD < cursor->high)
            cursor_fetch_ahead(leaf, at + CURSOR_AHEAD);
    }
    *key = leaf->keys[at];
    *value = leaf->values[at];
    return 1;
}

#endif
