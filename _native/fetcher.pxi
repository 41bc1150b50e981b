# Records from librdkafka straight into runs of writes: no Python object for a record, and the GIL is taken only
# for what is told at the end of a read.

from libc.string cimport strcmp
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef enum:
    BATCH = 256  # messages taken from librdkafka at once

cdef double HOLDING_WAIT = 0.01  # seconds: how often what is held back is looked at, while nothing arrives


@cython.final
cdef class Fetcher:
    """A consumer of its own that reads assigned partitions into runs of writes.

    ``properties`` are librdkafka's, as ``(name, value)`` strings; ``None`` takes its default. ``namespace`` is
    put before each key. Records from their partition's end of ``assign`` on are held back until ``released``
    (``kafka.cuts.Cuts.released``) lets them go; a read ends when they take ``most_held`` bytes. One thread at a time, but ``wake`` from any: another call meanwhile raises ``RuntimeError``, as does one after ``close``.
    Raises ``statestore.core.common.ClientError`` for what librdkafka refuses. ``find_kafka`` comes first.
    """

    cdef void *client
    cdef void *queue
    cdef Inbox *inbox
    cdef dict assigned  # by topic
    cdef list order  # the same ones, for ``places``
    cdef void **places  # borrowed from ``order``
    cdef Py_ssize_t count
    cdef bint filtered  # one of them has a filter
    cdef bytes namespace
    cdef list events
    cdef object released  # Cuts.released; None: nothing is held back
    cdef Py_ssize_t most_held, held  # bytes: the limit, and of all records that are held back
    cdef volatile bint woken
    cdef bint busy
    cdef bint reached, told  # in this read: an end of assign, an event
    cdef Message *batch[BATCH]

    def __cinit__(self, properties, bytes namespace not None, released=None, Py_ssize_t most_held=0):
        cdef void *conf
        cdef void *client
        cdef char text[512]
        if not kafka_found:
            raise RuntimeError("find_kafka comes first")
        self.assigned, self.order, self.events = {}, [], []
        self.namespace = namespace
        self.released, self.most_held = released, most_held
        self.inbox = new_inbox()
        conf = kafka.new_conf()
        try:
            for name, value in properties:
                set_property(conf, name.encode(), None if value is None else value.encode())
            kafka.set_error_callback(conf, <void *>told_error)
            kafka.set_log_callback(conf, <void *>told_log)
            kafka.set_opaque(conf, self.inbox)
            with nogil:
                client = kafka.new_client(CONSUMER, conf, text, sizeof(text))
            if client == NULL:
                code = kafka.last_error(NULL)
                raise common.ClientError(code, f"Failed to create consumer: {text_of(text)}")
        except BaseException:
            kafka.destroy_conf(conf)
            raise
        self.client = client
        kafka.use_one_queue(client)
        self.queue = self.inbox.queue = kafka.consumer_queue(client)

    def __dealloc__(self):
        if self.client != NULL:
            self.destroy()
        if self.inbox != NULL:
            free_inbox(self.inbox)
        free(self.places)

    def close(self):
        """End the client; what it was told is dropped. Waits for its threads, a second or so. Idempotent."""
        if self.client == NULL:
            return
        self.enter()
        try:
            self.destroy()
        finally:
            self.busy = False

    cdef int destroy(self) except -1:
        cdef void *client = self.client
        cdef void *queue = self.queue
        cdef AssignedTopic one_topic
        for one_topic in self.order:
            one_topic.drop_held()  # a client must not end before its records
        self.client = self.queue = self.inbox.queue = NULL
        with nogil:
            kafka.destroy_queue(queue)
            kafka.destroy_client(client, KEEP_GROUP)
        return 0

    cdef int enter(self) except -1:
        if self.client == NULL:
            raise RuntimeError("the fetcher is closed")
        if self.busy:
            raise RuntimeError("a fetcher is used by one thread at a time")
        self.busy = True
        return 0

    # What is read

    def assign(
        self,
        str topic not None,
        dict positions not None,
        dict ends not None,
        record_filter=None,
        key_limit=None,
        partitioning=None,
    ):
        """Read ``topic`` too, from ``{partition: (offset, leader epoch)}``.

        ``ends`` are offsets at which a read returns at once. What the records of other partitions say is
        dropped. A record that ``record_filter`` skips moves the position only; from one at which it stops,
        nothing of the topic is given or told any more. ``key_limit`` judges records with longer keys likewise.
        With a ``partitioning``, strays are kept apart.
        """
        cdef AssignedTopic one_topic
        self.enter()
        try:
            if topic in self.assigned:
                raise ValueError(f"topic {topic!r} is read already")
            one_topic = AssignedTopic.__new__(
                AssignedTopic,
                topic.encode(),
                positions,
                ends,
                self.namespace,
                record_filter,
                key_limit,
                partitioning,
                self.released is not None,
            )
            self.reserve(self.count + 1)
            self.change(one_topic, positions, kafka.assign)
            self.assigned[topic] = one_topic
            self.list_assigned()
        finally:
            self.busy = False

    def unassign(self, str topic not None):
        """Read ``topic`` no more; fine when it was not read. What was read of it is dropped."""
        cdef AssignedTopic one_topic
        cdef int i
        self.enter()
        try:
            one_topic = self.assigned.pop(topic, None)
            if one_topic is None:
                return
            self.list_assigned()
            one_topic.drop_held()
            self.events = [event for event in self.events if event[0] != topic]
            positions = {one_topic.partitions[i].number: (0, -1) for i in range(one_topic.count)}
            self.change(one_topic, positions, kafka.unassign)
        finally:
            self.busy = False

    def look_up(self, str topic not None, double timeout):
        """Ask for the leaders of ``topic``; tell whether the broker answered within ``timeout`` seconds."""
        cdef bytes name = topic.encode()
        cdef const char *text = PyBytes_AS_STRING(name)
        cdef void *handle
        cdef void *answer = NULL
        cdef int failure = -1
        self.enter()
        try:
            with nogil:
                handle = kafka.new_topic(self.client, text, NULL)
                if handle != NULL:
                    failure = kafka.metadata(self.client, 0, handle, &answer, <int>(1000 * timeout))
                    if failure == 0:
                        kafka.destroy_metadata(answer)
                    kafka.destroy_topic(handle)
            return failure == 0
        finally:
            self.busy = False

    def high_watermarks(self, str topic not None):
        """Return the high watermarks that the last fetches brought, by partition. Also beside a read."""
        cdef AssignedTopic one_topic = self.assigned.get(topic)
        cdef int i
        cdef int64_t high
        found = {}
        if one_topic is not None and self.client != NULL:
            for i in range(one_topic.count):
                high = high_watermark(self.client, one_topic.topic, one_topic.partitions[i].number)
                if high >= 0:
                    found[one_topic.partitions[i].number] = high
        return found

    cdef int reserve(self, Py_ssize_t count) except -1:
        cdef void **places = <void **>realloc(self.places, count * sizeof(void *))
        if places == NULL:
            raise MemoryError("no memory for another topic")
        self.places = places
        return 0

    cdef int list_assigned(self) except -1:
        cdef AssignedTopic one_topic
        self.order = list(self.assigned.values())
        self.count = 0
        self.filtered = False
        for one_topic in self.order:
            self.filtered = self.filtered or one_topic.filtered
            self.places[self.count] = <void *>one_topic
            self.count += 1
        return 0

    cdef int change(self, AssignedTopic one_topic, dict positions, assign_t call) except -1:
        cdef void *client = self.client
        cdef void *partition
        cdef void *failure
        cdef void *partitions = kafka.new_list(<int>len(positions))
        try:
            for number, (offset, epoch) in positions.items():
                partition = kafka.add_partition(partitions, one_topic.topic, number)
                kafka.set_epoch(partition, epoch)
                kafka.set_offset(partitions, one_topic.topic, number, offset)
            with nogil:
                failure = call(client, partitions)
        finally:
            kafka.destroy_list(partitions)
        if failure != NULL:
            error = common.ClientError(kafka.error_code(failure), text_of(kafka.error_text(failure)))
            kafka.destroy_error(failure)
            raise error
        return 0

    # Reading

    def wake(self):
        """Have the read that is under way, or the next one, return at once. Any thread; nothing once closed."""
        self.woken = True
        if self.queue != NULL:
            kafka.yield_queue(self.queue)

    def read(
        self,
        double wait,
        double idle,
        double span,
        Py_ssize_t records,
        Py_ssize_t memory,
        bint sort=False,
    ):
        """Return ``(folded by topic, events, reports)`` of what has arrived.

        Waits ``wait`` seconds for a first record, and goes on until none comes for ``idle``, until ``span``
        is over or ``records`` were read, until the runs take ``memory`` bytes, or until there is something to
        tell: an event, an end of ``assign``. An event is ``(topic, partition, offset, code, text)``, a report
        ``(code, level, text)``: an error that concerns no partition, or with code 0 a line of the log.

        With ``sort`` the runs are sorted here, on this thread, and not by who feeds them; they take no more
        writes.

        After an exception what was read is lost: every topic must be assigned again.
        """
        cdef AssignedTopic one_topic
        self.enter()
        try:
            try:
                with nogil:
                    self.fill(wait, idle, span, records, memory)
                later = self.release() if self.held else []
            except BaseException:
                self.events = []  # an end would be told without the records before it
                raise
            by_topic = {topic: one_topic.folded(sort) for topic, one_topic in self.assigned.items() if one_topic.touched}
            events, self.events = self.events, later
            return by_topic, events, take_reports(self.inbox)
        finally:
            self.busy = False

    cdef int fill(
        self, double wait, double idle, double span, Py_ssize_t records, Py_ssize_t memory
    ) except -1 nogil:
        cdef Py_ssize_t taken, total = 0
        cdef double deadline
        if self.held:
            wait = min(wait, HOLDING_WAIT)
        deadline = now() + wait + span
        self.reached = self.told = False
        while not self.woken:
            taken = self.consume(0, min(<Py_ssize_t>BATCH, records - total))
            if taken == 0:
                if self.reached or self.woken:  # the call before has taken the queue's own note of it
                    break
                taken = self.consume(<int>(1000 * (idle if total else wait)), 1)
                if taken == 0:
                    break
            if total == 0:
                deadline = now() + span
            total += taken
            if self.told or total >= records or now() >= deadline or self.memory() >= memory:
                break
            if self.held and self.held >= self.most_held:
                break
        self.woken = False
        return 0

    cdef Py_ssize_t memory(self) noexcept nogil:
        cdef Py_ssize_t i, total = 0
        for i in range(self.count):
            if (<AssignedTopic>self.places[i]).touched:
                total += (<AssignedTopic>self.places[i]).run.memory
                total += STRAY_FACTOR * (<AssignedTopic>self.places[i]).strays.run.memory
        return total

    cdef Py_ssize_t consume(self, int timeout, Py_ssize_t most) except -1 nogil:
        cdef Py_ssize_t i, taken = kafka.consume(self.queue, timeout, self.batch, most)
        if taken < 0:
            with gil:
                raise common.ClientError(kafka.last_error(NULL), "records cannot be taken")
        try:
            if self.filtered:
                with gil:  # once, and not anew for each record: others would be waited for each time
                    self.take(taken)
            else:
                self.take(taken)
        finally:
            for i in range(taken):
                if self.batch[i] != NULL:
                    kafka.destroy_message(self.batch[i])
        return taken

    cdef int take(self, Py_ssize_t taken) except -1 nogil:
        cdef Py_ssize_t i
        cdef Message *message
        cdef Message *last = NULL
        cdef Message *applied = NULL
        cdef void *place = NULL
        cdef Partition *partition = NULL
        for i in range(taken):
            message = self.batch[i]
            if message.error != 0:
                self.note(message)
                continue
            # Records come in stretches of one partition. The topic of two records of one batch is the same
            # if its address is; of two batches it need not be.
            if last == NULL or message.partition != last.partition or message.topic != last.topic:
                self.leave(partition, applied)
                partition = self.find(message, &place)
                applied = NULL
            last = message
            if partition == NULL or partition.failed:
                continue
            if message.offset >= partition.hold_from:
                hold(&partition.held, message)
                self.held += size_held(message)
                self.batch[i] = NULL
            elif (<AssignedTopic>place).take(partition, message):
                applied = message
        self.leave(partition, applied)
        return 0

    cdef void leave(self, Partition *partition, const Message *applied) noexcept nogil:
        if applied != NULL:
            partition.epoch = kafka.leader_epoch(applied)
            if partition.next == partition.end:
                self.reached = True

    cdef Partition *find(self, const Message *message, void **place) noexcept nogil:
        cdef Py_ssize_t i
        cdef const char *name
        if message.topic == NULL:
            return NULL
        name = kafka.topic_name(message.topic)
        for i in range(self.count):
            if strcmp((<AssignedTopic>self.places[i]).topic, name) == 0:
                place[0] = self.places[i]
                return (<AssignedTopic>place[0]).find(message.partition)
        return NULL

    cdef list release(self):
        """Take the records that need not be held back any longer; return the events that come after others."""
        cdef AssignedTopic one_topic
        cdef Held *held
        cdef Py_ssize_t i, count
        cdef int number
        cdef int64_t below
        self.held = 0
        waiting = {}
        for one_topic in self.order:
            for number in range(one_topic.count):
                self.held += one_topic.partitions[number].held.memory
        for one_topic in self.order:
            topic = one_topic.name.decode()
            for number in range(one_topic.count):
                held = &one_topic.partitions[number].held
                if held.count == 0:
                    continue
                i = one_topic.partitions[number].number
                below = self.released(
                    topic,
                    i,
                    one_topic.partitions[number].next,
                    held.records[0].offset,
                    held.records[held.count - 1].offset + 1,
                    position_of(self.client, one_topic.topic, <int32_t>i),
                    high_watermark(self.client, one_topic.topic, <int32_t>i),
                    held.stable,
                    held.gap,
                    held.count,
                    held.memory,
                    self.held,
                )
                self.held -= held.memory
                one_topic.take_held(&one_topic.partitions[number], below)
                self.held += held.memory
                if held.count:
                    waiting[topic, i] = held.records[0].offset
        if not waiting:
            return []
        events, self.events = self.events, []
        later = []
        for event in events:
            comes_later = event[3] == END_OF_PARTITION and event[2] > waiting.get(event[:2], event[2])
            (later if comes_later else self.events).append(event)
        return later

    cdef int note(self, const Message *message) except -1 nogil:
        cdef void *place = NULL
        cdef Partition *partition = self.find(message, &place)
        if partition == NULL or (<AssignedTopic>place).stopped:
            return 0
        if message.error == END_OF_PARTITION:
            partition.held.stable = message.offset
        else:
            partition.failed = True
        with gil:
            self.events.append((
                (<AssignedTopic>place).name.decode(),
                message.partition,
                message.offset,
                message.error,
                text_of(kafka.message_text(message)),
            ))
        self.told = True
        return 0
