"""Servers that stand between metasync and what it talks to, and fail on purpose: seeded, so that a run can be repeated.

thrift    between metasync and a metastore: knows every call by its name and arguments
http      between metasync and lakeFS
hooks     between lakeFS and metasync's webhook
"""
