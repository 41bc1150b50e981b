import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Reads keys, one a line in hexadecimal, and prints where Kafka's producer puts each of so many partitions. */
public class Partitions {
    public static void main(String[] arguments) throws IOException {
        int partitions = Integer.parseInt(arguments[0]);
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in));
        for (String key; (key = keys.readLine()) != null; ) {
            System.out.println(BuiltInPartitioner.partitionForKey(HexFormat.of().parseHex(key), partitions));
        }
    }
}
