/* Cells of Arrow columns that take more than a copy. The values are in the byte order of the machine. */

#ifndef STATESTORE_COLUMNS_H
#define STATESTORE_COLUMNS_H

#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Whether Python would decode `size` bytes at `at` as UTF-8: no surrogates, nothing longer than needed. */
static int is_utf8(const unsigned char *at, Py_ssize_t size) {
    const unsigned char *end = at + size;
    uint64_t eight;
    int more;
    while (at < end) {
        if (end - at >= 8) {
            memcpy(&eight, at, 8);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        if (*at < 0x80) {
            at++;
            continue;
        }
        more = *at >= 0xC2 && *at <= 0xDF ? 1 : (*at & 0xF0) == 0xE0 ? 2 : *at >= 0xF0 && *at <= 0xF4 ? 3 : 0;
        if (more == 0 || end - at <= more) return 0;
        if ((*at == 0xE0 && at[1] < 0xA0) || (*at == 0xED && at[1] > 0x9F)) return 0;
        if ((*at == 0xF0 && at[1] < 0x90) || (*at == 0xF4 && at[1] > 0x8F)) return 0;
        for (at++; more > 0; more--, at++)
            if ((*at & 0xC0) != 0x80) return 0;
    }
    return 1;
}

/* Put the decimal that is written as "-12.5" into the 16 bytes at `out`, as an integer of 10**-scale.
   Return 0 if it is written in another way, or has more than `digits` digits or `scale` decimal places. */
static int decimal_cell(const char *text, Py_ssize_t size, Py_ssize_t digits, Py_ssize_t scale, char *out) {
    const char *end = text + size, *point;
    Py_ssize_t whole, places, left;
    uint64_t parts[2] = {0, 0};                             /* of 10**19, and of 1 */
    const uint64_t unit = UINT64_C(10000000000000000000), half = UINT64_C(0xFFFFFFFF);
    uint64_t low, high, middle, negative;
    negative = size > 0 && *text == '-';
    text += negative;
    while (end - text > 1 && text[0] == '0' && text[1] != '.') text++;
    for (point = text; point < end && *point != '.'; point++) {}
    whole = point - text;
    places = end - point - (point < end);
    if (whole == 0 || (point < end && places == 0) || places > scale) return 0;
    if ((*text == '0' ? 0 : whole) + scale > digits) return 0;
    left = whole + scale;
    for (; text < end; text++) {
        if (text == point) continue;
        if (*text < '0' || *text > '9') return 0;
        left--;
        if (left < 38) parts[left < 19] = parts[left < 19] * 10 + (uint64_t)(*text - '0');
    }
    for (; left > 0; left--) parts[left <= 19] *= 10;
    /* parts[0] * unit + parts[1], of 128 bits */
    low = (parts[0] & half) * (unit & half);
    middle = (parts[0] >> 32) * (unit & half) + (low >> 32);
    high = (parts[0] >> 32) * (unit >> 32) + (middle >> 32);
    middle = (parts[0] & half) * (unit >> 32) + (middle & half);
    high += middle >> 32;
    low = middle << 32 | (low & half);
    low += parts[1];
    high += low < parts[1];
    if (negative) {
        low = ~low + 1;
        high = ~high + (low == 0);
    }
#if PY_BIG_ENDIAN
    memcpy(out, &high, 8);
    memcpy(out + 8, &low, 8);
#else
    memcpy(out, &low, 8);
    memcpy(out + 8, &high, 8);
#endif
    return 1;
}

/* Return what follows a value that is no list, map or extension, NULL if `at` is none. There is a byte at least. */
static const unsigned char *scalar_end(const unsigned char *at, const unsigned char *end) {
    unsigned char code = *at;
    size_t size, left = (size_t)(end - at) - 1;
    if (code <= 0x7F || code >= 0xE0 || code == 0xC0 || code == 0xC2 || code == 0xC3) return at + 1;
    if ((code & 0xE0) == 0xA0) size = code & 0x1F;
    else if (code == 0xCA) size = 4;
    else if (code == 0xCB) size = 8;
    else if (code >= 0xCC && code <= 0xCF) size = (size_t)1 << (code - 0xCC);
    else if (code >= 0xD0 && code <= 0xD3) size = (size_t)1 << (code - 0xD0);
    else if ((code == 0xD9 || code == 0xC4) && left >= 1) size = 1 + (size_t)at[1];
    else if ((code == 0xDA || code == 0xC5) && left >= 2) size = 2 + ((size_t)at[1] << 8 | at[2]);
    else if ((code == 0xDB || code == 0xC6) && left >= 4)
        size = 4 + ((size_t)at[1] << 24 | (size_t)at[2] << 16 | (size_t)at[3] << 8 | at[4]);
    else return NULL;
    return left < size ? NULL : at + 1 + size;
}

#endif
