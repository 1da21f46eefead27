"""More experts than memory: keep some, read the others when they are wanted.

trace.py            who was wanted when: recorded from a model, mixed from several users
policies.py         who has to go when another must come in; and the optimum, which sees the future
cache.py            the books: who is in memory, within a budget of bytes
simulator.py        a trace through a cache: hits, misses, bytes moved
foresight.py        guessing early whom the next layers will want
tensor_places.py    where tensors lie in a file, and reading them past the page cache
expert_places.py    where one expert lies, and one read that brings it
expert_store.py     the same cache and policies over a disk, with threads that read
stored_experts.py   what stands in a model where `Experts` stood
opening.py          a released checkpoint as a model whose experts stay on the disk
"""
