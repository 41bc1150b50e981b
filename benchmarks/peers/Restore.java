import java.lang.management.ManagementFactory;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Restores a topic into a global table of Kafka Streams with its default store, RocksDB, and default settings.
 * Arguments: address, topic, directory. Prints one line of JSON.
 */
public final class Restore {
    private static long began;
    private static long ended;
    private static long records;

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, "statestore-bench");
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);

        StreamsBuilder builder = new StreamsBuilder();
        builder.globalTable(
            arguments[1],
            Consumed.with(Serdes.Bytes(), Serdes.ByteArray()),
            Materialized.<Bytes, byte[], KeyValueStore<Bytes, byte[]>>as("table"));

        CountDownLatch over = new CountDownLatch(1);
        try (KafkaStreams streams = new KafkaStreams(builder.build(), properties)) {
            streams.setGlobalStateRestoreListener(new Listener());
            streams.setUncaughtExceptionHandler(error -> {
                error.printStackTrace();
                Runtime.getRuntime().halt(1); // an exception alone leaves the process alive
                return null;
            });
            streams.setStateListener((state, before) -> {
                if (state == KafkaStreams.State.RUNNING) {
                    over.countDown();
                }
            });
            long cpu = cpu();
            long start = System.nanoTime();
            streams.start();
            over.await();
            System.out.printf(
                "{\"seconds\": %.6f, \"restoring\": %.6f, \"cpu\": %.6f, \"records\": %d}%n",
                (System.nanoTime() - start) / 1e9, (ended - began) / 1e9, (cpu() - cpu) / 1e9, records);
        }
    }

    private static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
            .getProcessCpuTime();
    }

    /** Takes the time from the first partition's start to the last one's end; all run on one thread. */
    private static final class Listener implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
            if (began == 0) {
                began = System.nanoTime();
            }
        }

        @Override
        public void onBatchRestored(TopicPartition partition, String store, long end, long count) {
        }

        @Override
        public void onRestoreEnd(TopicPartition partition, String store, long count) {
            ended = System.nanoTime();
            records += count;
        }
    }
}
