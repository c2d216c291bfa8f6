import io.trino.plugin.hive.HivePlugin;
import io.trino.server.testing.TestingTrinoServer;

import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;

/** A Trino of one node with a catalog `hive`: FOLDER CATALOG.properties. Prints `listening URL`; ends with its stdin. */
public final class TrinoOnMetastore
{
    private TrinoOnMetastore() {}

    public static void main(String[] args)
            throws Exception
    {
        // Trino's own logging takes System.out over.
        PrintStream out = System.out;
        Properties read = new Properties();
        try (var in = Files.newBufferedReader(Path.of(args[1]))) {
            read.load(in);
        }
        Map<String, String> catalog = new HashMap<>();
        read.stringPropertyNames().forEach(name -> catalog.put(name, read.getProperty(name)));
        TestingTrinoServer trino = TestingTrinoServer.builder()
                .setCoordinator(true)
                .setProperties(Map.of())
                .setBaseDataDir(Optional.of(Files.createDirectories(Path.of(args[0]))))
                .build();
        trino.installPlugin(new HivePlugin());
        trino.createCatalog("hive", "hive", catalog);
        out.println("listening " + trino.getBaseUrl());
        out.flush();
        while (System.in.read() >= 0) {
        }
        trino.close();
        System.exit(0);
    }
}
