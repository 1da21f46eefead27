"""What Prometheus reads, counted by hand beside it."""

from prometheus_client.parser import text_string_to_metric_families

from moe_teach.nn.model import Model
from tests.deploy.server.live import running

ASK = {"model": "tiny", "prompt": "abcd", "temperature": 0, "ignore_eos": True}


def test_everything_is_counted_once(model: Model) -> None:
    with running(model) as live, live.http() as http:
        for n_tokens in (3, 5):
            http.post("/v1/completions", json=ASK | {"max_tokens": n_tokens})
        http.post("/v1/completions", json=ASK | {"max_tokens": 0})
        http.get("/nowhere")
        page = http.get("/metrics").text
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }

    assert found["moe_requests_total", "/v1/completions", "length"] == 2
    assert found["moe_requests_total", "/v1/completions", "400"] == 1
    assert found["moe_requests_total", "unknown", "404"] == 1
    assert found["moe_prompt_tokens_total",] == 8
    assert found["moe_generated_tokens_total",] == 8
    assert found["moe_time_to_first_token_seconds_count",] == 2
    assert found["moe_inter_token_seconds_count",] == 2 + 4
    assert found["moe_request_seconds_count",] == 2
    for name, longest in (("inter_token", "2.0"), ("request", "60.0")):
        buckets = [
            found[f"moe_{name}_seconds_bucket", bound] for bound in ("0.02", longest, "+Inf")
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == found[f"moe_{name}_seconds_count",]
        assert 0 < found[f"moe_{name}_seconds_sum",] < 60
    assert found["moe_running",] == found["moe_queue_length",] == 0
    assert found["moe_slots",] == 8
    # All but the last token of each text are read, by two experts in each of two layers.
    n_read = 2 * 4 + 2 + 4
    for layer in "01":
        loads = [found["moe_expert_tokens_total", str(expert), layer] for expert in range(4)]
        assert sum(loads) == 2 * n_read
        assert found["moe_expert_imbalance", layer] == max(loads) * 4 / sum(loads)
