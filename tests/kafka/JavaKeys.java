import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.stream.Collectors;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.DoubleSerializer;
import org.apache.kafka.common.serialization.FloatSerializer;
import org.apache.kafka.common.serialization.IntegerSerializer;
import org.apache.kafka.common.serialization.LongSerializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.common.serialization.ShortSerializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.serialization.UUIDSerializer;

/** Writes keys and values as Java's serializers and Jackson do, to one topic of each kind. */
class JavaKeys {
    /** The first of what no key may be mistaken for, a control character, and what is beyond 16 bits. */
    static final List<String> TEXTS = List.of("", "a", "a b", "\"\\/", "\b\t\n\f\r\0\u001f\u007f", "gr\u00fc\u00dfe", "\u2028\ud83d\ude00");

    /** As ksqlDB writes a row: without the key columns, a TIMESTAMP as milliseconds, a DECIMAL as a number. */
    static final String VALUE = "{\"TEXT\":\"row %d\",\"AT\":171456480000%d,\"AMOUNT\":1.50,\"NOTE\":null}";

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0], prefix = arguments[1];
        send(brokers, prefix + "str", new StringSerializer(), TEXTS);
        send(brokers, prefix + "int", new LongSerializer(), List.of(Long.MIN_VALUE, -256L, -1L, 0L, 1L, 255L, Long.MAX_VALUE));
        send(brokers, prefix + "Int32", new IntegerSerializer(), List.of(Integer.MIN_VALUE, -1, 0, 256, Integer.MAX_VALUE));
        send(brokers, prefix + "UUID", new UUIDSerializer(), List.of(new UUID(0, 1), new UUID(Long.MIN_VALUE, 7), new UUID(-1, -1)));
        send(brokers, prefix + "bytes", new ByteArraySerializer(), List.of(new byte[0], new byte[] {0, -1}));
        values(brokers, prefix + "value-str", new StringSerializer(), TEXTS);
        values(brokers, prefix + "value-int", new LongSerializer(), List.of(Long.MIN_VALUE, -1L, 0L, Long.MAX_VALUE));
        values(brokers, prefix + "value-Int32", new IntegerSerializer(), List.of(Integer.MIN_VALUE, -1, Integer.MAX_VALUE));
        values(brokers, prefix + "value-Int16", new ShortSerializer(), List.of(Short.MIN_VALUE, (short) -1, Short.MAX_VALUE));
        values(brokers, prefix + "value-float", new DoubleSerializer(), List.of(0.1, -0.0, Double.MAX_VALUE, Double.MIN_VALUE, Double.NEGATIVE_INFINITY, Double.NaN));
        values(brokers, prefix + "value-Float32", new FloatSerializer(), List.of(0.5f, -0.0f, Float.MAX_VALUE, Float.POSITIVE_INFINITY, Float.NaN));
        values(brokers, prefix + "value-UUID", new UUIDSerializer(), List.of(new UUID(0, 1), new UUID(Long.MIN_VALUE, 7), new UUID(-1, -1)));
        values(brokers, prefix + "value-bytes", new ByteArraySerializer(), List.of(new byte[0], new byte[] {0, -1}));
        ObjectMapper jackson = new ObjectMapper();
        send(brokers, prefix + "json-str", jackson::writeValueAsBytes, TEXTS);
        send(brokers, prefix + "json-int", jackson::writeValueAsBytes, List.of(Long.MIN_VALUE, -1L, 0L, 10L, 9L));
        List<ObjectNode> several = TEXTS.stream().map(text -> jackson.createObjectNode().put("SYMBOL", text).put("DAY", (long) text.length())).collect(Collectors.toList());
        send(brokers, prefix + "json-several", jackson::writeValueAsBytes, several);
    }

    interface Written<T> {
        byte[] bytes(T key) throws Exception;
    }

    static <T> void send(String brokers, String topic, Written<T> written, List<T> keys) throws Exception {
        List<byte[]> bytes = new java.util.ArrayList<>();
        for (T key : keys) bytes.add(written.bytes(key));
        send(brokers, topic, new ByteArraySerializer(), bytes);
    }

    static <T> void values(String brokers, String topic, Serializer<T> serializer, List<T> values) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", brokers);
        try (KafkaProducer<Integer, T> producer = new KafkaProducer<>(config, new IntegerSerializer(), serializer)) {
            for (int row = 0; row < values.size(); row++)
                producer.send(new ProducerRecord<>(topic, row, values.get(row))).get();
        }
    }

    static <T> void send(String brokers, String topic, Serializer<T> serializer, List<T> keys) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", brokers);
        try (KafkaProducer<T, String> producer = new KafkaProducer<>(config, serializer, new StringSerializer())) {
            for (int row = 0; row < keys.size(); row++)
                producer.send(new ProducerRecord<>(topic, keys.get(row), VALUE.formatted(row, row))).get();
        }
    }
}
