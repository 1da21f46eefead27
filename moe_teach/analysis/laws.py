"""The laws that every MoE layer obeys, as tests for any layer, the learner's own included.

    obeys(my_layer, d_model=16)

`my_layer` is any callable x (T, D) -> (y (T, D), Routing); one that returns y alone is held against
the laws that need no more. Laws that need more than the forward
pass say so; see `moe_teach.analysis.subject.Subject` for what can be passed by name. Two laws are
*meant* to be broken by a capacity and by expert choice, and the report then says why.
"""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import nn

from moe_teach.analysis.inner_laws import INNER_LAWS
from moe_teach.analysis.law import Law
from moe_teach.analysis.law_report import LawReport, LawResult
from moe_teach.analysis.outer_laws import OUTER_LAWS
from moe_teach.analysis.subject import Layer, NotTold, Subject
from moe_teach.analysis.verdict import CannotHold, LawBroken
from moe_teach.nn.mode import in_evaluation

LAWS: tuple[Law, ...] = (*OUTER_LAWS, *INNER_LAWS)


def obeys(layer: Layer, *, d_model: int, laws: Sequence[Law] | None = None, **known) -> LawReport:
    """Hold a layer against the laws and return a table of what came out.

    Args:
        layer: x (T, D) -> (y (T, D), Routing), or y alone. A module is put in evaluation mode for
            the test and back afterwards; its parameters, gradients and buffers are left as they
            were.
        d_model: width of x.
        laws: all of `LAWS` by default.
        known: what else the laws may use: `expert`, `with_top_k`, `expert_rows`, ...; see
            `Subject`.
    """
    subject = Subject.of(layer, d_model=d_model, **known)
    asleep = in_evaluation(layer) if isinstance(layer, nn.Module) else nullcontext()
    with asleep, torch.random.fork_rng(devices=[]):
        return LawReport(tuple(_result(law, subject) for law in laws or LAWS))


def _result(law: Law, subject: Subject) -> LawResult:
    missing = [need for need in law.needs if getattr(subject, need) is None]
    if missing:
        seen = f"needs to be told {' and '.join(missing)}"
        return LawResult(law.name, law.sentence, "not tested", seen)
    try:
        law.test(subject)
    except LawBroken as broken:
        return LawResult(law.name, law.sentence, "broken", str(broken))
    except CannotHold as reason:
        return LawResult(law.name, law.sentence, "cannot hold", str(reason))
    except NotTold as missing_record:
        return LawResult(law.name, law.sentence, "not tested", str(missing_record))
    except Exception as error:  # a learner's layer may fail in any way; the others still run
        return LawResult(law.name, law.sentence, "raised", f"{type(error).__name__}: {error}")
    return LawResult(law.name, law.sentence, "holds")
