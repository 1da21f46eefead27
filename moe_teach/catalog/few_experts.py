"""Dense models for comparison, and models with a few large experts or Switch's single choice."""

from moe_teach.catalog.card import ModelCard
from moe_teach.catalog.shapes import decoder, gqa, llama4, moe, switch

_SWITCH_ROUTER = "softmax in float32, the best expert only, its probability as gate; overflow drops"
_SWITCH_BALANCING = "auxiliary loss (arXiv 2101.03961, eq. 4) and a capacity limit"
_SWITCH_NOTE = (
    "Encoder and decoder: a token passes one of them, so the active count covers an input token "
    "and an output token together."
)
_MIXTRAL_ROUTER = "softmax over the two best logits, so the two gates sum to one"
_TEXT_ONLY = "The published total includes the vision part, which is left out here."
_LLAMA4_ROUTER = "sigmoid of the best logit scales the expert's input; a shared expert is always on"

FEW_EXPERTS = (
    ModelCard(
        name="Mistral 7B",
        config=decoder(32, 4096, 32000, gqa(32, 8), None, 32768, d_ff_dense=14336),
        published_total=7.24e9,
        published_active=7.24e9,
        source="arXiv 2310.06825; mistralai/Mistral-7B-v0.1 config.json",
        note="Dense. Mixtral 8x7B has the same architecture, with eight feed-forwards a layer.",
    ),
    ModelCard(
        name="Llama-3.1 70B",
        config=decoder(80, 8192, 128256, gqa(64, 8), None, 131072, d_ff_dense=28672),
        published_total=70.6e9,
        published_active=70.6e9,
        source="arXiv 2407.21783; meta-llama/Llama-3.1-70B config.json",
        note="Dense: the yardstick for the 72B-total model of the articles.",
    ),
    ModelCard(
        name="72B/12B solved",
        config=decoder(40, 5120, 88064, gqa(40, 8), moe(16, 2, 6976), 32768),
        published_total=72e9,
        published_active=12e9,
        source="two numbers of a popular article; the product itself could not be verified",
        router="softmax, top-2 of 16 (the article says no more)",
        balancing="not published",
        note=(
            "The two numbers fix 3.43B shared and 4.29B an expert, nothing else. Depth, width, "
            "heads and vocabulary are one plausible choice of ours that meets them."
        ),
    ),
    ModelCard(
        name="Mixtral 8x7B",
        config=decoder(32, 4096, 32000, gqa(32, 8), moe(8, 2, 14336, topk_first=True), 32768),
        published_total=46.7e9,
        published_active=12.9e9,
        source="mistralai/Mixtral-8x7B-Instruct-v0.1 config.json; counts: the release post",
        router=_MIXTRAL_ROUTER,
        balancing="auxiliary loss, coefficient 0.02 in the released config",
        note="The paper (arXiv 2401.04088) rounds the counts to 47B and 13B.",
    ),
    ModelCard(
        name="Mixtral 8x22B",
        config=decoder(56, 6144, 32000, gqa(48, 8), moe(8, 2, 16384, topk_first=True), 65536),
        published_total=141e9,
        published_active=39e9,
        source="mistral-community/Mixtral-8x22B-v0.1 config.json (base vocabulary, 32,000)",
        router=_MIXTRAL_ROUTER,
        balancing="auxiliary loss, coefficient 0.001 in the released config",
    ),
    ModelCard(
        name="DBRX",
        config=decoder(40, 6144, 100352, gqa(48, 8), moe(16, 4, 10752), 32768),
        published_total=132e9,
        published_active=36e9,
        active_leaves_out="input table",
        source="databricks/dbrx-base config.json, as reproduced in public loaders",
        router="softmax, top-4, gates divided by their sum",
        balancing="auxiliary loss, weight 0.05",
    ),
    ModelCard(
        name="Grok-1",
        config=decoder(
            64,
            6144,
            131072,
            gqa(48, 8),
            moe(8, 2, 32768, normalize_gates=False, activation="geglu"),
            8192,
            tie_embeddings=True,
            n_block_norms=4,
        ),
        published_total=314e9,
        published_active=None,
        source="xai-org/grok-1 run.py and model.py; hpcai-tech/grok-1 config.json",
        router="softmax over all eight, top-2, gates as they come; the experts are gated by a GELU",
        balancing="not published",
        note=(
            "The released configuration counts to 315.7B, 0.5 % above the announced 314B; what "
            'the announcement counts is not said. It gives the active part as "25 % of the '
            'weights", which is k/E: with attention and embeddings it is 27 %.'
        ),
    ),
    ModelCard(
        name="Llama-4 Scout",
        config=decoder(
            48,
            5120,
            202048,
            gqa(40, 8),
            llama4(16),
            10485760,
        ),
        published_total=109e9,
        published_active=17e9,
        source="transformers 5.23 Llama4TextConfig; meta-llama/Llama-4-Scout-17B-16E model card",
        router=_LLAMA4_ROUTER,
        balancing="not published",
        note=_TEXT_ONLY + " The active number is rounded to whole billions.",
    ),
    ModelCard(
        name="Llama-4 Maverick",
        config=decoder(
            48,
            5120,
            202048,
            gqa(40, 8),
            llama4(128),
            1048576,
            moe_every=2,
            d_ff_dense=16384,
        ),
        published_total=400e9,
        published_active=17e9,
        source="public GGUF metadata and the Llama-4 release post; every second layer has experts",
        router=_LLAMA4_ROUTER,
        balancing="not published",
        note=_TEXT_ONLY + " Both published numbers are rounded.",
    ),
    ModelCard(
        name="Switch-Base-8",
        config=switch(12, 768, 12, 8, 3072, moe_every=2),
        published_total=None,
        published_active=None,
        source="arXiv 2101.03961; google/switch-base-8 config.json",
        router=_SWITCH_ROUTER,
        balancing=_SWITCH_BALANCING,
        note=_SWITCH_NOTE + " The paper prints no count for eight experts.",
    ),
    ModelCard(
        name="Switch-Base-128",
        config=switch(12, 768, 12, 128, 3072, moe_every=2),
        published_total=7.4e9,
        published_active=None,
        source="arXiv 2101.03961; google/switch-base-128 config.json",
        router=_SWITCH_ROUTER,
        balancing=_SWITCH_BALANCING,
        note=_SWITCH_NOTE,
    ),
    ModelCard(
        name="Switch-C-2048",
        config=switch(15, 2080, 32, 2048, 6144, moe_every=1),
        published_total=1571e9,
        published_active=None,
        source="arXiv 2101.03961; google/switch-c-2048 config.json",
        router=_SWITCH_ROUTER,
        balancing=_SWITCH_BALANCING,
        note=_SWITCH_NOTE,
    ),
)
