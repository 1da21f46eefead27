"""llama.cpp's own server on a GGUF file, as a process: the peer of the load lab.

    python -m moe_teach.bench.serve.llama_server FILE PORT SLOTS THREADS

Keys and values are kept in float32, flash attention is off (it rounds them to float16), and no
answer is continued from the one before: so it computes what the others compute.
"""

import signal
import sys


def main(file: str, port: int, n_slots: int, n_threads: int, n_context: int) -> None:
    """Serve until the process is told to end."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = n_slots
    params.n_ctx = n_slots * n_context
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    main(sys.argv[1], *map(int, sys.argv[2:]))
