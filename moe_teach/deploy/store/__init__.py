"""More experts than memory: keep some, read the others when they are wanted.

    trace.py        who was wanted when: recorded from a model, mixed from several users
    policies.py     who has to go when another must come in; and the optimum, which sees the future
    cache.py        the experts in memory, within a budget of bytes
    simulator.py    a trace through a cache: hits, misses, bytes moved
    foresight.py    guessing early whom the next layers will want

The cache and its policies are the same objects in the simulator and in the store that reads a disk.
"""
