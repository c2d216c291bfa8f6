"""Records what was done: versions, edges, the merge ledger, history and notices.

It writes to the store alone. What it records was done; it never records an intention as done.
"""
