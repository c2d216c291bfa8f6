"""A stand-in for lakeFS that speaks its HTTP API and sends its webhooks.

repository    branches, tags, commits and merges in memory, with lakeFS's rules
actions       action files, and delivering their hooks
lake          all of the repositories
refs, commits, objects, runs, pulls
              the HTTP API by subject; `call` is a request, `json_rows` are the rows of the answers
server        the server that they are routes of

It exists because no package registry ships lakeFS's server. What keeps it honest is the recorded exchanges with a real
one, replayed in the contract tests. Where the two differ, the stand-in is wrong.
"""

from metasync.sandbox.standin.server import StandIn

__all__ = ["StandIn"]
