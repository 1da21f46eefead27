"""The inference engine: many requests share one model, step by step.

    from moe_teach.deploy.engine.engine import Engine

    engine = Engine(model, n_slots=8)
    engine.submit(Request(id="a", prompt=(1, 2, 3)))
    while engine.has_work:
        for token in engine.step():
            ...

No web, no threads, no clock: the same calls in the same order give the same tokens. `requests.py`
holds the records that travel in and out, `cache.py` the keys and values of all slots,
`scheduler.py` who is read next, `definition.py` a forward pass over them and `lean.py` the same
pass with less around it, `sampling.py` how a token is drawn, `engine.py` the step, `swap.py` an
expert replaced between two steps. `speculative.py` stands beside them: one text, two models.
"""
