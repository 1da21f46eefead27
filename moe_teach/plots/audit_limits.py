"""What the page of an audit cannot tell, and what it was made of."""

from html import escape

from moe_teach.analysis.audit.report import AuditReport


def limits(report: AuditReport) -> str:
    """Return the last section: the limits of everything above it, and the hashes."""
    rest = f"; the last {report.n_left_out:,} were left out" if report.n_left_out else ""
    lines = (
        "<b>Why.</b> Routes say who computed, not what, and not for which reason. An expert whose "
        "tokens look like a topic may follow their spelling: see how much the token alone settles.",
        "<b>Whether an expert is needed.</b> Being chosen is not being needed; that is why one "
        "of them was closed. But closing one at once is not a model that was trained without it, "
        "and two together may do more than the sum.",
        f"<b>Other texts.</b> This is one text of {report.n_tokens:,} tokens{rest}. Its intervals "
        "say how sure the numbers are for text like this, not for other kinds of text, and not "
        "for the same model trained from another seed.",
        f"<b>Long contexts.</b> The text was read in {report.n_windows} windows of "
        f"{report.window} tokens, and the first tokens of each know nothing of what came before.",
        "<b>Single words.</b> Among many experts and tokens, some pair looks special by chance. "
        "The level of chance is given for each layer, not for a word.",
        "<b>Fairness.</b> Whether one group of users fares worse than another takes texts of both "
        "and a comparison with chance; one text has no other side.",
        "<b>Your server.</b> Who is dropped depends on its batches and on who comes first; "
        "here there was one of each.",
    )
    if report.read_by:
        lines += (
            f"<b>The library's own reading.</b> {escape(report.read_by)} computed this model; its "
            "routers were watched from outside, and what was tried with them was tried by changing "
            "their answers.",
        )
    if report.not_closed or report.not_capped:
        reasons = {report.not_closed, report.not_capped} - {""}
        lines += (f"<b>What could not be tried.</b> {escape(' '.join(sorted(reasons)))}",)
    told = "".join(f"<li>{line}</li>" for line in lines)
    return (
        f'<h2>What this page cannot tell</h2><ul class="limits">{told}</ul>'
        f'<p class="faint digest">Weights: SHA-256 {report.weights_digest}<br>'
        f"Text {escape(report.text)}: SHA-256 {report.text_digest}<br>"
        "Made by <code>moe-teach audit</code>; the same weights and the same text give the same "
        "page, byte for byte, on the same machine.</p>"
    )
