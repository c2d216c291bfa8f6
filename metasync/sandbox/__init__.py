"""A real metastore and a lakeFS (or a stand-in that speaks its API) on this machine, for the demo and the tests.

Everything listens on loopback only and goes away with the process that started it.
"""
