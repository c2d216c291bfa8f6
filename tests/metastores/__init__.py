"""Real metastores of the versions in use: their jars from Maven Central, each on an embedded Derby of its own."""
