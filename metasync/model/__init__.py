"""Frozen values in the words of lakeFS and of the Hive Metastore.

Nothing here does I/O, reads a clock or decides anything; every other package speaks in these values.
"""
