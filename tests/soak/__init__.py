"""A randomised simulation: people work on a lake while everything fails; in the end all must be as the rules say.

model     what people did, and what must therefore be, and may be
people    their doings, one at a time, by a seed
chaos     what happens to the services, the servers and the wires between them
checks    the invariants
run       the whole of it; `make soak SECONDS=600 SEED=1`
"""
