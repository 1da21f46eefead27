"""A shipped model's card as a page that people read."""

from typing import Any

from moe_teach.text_table import in_markdown


def card_text(card: dict[str, Any]) -> str:
    """Return the card, as `moe_teach.course.authoring.shipping` makes it, in Markdown."""
    parts = [_head(card), _losses(card), _samples(card), _routing(card), _data(card), _again(card)]
    return "\n\n".join(parts) + "\n"


def _head(card: dict[str, Any]) -> str:
    model, training = card["model"], card["training"]
    moe = model["config"]["moe"]
    machine = training["machine"]
    threads = "one thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    return f"""# {card["name"]}

A language model with experts, small enough to travel with the package: \
{model["parameters"]:,} parameters in bfloat16, of which a token uses \
{model["active_parameters"]:,}. {model["config"]["n_layers"]} layers, \
{moe["router"]["n_experts"]} experts in each, {moe["router"]["top_k"]} for every token.

    from moe_teach.train.shipped import load_shipped
    model, tokenizer, card = load_shipped("{card["name"]}")

It was trained for {training["steps"]:,} steps ({training["tokens"]:,} tokens, seed \
{training["seed"]}) in {training["wall_seconds"]:,.0f} seconds, \
{training["cpu_seconds"]:,.0f} of them on a processor, with {threads} on \
{machine["processor"]}, Python {machine["python"]}, torch {machine["torch"]}, {machine["date"]}. \
It is made for looking at routers. It knows nothing about the world, and its text is nonsense of \
the right shape."""


def _losses(card: dict[str, Any]) -> str:
    rows = [
        "## Loss beside the ladder",
        "",
        "Nats per token on text that training has not seen. The ladder is fitted on each domain "
        "alone; a model that only knew the frequencies of pairs in it would reach the bigram.",
        "",
    ]
    rungs = ("uniform", "unigram", "bigram")
    header = ("domain", *rungs, "this model", "tokens measured")
    cells = [
        (d, *(f"{row[r]:.3f}" for r in rungs), f"**{row['model']:.3f}**", f"{row['tokens']:,}")
        for d, row in card["losses"].items()
    ]
    return "\n".join([*rows, in_markdown(header, cells, right=header[1:])])


def _samples(card: dict[str, Any]) -> str:
    parts = [
        "## Text",
        "The beginning is validation text, up to the mark; what follows is the model's (seed 0, "
        "temperature 0.5, the first try).",
    ]
    for domain, sample in card["samples"].items():
        text = f"{sample['prompt']}⟫{sample['text']}"
        block = "\n".join(f"    {line}".rstrip() for line in text.split("\n"))
        parts += [f"{domain}:", block]
    return "\n\n".join(parts)


def _routing(card: dict[str, Any]) -> str:
    rows = [
        "## What the routers do",
        "",
        "On the same validation text, all batches counted. An expert is dead below a tenth of the "
        "fair share. The last columns name the two busiest experts of each domain.",
        "",
    ]
    domains = list(card["losses"])
    numbers = ("layer", "entropy", "max violation", "dead")
    cells = [
        (
            str(number),
            f"{layer['entropy']:.3f}",
            f"{layer['max_violation']:.2f}",
            str(len(layer["dead"])),
            *(_busiest(layer["load_per_domain"][domain]) for domain in domains),
        )
        for number, layer in enumerate(card["routing"])
    ]
    return "\n".join([*rows, in_markdown((*numbers, *domains), cells, right=numbers)])


def _busiest(shares: list[float]) -> str:
    order = sorted(range(len(shares)), key=shares.__getitem__, reverse=True)
    return ", ".join(f"{expert} ({shares[expert]:.0%})" for expert in order[:2])


def _data(card: dict[str, Any]) -> str:
    data = card["data"]
    lines = ["## Text it was trained on", ""]
    if data["digest"] is None:
        return "\n".join([*lines, "Files of the author's own."])
    lines.append(
        "Nothing was downloaded: the text is what every installation of the course holds, and a "
        f"seeded generator. Corpus {data['digest'][:16]}; no text is stored in this folder."
    )
    lines.append("")
    for domain in data["domains"]:
        lines.append(
            f"- **{domain}** ({data['shares'][domain]:.0%} of the training): "
            f"{data['sources'][domain]}. Source: {data['licences'][domain]}."
        )
    return "\n".join([*lines, "", "The weights are under the licence of this package."])


def _again(card: dict[str, Any]) -> str:
    return f"""## Making it again

    moe-teach train moe_teach/weights/{card["name"]}/recipe.toml
    moe-teach author ship moe_teach/weights/{card["name"]}/recipe.toml

Two runs of the same code on the same machine and versions are equal to the last bit. Elsewhere \
sums are rounded differently, sooner or later a token changes its expert for it, and from there on \
the runs are two runs: other weights, nearly the same losses."""
