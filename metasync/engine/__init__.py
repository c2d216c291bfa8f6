"""The engine: what a sync pass does, in the order of the rooms below; imports go down this list only.

worker       claims events and has their repository synced; scheduler: the poll, the schedule and leadership
commands/    what people order: resolve, approve, undo, prune, adopt, compare, merge by hand
controller   one pass after another: observe, plan, apply, record; it decides nothing
observe/     what this pass is about -> Observed
track/       brings refs, merge logs and table versions up to date in the store
apply/       a plan's changes -> the metastore
record/      what was done -> the store

Whatever can be decided by a pure function is decided in `planning`, never here.
"""
