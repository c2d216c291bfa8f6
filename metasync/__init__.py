"""metasync keeps a Hive Metastore in step with the branches, tags and merges of lakeFS."""

__version__ = "0.1.0"
