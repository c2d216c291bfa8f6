"""Applies a plan's changes to the metastore, each so that applying it again is harmless.

It writes to the metastore alone, never deletes data, and changes nothing that the plan does not name.
"""
