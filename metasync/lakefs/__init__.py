"""The adapter to lakeFS, on lakefs-sdk: refs, commits, logs, diffs, runs, action files.

Reads only, but for `hooks install`. Foreign errors stop here: an outage is `LakeFSUnavailable`, a refusal
`LakeFSError`, and only an answer 404 is ever read as "not there".
"""

from metasync.lakefs.client import LakeFS

__all__ = ["LakeFS"]
