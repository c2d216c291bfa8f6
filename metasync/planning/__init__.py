"""Everything that metasync decides, as pure functions over frozen values.

patterns, names, locations   which refs and tables a rule means, what mirrors are called and where they lie
definition, manifest, tree   what a table's definition is, stored and compared
graph, matrix, merge         bases and three-way merges
policy                       what is destructive, what a rule lets through
plan, observed, decide       from what was seen to what shall be done

No I/O, no clock, no randomness, no logging: the same input gives the same plan, which is why a dry run prints the very
plan that an apply executes.
"""
