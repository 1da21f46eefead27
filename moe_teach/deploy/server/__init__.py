"""A server that speaks OpenAI's dialect, over the engine of `moe_teach.deploy.engine`.

wishes.py      a request body becomes a checked wish, or a refusal in words
chat.py        messages become one text
worker.py      the engine's thread, and the bridge to asyncio
transcript.py  tokens become text, held back where a stop or a character is not complete
answers.py     what the client reads, whole or event by event
app.py         the addresses; guard.py who may ask, and how much at once
metrics.py     what Prometheus reads
swapping.py    one expert replaced while the others speak, and taken back
running.py     starting, draining, stopping
"""
