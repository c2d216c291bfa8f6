"""What this pass is about, as one value: `Observed`, which planning makes the plan from.

It makes it from the snapshot that `track` gives, and reads lakeFS, the metastore and the store for the rest. It writes
nothing, to none of them, and decides nothing.
"""
