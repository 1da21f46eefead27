"""A learner's object may loop, raise, exit or lie when it is looked at: the check still ends."""

import functools

import pytest
import torch

from moe_teach.judging import guard
from moe_teach.judging.compare import close, describe, difference
from moe_teach.judging.engine import run_exercise
from moe_teach.judging.exercise import Exercise, require
from moe_teach.judging.questions import Question, run_question

DEEDS = {
    "loops": "while True: pass",
    "raises": "raise ValueError('no')",
    "exits": "raise SystemExit",
    "prints": "print('seen'); return 'x'",
    "returns no text": "return 7",
}
LOOKS = ("__repr__", "__str__", "__eq__", "__bool__", "__format__", "__float__", "__len__")


@pytest.fixture(autouse=True)
def short_looks(monkeypatch):
    monkeypatch.setattr(guard, "LOOK", 0.2)


def evil(look, deed, base="object"):
    space = {"torch": torch}
    code = f"class Evil({base}):\n    def {look}(self, *_args, **_more):\n        {DEEDS[deed]}\n"
    code += "    __hash__ = None\n"
    exec(compile(code, "<a learner's cell>", "exec"), space)
    return space["Evil"]


def value_exercise():
    card = Exercise(id="9.1", name="f", title="F", hints=(), explanation="", limit=0.2)

    @card.stage("value")
    def _value(answer, seed):
        got = answer(seed)
        require(close(got, 3), "It is not three.", expected=3, got=got, example={"x": got})

    return card


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("look", LOOKS)
def test_what_a_returned_object_does_ends_as_a_sentence(look, deed, capsys):
    outcome = run_exercise(value_exercise(), lambda x: evil(look, deed)())
    assert outcome.state in ("wrong", "raised")
    assert outcome.message.endswith((".", "?"))
    assert outcome.from_json(outcome.to_json()) == outcome
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("look", ["__str__", "__repr__"])
def test_what_a_raised_error_does_ends_as_a_sentence(look, deed, learner):
    def f(x):
        raise evil(look, deed, "Exception")("text")

    outcome = run_exercise(value_exercise(), f)
    assert outcome.state == "raised"
    assert outcome.earned == 0
    if look == "__str__" and deed == "loops":
        assert "never ends" in outcome.message


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("look", LOOKS)
def test_an_object_in_the_place_of_the_function_is_answered(look, deed):
    outcome = run_exercise(value_exercise(), evil(look, deed)())
    assert outcome.state == "wrong"
    assert "without calling it" in outcome.message


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("choices", [{}, {"a": "x", "b": "y"}], ids=["number", "letter"])
def test_an_object_is_no_answer_to_a_question(look, deed, choices, capsys):
    answer = "a" if choices else 3
    question = Question(id="9.q1", prompt="?", answer=answer, choices=choices, because="So.")
    outcome = run_question(question, evil(look, deed)())
    assert outcome.state == "wrong"
    assert outcome.message.endswith(".")
    assert capsys.readouterr() == ("", "")


class Agrees:
    def __eq__(self, other):
        return True

    __hash__ = None


class AgreesAsInt(int):
    __eq__ = Agrees.__eq__
    __hash__ = None


class ClaimsToBe:
    def __init__(self, kind):
        self._kind = kind

    @property
    def __class__(self):
        return self._kind

    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.mark.parametrize("expected", [3, 2.5, "b", None, (1, 2), [1], {"a": 1}, torch.ones(2)])
@pytest.mark.parametrize(
    "liar",
    [Agrees(), AgreesAsInt(7), ClaimsToBe(int), ClaimsToBe(dict)],
    ids=["agrees", "agrees as a number", "claims to be a number", "claims to be a dictionary"],
)
def test_an_object_that_equals_everything_equals_nothing(liar, expected):
    assert close(liar, expected) is False


def test_a_tensor_that_answers_for_torch_is_compared_by_its_numbers():
    class Yes(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            raise RuntimeError("not for you")

    def answer(x):
        return (2 * x).as_subclass(Yes)

    numbers = torch.zeros(2).as_subclass(Yes)
    assert close(numbers, torch.zeros(2))
    assert not close(numbers, torch.ones(2))
    assert difference(numbers, torch.ones(2)).startswith("2 of 2 entries differ")
    assert describe(numbers) == "tensor (2,) float32 [0, 0]"
    assert _doubled(answer).state == "passed"


def _doubled(answer):
    card = Exercise(id="9.1", name="twice", title="", hints=(), explanation="")

    @card.stage("values")
    def _values(answer, seed):
        x = torch.arange(3.0)
        require(close(answer(x), 2 * x), "Twice.")

    return run_exercise(card, answer)


def test_a_text_of_a_kind_of_its_own_becomes_plain():
    class Loud(str):
        pass

    class Shown:
        def __repr__(self):
            return Loud("shown")

    assert type(describe(Shown())) is str
    assert type(describe(Loud("x"))) is str


class Doubler:
    def __init__(self, change):
        self.change = change

    def __call__(self, x):
        self.change(x)
        return 2 * x.detach()

    def method(self, x):
        return self(x)


def function_of(change):
    def twice(x):
        return Doubler(change)(x)

    return twice


def with_spare(change, x):
    return Doubler(change)(x)


KINDS = {
    "a function": function_of,
    "a method": lambda change: Doubler(change).method,
    "a partial": lambda change: functools.partial(with_spare, change),
    "an object": Doubler,
}
TRACES = {
    "changed its input `x` in place": lambda x: x.data.mul_(2),
    "left a gradient": lambda x: x.square().sum().backward(),
    "switched `requires_grad`": lambda x: x.requires_grad_(False),
}


@pytest.mark.parametrize("has_gradient", [False, True], ids=["without .grad", "with .grad"])
@pytest.mark.parametrize("said", TRACES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_answer_is_watched_for_every_trace(kind, said, has_gradient):
    def outcome(change):
        card = Exercise(id="9.1", name="twice", title="", hints=(), explanation="")

        @card.stage("values")
        def _values(answer, seed):
            x = torch.ones(2, requires_grad=True)
            if has_gradient:
                x.grad = torch.ones(2)
            require(close(answer(x), torch.full((2,), 2.0)), "Twice.")

        return run_exercise(card, KINDS[kind](change))

    refused = outcome(TRACES[said])
    assert refused.state == "wrong"
    assert said in refused.message
    assert outcome(lambda x: None).state == "passed"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x.mul_(1.5); return self.scale * x", "`forward` changed its input `x` in place"),
        ("(self.scale * x).sum().backward(); return x", "`forward` left a gradient"),
        ("x.requires_grad_(False); return x", "`forward` switched `requires_grad`"),
        ("self.scale * x", "`forward` returned None"),
        ("return self.help(x.clone())", ""),
    ],
)
def test_the_methods_of_a_class_are_watched_and_its_own_calls_are_not(learner, body, said):
    answer = learner(
        "class Scale(torch.nn.Module):\n    def __init__(self, width):\n"
        "        super().__init__()\n        self.scale = torch.nn.Parameter(torch.ones(width))\n"
        f"    def forward(self, x):\n        {body}\n"
        "    def help(self, x):\n        return x.mul_(2) / 2\n"
    )
    card = Exercise(id="9.4", name="Scale", title="", hints=(), explanation="")

    @card.stage("values")
    def _values(answer, seed):
        x = torch.ones(2, requires_grad=body.find("help") < 0 and "mul_" not in body)
        require(close(answer(2)(x), torch.ones(2)), "As it was.")

    forward = answer.forward
    outcome = run_exercise(card, answer)
    assert outcome.state == ("wrong" if said else "passed")
    assert said in outcome.message
    assert answer.forward is forward


def test_arguments_that_do_not_fit_a_class_are_shown_beside_the_stubs(learner):
    answer = learner("class Scale(torch.nn.Module):\n    def __init__(self):\n        pass\n")
    stub = learner("class Scale(torch.nn.Module):\n    def __init__(self, width):\n        pass\n")
    card = Exercise(id="9.4", name="Scale", title="", hints=(), explanation="")
    card.stage("made")(lambda answer, seed: answer(2))
    outcome = run_exercise(card, answer, reference=lambda _: stub)
    assert (outcome.expected, outcome.got) == ("Scale(width)", "Scale()")


@pytest.mark.parametrize("change", ["eval()", "weight.data.mul_(2)", "weight.grad.zero_()"])
def test_a_module_that_was_handed_over_is_watched_too(change):
    def use(layer):
        code = f"layer.{change}"
        exec(code)
        return 1

    card = Exercise(id="9.1", name="use", title="", hints=(), explanation="")

    @card.stage("left alone")
    def _left(answer, seed):
        layer = torch.nn.Linear(2, 2)
        layer.weight.grad = torch.ones(2, 2)
        answer(layer)

    assert "its input `layer`" in run_exercise(card, use).message


def test_what_is_written_in_c_is_called_all_the_same():
    assert _doubled(torch.Tensor.double).state == "wrong"
    assert _doubled(lambda x: torch.add(x, x)).state == "passed"
