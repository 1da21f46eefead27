"""A server that speaks OpenAI's dialect, over the engine of `moe_teach.deploy.engine`.

options.py     what whoever starts it decides: where, for whom, how much
served.py      the model, as the server knows it; chat.py: messages become one text
wishes.py      a request body becomes a checked wish, field by field (fields.py)
refusals.py    or is refused in words
worker.py      the engine's thread, and the bridge to asyncio
transcript.py  tokens become text, held back where a stop or a character is not complete
answers.py     what the client reads, whole or event by event
service.py     from a body to an answer; metrics.py: what is counted on the way
app.py         the addresses; guard.py: who may ask, and how much at once
swapping.py    one expert replaced while the others speak, and taken back
running.py     listening, draining, stopping
page/          a page that shows which experts worked
"""
