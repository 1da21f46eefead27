"""`moe-teach bench memory`: 13 GB of weights at work inside a limit of 4 GB.

checkpoint.py   random weights in a true shape, written layer by layer: safetensors and GGUF
limit.py        a limit of the operating system on memory, page cache included
worker.py       what runs inside it: ours, or llama.cpp by mmap
race.py         one after the other on the same files, beside the least time the bytes take
cli.py          the command and its table
"""
