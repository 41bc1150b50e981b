# Expressions over the fields of stored pairs, without an object for a value. Their twin, and what every value must
# equal, is statestore/expressions/evaluation.py; statestore/query/compile.py makes the nodes.


cdef extern from *:
    """
    #define added(one, other, sum) (!__builtin_add_overflow(one, other, sum))
    #define subtracted(one, other, difference) (!__builtin_sub_overflow(one, other, difference))
    #define multiplied(one, other, product) (!__builtin_mul_overflow(one, other, product))
    """
    ctypedef long long int128 "__int128"
    bint added(int64_t one, int64_t other, int64_t *sum) noexcept nogil
    bint subtracted(int64_t one, int64_t other, int64_t *difference) noexcept nogil
    bint multiplied(int64_t one, int64_t other, int64_t *product) noexcept nogil

cdef enum Step:
    FIELD
    CONSTANT
    COMPARE_INTS      # what follows COMPARE_: the kinds of both sides
    COMPARE_REALS
    COMPARE_INT_REAL
    COMPARE_TEXTS     # of anything with an order of bytes
    COMPARE_DECIMALS  # or an int
    IN_INTS
    IN_REALS
    IN_TEXTS
    IN_DECIMALS
    STARTS
    ENDS
    CONTAINS
    AND
    OR
    NOT
    IS_NULL
    TO_REAL
    NEGATE_INT
    NEGATE_REAL
    ADD_INTS
    SUBTRACT_INTS
    MULTIPLY_INTS
    DIVIDE_INTS
    REMAINDER
    ADD_REALS
    SUBTRACT_REALS
    MULTIPLY_REALS
    DIVIDE_REALS

cdef enum Order:  # what a comparison finds, as bits: its step accepts some of them
    LESS = 1
    EQUAL = 2
    GREATER = 4
    UNORDERED = 8

cdef dict STEPS = {
    "field": FIELD,
    "constant": CONSTANT,
    "compare ints": COMPARE_INTS,
    "compare reals": COMPARE_REALS,
    "compare int real": COMPARE_INT_REAL,
    "compare texts": COMPARE_TEXTS,
    "compare decimals": COMPARE_DECIMALS,
    "in ints": IN_INTS,
    "in reals": IN_REALS,
    "in texts": IN_TEXTS,
    "in decimals": IN_DECIMALS,
    "startswith": STARTS,
    "endswith": ENDS,
    "contains": CONTAINS,
    "&": AND,
    "|": OR,
    "~": NOT,
    "is null": IS_NULL,
    "to real": TO_REAL,
    "- int": NEGATE_INT,
    "- real": NEGATE_REAL,
    "+ ints": ADD_INTS,
    "- ints": SUBTRACT_INTS,
    "* ints": MULTIPLY_INTS,
    "/ ints": DIVIDE_INTS,
    "% ints": REMAINDER,
    "+ reals": ADD_REALS,
    "- reals": SUBTRACT_REALS,
    "* reals": MULTIPLY_REALS,
    "/ reals": DIVIDE_REALS,
}
cdef dict ORDERS = {
    "==": EQUAL,
    "!=": LESS | GREATER | UNORDERED,
    "<": LESS,
    "<=": LESS | EQUAL,
    ">": GREATER,
    ">=": GREATER | EQUAL,
}


cdef struct Node:
    unsigned char step
    unsigned char accepts     # of a comparison: the bits of Order
    unsigned char kind        # of the value
    Py_ssize_t left, right    # other nodes; of FIELD left is the field
    const Py_ssize_t *parts   # nodes, of & and |
    const Cell *values        # of in, sorted
    Py_ssize_t count          # of parts or values
    Cell constant


cdef const Cell *value_of(const Node *nodes, Py_ssize_t place, const Cell *fields, Cell *made) noexcept nogil:
    """Return the value of a node, which may be in ``made``; NULL: Python has to find it."""
    cdef const Node *node = &nodes[place]
    cdef const Cell *one
    cdef const Cell *other
    cdef Cell first, second
    cdef Py_ssize_t i
    cdef bint decides, unknown
    if node.step == FIELD:
        return &fields[node.left]
    if node.step == CONSTANT:
        return &node.constant
    if node.step == AND or node.step == OR:
        decides = node.step == OR
        unknown = False
        for i in range(node.count):
            one = value_of(nodes, node.parts[i], fields, &first)
            if one == NULL:
                return NULL
            if one.is_null:
                unknown = True
            elif (one.number != 0) == decides:
                made.is_null = False
                made.number = decides
                return made
        made.is_null = unknown
        made.number = not decides
        return made
    one = value_of(nodes, node.left, fields, &first)
    if one == NULL:
        return NULL
    if node.step == IS_NULL:
        made.is_null = False
        made.number = one.is_null
        return made
    other = one
    if node.right >= 0:
        other = value_of(nodes, node.right, fields, &second)
        if other == NULL:
            return NULL
    made.is_null = one.is_null or other.is_null
    made.scale = 0
    if made.is_null or computed(node, one, other, made):
        return made
    return NULL


cdef inline bint computed(const Node *node, const Cell *one, const Cell *other, Cell *made) noexcept nogil:
    """Whether ``made`` has the value of a node whose operands are not null. They are not in ``made``."""
    cdef unsigned char step = node.step
    if step == COMPARE_INTS:
        made.number = (node.accepts & order_of_ints(one.number, other.number)) != 0
    elif step == COMPARE_REALS:
        made.number = (node.accepts & order_of_reals(one.real, other.real)) != 0
    elif step == COMPARE_TEXTS:
        made.number = (node.accepts & order_of_texts(one, other)) != 0
    elif step == COMPARE_INT_REAL:
        made.number = (node.accepts & order_of_int_real(one.number, other.real)) != 0
    elif step == COMPARE_DECIMALS:
        if one.scale == LONG_DECIMAL or other.scale == LONG_DECIMAL:
            return False
        made.number = (node.accepts & order_of_decimals(one, other)) != 0
    elif step == IN_INTS or step == IN_REALS or step == IN_TEXTS:
        made.number = is_in(node, one)
    elif step == IN_DECIMALS:
        if one.scale == LONG_DECIMAL:
            return False
        made.number = is_in(node, one)
    elif step == STARTS:
        made.number = one.size >= other.size and memcmp(one.data, other.data, other.size) == 0
    elif step == ENDS:
        made.number = (
            one.size >= other.size
            and memcmp(one.data + one.size - other.size, other.data, other.size) == 0
        )
    elif step == CONTAINS:
        made.number = contains(one, other)
    elif step == NOT:
        made.number = one.number == 0
    elif step == TO_REAL:
        made.real = <double>one.number
    elif step == NEGATE_INT:
        return subtracted(0, one.number, &made.number)
    elif step == NEGATE_REAL:
        made.real = -one.real
    elif step == ADD_INTS:
        return added(one.number, other.number, &made.number)
    elif step == SUBTRACT_INTS:
        return subtracted(one.number, other.number, &made.number)
    elif step == MULTIPLY_INTS:
        return multiplied(one.number, other.number, &made.number)
    elif step == DIVIDE_INTS:
        return divided(one.number, other.number, made)
    elif step == REMAINDER:
        made.is_null = other.number == 0
        made.number = 0 if made.is_null else remainder_of(one.number, other.number)
    elif step == ADD_REALS:
        made.real = one.real + other.real
    elif step == SUBTRACT_REALS:
        made.real = one.real - other.real
    elif step == MULTIPLY_REALS:
        made.real = one.real * other.real
    elif step == DIVIDE_REALS:
        made.is_null = other.real == 0
        made.real = 0 if made.is_null else divided_reals(one.real, other.real)
    else:
        return False
    return True


cdef inline int order_of_ints(int64_t one, int64_t other) noexcept nogil:
    return LESS if one < other else GREATER if one > other else EQUAL


cdef inline int order_of_reals(double one, double other) noexcept nogil:
    return LESS if one < other else GREATER if one > other else EQUAL if one == other else UNORDERED


cdef inline int order_of_int_real(int64_t one, double other) noexcept nogil:
    """Compare exactly, as Python does: an int above 2**53 may be no float."""
    cdef int64_t whole
    if isnan(other):
        return UNORDERED
    if other >= 9223372036854775808.0:
        return LESS
    if other < -9223372036854775808.0:
        return GREATER
    whole = <int64_t>other  # towards zero
    if one != whole:
        return LESS if one < whole else GREATER
    return order_of_reals(<double>whole, other)


cdef inline int order_of_texts(const Cell *one, const Cell *other) noexcept nogil:
    cdef Py_ssize_t shorter = one.size if one.size < other.size else other.size
    cdef int order = memcmp(one.data, other.data, shorter)
    return order_of_ints(order, 0) if order else order_of_ints(one.size, other.size)


cdef inline int order_of_decimals(const Cell *one, const Cell *other) noexcept nogil:
    cdef int128 left = one.number, right = other.number
    left *= power_of_ten(other.scale - one.scale)
    right *= power_of_ten(one.scale - other.scale)
    return LESS if left < right else GREATER if left > right else EQUAL


cdef inline int64_t power_of_ten(int exponent) noexcept nogil:
    """Return 10**exponent, of 18 at most; 1 below 0."""
    cdef int64_t power = 1
    while exponent > 0:
        power *= 10
        exponent -= 1
    return power


cdef inline int order_in(unsigned char step, const Cell *one, const Cell *other) noexcept nogil:
    if step == IN_INTS:
        return order_of_ints(one.number, other.number)
    if step == IN_REALS:
        return order_of_reals(one.real, other.real)
    return order_of_texts(one, other) if step == IN_TEXTS else order_of_decimals(one, other)


cdef inline bint is_in(const Node *node, const Cell *value) noexcept nogil:
    cdef Py_ssize_t low = 0, high = node.count, middle
    cdef int order
    while low < high:
        middle = (low + high) // 2
        order = order_in(node.step, value, &node.values[middle])
        if order == EQUAL:
            return True
        if order == LESS:
            high = middle
        elif order == GREATER:
            low = middle + 1
        else:
            return False
    return False


cdef inline bint contains(const Cell *one, const Cell *other) noexcept nogil:
    cdef const char *at = one.data
    cdef Py_ssize_t left = one.size
    if other.size == 0:
        return True
    while left >= other.size:
        at = <const char *>memchr(at, other.data[0], left - other.size + 1)
        if at == NULL:
            return False
        if memcmp(at, other.data, other.size) == 0:
            return True
        at += 1
        left = one.data + one.size - at
    return False


@cython.cdivision(True)
cdef inline bint divided(int64_t one, int64_t other, Cell *made) noexcept nogil:
    cdef int64_t exact = <int64_t>1 << 53  # up to which an int is a float
    made.is_null = other == 0
    if made.is_null:
        return True
    if not -exact <= one <= exact or not -exact <= other <= exact:
        return False
    made.real = <double>one / <double>other
    return True


@cython.cdivision(True)
cdef inline double divided_reals(double one, double other) noexcept nogil:
    return one / other


@cython.cdivision(True)
cdef inline int64_t remainder_of(int64_t one, int64_t other) noexcept nogil:
    """Return the remainder with the sign of ``other``, which is not 0."""
    cdef int64_t rest = 0 if other == -1 else one % other
    return rest + other if rest and (rest < 0) != (other < 0) else rest
