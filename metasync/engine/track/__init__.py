"""Brings the version graph up to date: refs, merge logs, sources of merges, and a version of each table that changed.

What a pass saw comes out as a `Snapshot`. It reads lakeFS and the metastore and writes to the store. It never writes to
the metastore, and plans nothing.
"""
