import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.query.QueryResult;
import org.apache.kafka.streams.query.StateQueryRequest;
import org.apache.kafka.streams.query.WindowRangeQuery;
import org.apache.kafka.streams.state.BuiltInDslStoreSuppliers;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.QueryableStoreType;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.ReadOnlyWindowStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.ValueAndTimestamp;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Aggregates the records of one topic in windows of each kind, waits until all of it is committed, prints what its
 * stores answer to interactive queries, and ends.
 *
 * <p>Arguments: address, application id, topic of the records, directory, keys of the records in hexadecimal with
 * commas between. A record's value is a number to add, or "delete", which deletes its windows. Changelogs are the
 * topics {application id}-{store}-changelog, sinks the topics {application id}-{name}-sink, which must be there.
 *
 * <p>It prints a line for each row: store, key in hexadecimal, start, end, value, timestamp, with tabs between. The
 * timestamp is empty where the store has none.
 */
final class WindowedAggregates {
    static final Duration SIZE = Duration.ofMinutes(5), ADVANCE = Duration.ofMinutes(1), GRACE = Duration.ofMinutes(2);
    static final Duration RETENTION = Duration.ofHours(6), SHORT_RETENTION = Duration.ofMinutes(30);
    static final long PATIENCE_MS = 100_000;

    static final Initializer<String> NOTHING = () -> sums(0, 0);
    static final Aggregator<String, String, String> ADD = (key, value, aggregate) ->
        value.equals("delete") ? null : sums(count(aggregate) + 1, total(aggregate) + Long.parseLong(value));

    static final List<String> windows = new ArrayList<>(), sessions = new ArrayList<>();
    static String id;

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Throwable error) {
            fail(error);
        }
        System.exit(0);
    }

    /** An exception alone leaves the process alive. */
    static void fail(Throwable error) {
        error.printStackTrace();
        Runtime.getRuntime().halt(1);
    }

    static void run(String[] arguments) throws Exception {
        String brokers = arguments[0], records = arguments[2];
        id = arguments[1];
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, id);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[3]);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        // By default closed windows are emitted once a second, and after the last record none.
        properties.put(StreamsConfig.InternalConfig.EMIT_INTERVAL_MS_KSTREAMS_WINDOWED_AGGREGATION, 0L);
        StreamsBuilder builder = new StreamsBuilder();
        build(builder.stream(records, Consumed.with(Serdes.String(), Serdes.String())));
        try (KafkaStreams streams = new KafkaStreams(builder.build(), properties)) {
            streams.setUncaughtExceptionHandler(error -> {
                fail(error);
                return null;
            });
            streams.start();
            waitUntilCommitted(brokers, records);
            for (String name : windows)
                printWindows(streams, name);
            for (String name : sessions)
                for (String key : arguments[4].split(","))
                    printSessions(streams, name, new String(HexFormat.of().parseHex(key), StandardCharsets.UTF_8));
            printJoin(streams, "join-this-join-store");
            streams.close(Duration.ofSeconds(30));
        }
    }

    static void build(KStream<String, String> records) {
        KGroupedStream<String, String> grouped = records.groupByKey();
        TimeWindows tumbling = TimeWindows.ofSizeAndGrace(SIZE, GRACE);
        for (boolean isCached : new boolean[] {true, false}) {
            String suffix = isCached ? "-cached" : "";
            var bars = windows("tumbling" + suffix, grouped.windowedBy(tumbling), ADD, isCached, RETENTION);
            var hops = windows("hopping" + suffix, grouped.windowedBy(tumbling.advanceBy(ADVANCE)), ADD, isCached, RETENTION);
            SlidingWindows sliding = SlidingWindows.ofTimeDifferenceAndGrace(SIZE, GRACE);
            // Kafka Streams 4.3.1 fails (NullPointerException) where it finds a deleted sliding window in its cache.
            var slides = windows("sliding" + suffix, grouped.windowedBy(sliding), isCached ? withoutDeletes() : ADD, isCached, RETENTION);
            var visits = sessions("sessions" + suffix, grouped, isCached, RETENTION);
            sink("tumbling" + suffix, bars);
            sink("hopping" + suffix, hops);
            sink("sliding" + suffix, slides);
            sinkSessions("sessions" + suffix, visits);
            var closed = Suppressed.untilWindowCloses(BufferConfig.unbounded().withLoggingDisabled());
            sink("tumbling-suppressed" + suffix, bars.suppress(closed));
            sinkSessions("sessions-suppressed" + suffix, visits.suppress(closed));
        }
        var closing = grouped.windowedBy(tumbling).emitStrategy(EmitStrategy.onWindowClose());
        sink("closing", windows("closing", closing, ADD, false, RETENTION));
        windows("tumbling-short", grouped.windowedBy(tumbling), ADD, false, SHORT_RETENTION);
        sessions("sessions-short", grouped, false, SHORT_RETENTION);
        // A join's stores have a row for each record: rows of one key and time are told apart by a number.
        records.join(records, (one, other) -> one, JoinWindows.ofTimeDifferenceAndGrace(SIZE.multipliedBy(2), GRACE),
            StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String()).withStoreName("join")
                .withDslStoreSuppliers(BuiltInDslStoreSuppliers.IN_MEMORY));
    }

    static Aggregator<String, String, String> withoutDeletes() {
        return (key, value, aggregate) -> ADD.apply(key, value.replace("delete", "0"), aggregate);
    }

    static KTable<Windowed<String>, String> windows(String name, TimeWindowedKStream<String, String> stream,
            Aggregator<String, String, String> add, boolean isCached, Duration retention) {
        windows.add(name);
        Materialized<String, String, WindowStore<Bytes, byte[]>> store = Materialized.as(name);
        return stream.aggregate(NOTHING, add, configured(store, isCached, retention));
    }

    static KTable<Windowed<String>, String> sessions(String name, KGroupedStream<String, String> stream,
            boolean isCached, Duration retention) {
        sessions.add(name);
        Materialized<String, String, SessionStore<Bytes, byte[]>> store = Materialized.as(name);
        return stream.windowedBy(SessionWindows.ofInactivityGapAndGrace(SIZE, GRACE)).aggregate(NOTHING, ADD,
            (key, one, other) -> sums(count(one) + count(other), total(one) + total(other)),
            configured(store, isCached, retention));
    }

    static <S extends StateStore> Materialized<String, String, S> configured(Materialized<String, String, S> store,
            boolean isCached, Duration retention) {
        store.withKeySerde(Serdes.String()).withValueSerde(Serdes.String()).withRetention(retention);
        return isCached ? store.withCachingEnabled() : store.withCachingDisabled().withStoreType(BuiltInDslStoreSuppliers.IN_MEMORY);
    }

    static void sink(String name, KTable<Windowed<String>, String> table) {
        Serde<Windowed<String>> keys = new WindowedSerdes.TimeWindowedSerde<>(Serdes.String(), SIZE.toMillis());
        table.toStream().to(id + "-" + name + "-sink", Produced.with(keys, Serdes.String()));
    }

    static void sinkSessions(String name, KTable<Windowed<String>, String> table) {
        Serde<Windowed<String>> keys = new WindowedSerdes.SessionWindowedSerde<>(Serdes.String());
        table.toStream().to(id + "-" + name + "-sink", Produced.with(keys, Serdes.String()));
    }

    /** Return when every record was committed: then it has left the caches, and is in the stores and the topics. */
    static void waitUntilCommitted(String brokers, String topic) throws Exception {
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
            Map<TopicPartition, OffsetSpec> partitions = admin.describeTopics(List.of(topic)).allTopicNames().get()
                .get(topic).partitions().stream()
                .collect(Collectors.toMap(one -> new TopicPartition(topic, one.partition()), one -> OffsetSpec.latest()));
            var ends = admin.listOffsets(partitions).all().get();
            while (true) {
                var committed = admin.listConsumerGroupOffsets(id).partitionsToOffsetAndMetadata().get();
                if (partitions.keySet().stream().allMatch(
                        one -> committed.get(one) != null && committed.get(one).offset() == ends.get(one).offset()))
                    return;
                if (System.currentTimeMillis() > deadline)
                    throw new IllegalStateException("after " + PATIENCE_MS + " ms committed: " + committed + " of " + ends);
                Thread.sleep(50);
            }
        }
    }

    static void printWindows(KafkaStreams streams, String name) {
        QueryableStoreType<ReadOnlyWindowStore<String, ValueAndTimestamp<String>>> type = QueryableStoreTypes.timestampedWindowStore();
        try (var rows = streams.store(StoreQueryParameters.fromNameAndType(name, type)).all()) {
            rows.forEachRemaining(row -> print(name, row.key, row.value.value(), Long.toString(row.value.timestamp())));
        }
    }

    static void printJoin(KafkaStreams streams, String name) {
        QueryableStoreType<ReadOnlyWindowStore<String, String>> type = QueryableStoreTypes.windowStore();
        try (var rows = streams.store(StoreQueryParameters.fromNameAndType(name, type)).all()) {
            rows.forEachRemaining(row -> print(name, row.key, row.value, ""));
        }
    }

    /** {@code ReadOnlySessionStore.fetch} of a cached store walks all segments since 1970, this query does not. */
    static void printSessions(KafkaStreams streams, String name, String key) {
        WindowRangeQuery<String, String> query = WindowRangeQuery.withKey(key);
        var answers = streams.query(StateQueryRequest.inStore(name).withQuery(query)).getPartitionResults().values();
        for (QueryResult<KeyValueIterator<Windowed<String>, String>> answer : answers) {
            try (var rows = answer.getResult()) {
                rows.forEachRemaining(row -> print(name, row.key, row.value, ""));
            }
        }
    }

    static void print(String name, Windowed<String> key, String value, String timestamp) {
        String hex = HexFormat.of().formatHex(key.key().getBytes(StandardCharsets.UTF_8));
        long start = key.window().start(), end = key.window().end();
        System.out.println(String.join("\t", name, hex, Long.toString(start), Long.toString(end), value, timestamp));
    }

    static String sums(long count, long total) {
        return "{\"count\":%d,\"total\":%d}".formatted(count, total);
    }

    static long count(String sums) {
        return Long.parseLong(sums.split("[:,}]")[1]);
    }

    static long total(String sums) {
        return Long.parseLong(sums.split("[:,}]")[3]);
    }
}
