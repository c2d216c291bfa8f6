"""What people order: resolve, approve, undo, prune, adopt, compare, recreate, merge by hand.

Each command takes one look at the repository, under its lease, and writes through the controller. It prints nothing.
"""
