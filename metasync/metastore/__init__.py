"""The adapter to the Hive Metastore, on hmsclient's bindings with a transport and protocol of our own.

client             every call, from the modules of its subjects: a new one begins here
base_client        what they have in common: the pool, retries of reads, metrics; foreign errors stop here
capabilities       what a server's version can do
constraints, statistics, notification_log, read_ahead
                   the calls of one subject
conversion         between Thrift structs and `metasync.model.hms`
hive3_fields, hive3_constraints, thrift_messages
                   structs, fields and messages that the bindings lack, so that no read-modify-write loses one
catalog            every call in the catalog that the settings name
connection, transport, collector
                   a pool with fail-over on the C codec; sockets and HTTP, time-outs, TLS, Kerberos, tokens
builder            making a table with its partitions without a directory appearing on lakeFS

It must not decide what to do, and it never asks the metastore to delete data: `deleteData` is False in every call.
"""

from metasync.metastore.builder import TableBuilder
from metasync.metastore.client import Metastore
from metasync.metastore.connection import ConnectionPool

__all__ = ["ConnectionPool", "Metastore", "TableBuilder"]
