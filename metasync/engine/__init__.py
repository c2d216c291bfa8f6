"""What happens, in one direction: observe, decide, apply, record.

controller   the loop that fits on one screen
observe      lakeFS, the metastore and the store -> Observed; lineage, ledger and tables are its parts
apply        a plan's changes -> the metastore; apply_merge: those of merges
record       what was done -> the store
worker       events -> the controller; scheduler: poller and schedule -> events

It decides nothing that `planning` could decide.
"""
