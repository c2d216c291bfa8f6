"""The adapter to the Hive Metastore, on hmsclient's bindings with a transport and protocol of our own.

overlay        fields that the bindings lack, so that no read-modify-write loses one
transport      sockets and HTTP, time-outs, TLS, Kerberos, tokens
connection     the C codec; a pool with fail-over
catalog        every call in the catalog that the settings name
conversion     between Thrift structs and `metasync.model.hms`
notifications  which partitions changed, by HMS's own log
client         the calls that every metastore from 2.3 to 4.x has; foreign errors stop here
builder        making a table with its partitions without a directory appearing on lakeFS

It must not decide what to do, and it never asks the metastore to delete data: `deleteData` is False in every call.
"""

from metasync.metastore.builder import TableBuilder
from metasync.metastore.client import Metastore
from metasync.metastore.connection import ConnectionPool

__all__ = ["ConnectionPool", "Metastore", "TableBuilder"]
