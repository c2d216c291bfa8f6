"""What this pass is about, as one value: `Observed`, which planning makes the plan from.

It reads lakeFS, the metastore and the store. It never writes to lakeFS or to the metastore, and decides nothing.
"""
