"""The bug clinic: every fault shows itself, no two look alike, and an objection tells no secret."""

from functools import cache
from itertools import combinations

import pytest
import torch

from moe_teach.chapters.ch06_load_balancing.clinic import ward
from moe_teach.chapters.ch06_load_balancing.clinic.diagnoses import DIAGNOSES, contradiction
from moe_teach.chapters.ch06_load_balancing.clinic.examination import N_STEPS, examine, task_losses
from moe_teach.chapters.ch06_load_balancing.clinic.faults import FAULTS
from moe_teach.chapters.ch06_load_balancing.clinic.set_up import SetUp
from moe_teach.chapters.ch06_load_balancing.clinic.signs import SIGNS, read
from moe_teach.course import clinic

SEEDS = range(5)
WRONG = [(case, word) for case in clinic.cases() for word in DIAGNOSES if word != ward.behind(case)]

every_diagnosis = pytest.mark.parametrize("word", DIAGNOSES)


@cache
def charts(word):
    """Examine without much training: the load is looked at by a test of its own."""
    return [examine(FAULTS[word], seed, n_steps=2) for seed in SEEDS]


def test_every_word_of_the_vocabulary_is_a_real_set_up():
    assert FAULTS.keys() == DIAGNOSES.keys()
    assert FAULTS["healthy"] is SetUp
    assert len(set(FAULTS.values())) == len(FAULTS)


def test_there_are_at_least_eight_faults_and_more_words_than_patients():
    faults = {ward.behind(case) for case in clinic.cases()} - {"healthy"}

    assert len(faults) >= 8
    assert len(faults) + 1 == len(clinic.cases()), "no fault lies in two beds"
    assert len(DIAGNOSES) >= len(clinic.cases()) + 8


def test_the_beds_are_not_in_the_order_of_the_vocabulary():
    order = [list(DIAGNOSES).index(ward.behind(case)) for case in clinic.cases()]

    assert order != sorted(order)


@every_diagnosis
def test_a_set_up_shows_the_signs_of_its_diagnosis_for_every_seed(word):
    promised = DIAGNOSES[word].signs
    for chart in charts(word):
        seen = read(chart)
        assert {n: w for n, w in seen.items() if n != "load" and promised[n] is not None} == {
            n: w for n, w in promised.items() if n != "load" and w is not None
        }


@pytest.mark.parametrize(
    "word", [w for w, d in DIAGNOSES.items() if d.signs["load"] == "uneven"] + ["healthy"]
)
def test_only_what_reaches_the_router_evens_out_the_load(word):
    expected = DIAGNOSES[word].signs["load"]
    for n_steps in (40, N_STEPS):
        found = [read(examine(FAULTS[word], seed, n_steps))["load"] for seed in SEEDS[:3]]
        assert found == [expected] * 3


@every_diagnosis
def test_what_sets_a_fault_apart_from_health_shows_in_numbers_for_every_seed(word):
    if word == "healthy":
        return
    telling = [name for name in DIAGNOSES[word].shows if name != "load"]
    for sick, sound in zip(charts(word), charts("healthy"), strict=True):
        seen, healthy = read(sick), read(sound)
        assert any(seen[name] != healthy[name] for name in telling)


def test_no_two_diagnoses_have_the_same_chart():
    for one, other in combinations(DIAGNOSES, 2):
        assert contradiction(one, other) is not None, (one, other)
        assert contradiction(other, one) is not None, (other, one)


def test_a_diagnosis_does_not_contradict_itself():
    assert all(contradiction(word, word) is None for word in DIAGNOSES)


def test_signs_answer_in_words_that_the_diagnoses_know():
    for diagnosis in DIAGNOSES.values():
        assert set(diagnosis.shows) <= set(SIGNS)


def test_a_right_diagnosis_meets_no_objection():
    assert all(ward.objection(case, ward.behind(case)) == "" for case in clinic.cases())


def test_every_wrong_diagnosis_meets_an_objection_of_its_own():
    objections = [ward.objection(case, word) for case, word in WRONG]

    assert all(objections)
    assert len(set(objections)) == len(WRONG)


@pytest.mark.parametrize("case", clinic.cases())
def test_an_objection_names_the_case_and_a_panel_and_never_the_answer(case):
    truth = DIAGNOSES[ward.behind(case)]
    for word in DIAGNOSES:
        text = ward.objection(case, word)
        if text:
            assert f"Case {case}" in text and "panel " in text
            assert f"'{ward.behind(case)}'" not in text and truth.sentence not in text


def test_the_practice_patient_is_ill_and_lies_in_no_bed():
    practice = ward.behind("practice")

    assert practice not in {"healthy", *map(ward.behind, clinic.cases())}
    assert ward.behind("health") == "healthy"


def test_an_unknown_case_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="The ward has: A, B"):
        ward.behind("Z")


def test_an_examination_repeats_itself_and_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    first = examine.__wrapped__(FAULTS["noise-at-evaluation"], 3, 3)
    second = examine.__wrapped__(FAULTS["noise-at-evaluation"], 3, 3)

    assert first == second
    assert torch.equal(torch.get_rng_state(), before)


def test_every_patient_starts_from_the_weights_of_the_healthy_layer():
    healthy = SetUp().layer(seed=4)
    for word, fault in FAULTS.items():
        layer = fault().layer(seed=4)
        assert torch.equal(layer.router.proj.weight, healthy.router.proj.weight), word
        assert torch.equal(layer.experts.w_down, healthy.experts.w_down), word


def test_the_vocabulary_and_the_table_show_everybody(monkeypatch):
    monkeypatch.setenv("MOE_TEACH_FAST", "1")
    monkeypatch.setattr("moe_teach.course.clinic.examine", lambda f, s, n: examine(f, s, 2))

    assert all(f"'{word}'" in repr(clinic.vocabulary()) for word in DIAGNOSES)
    assert [row[0] for row in clinic.table().rows] == ["health", *clinic.cases()]


def test_a_chart_is_shown_with_its_findings_in_words(monkeypatch):
    shown = []
    monkeypatch.setattr("moe_teach.course.clinic.examine", lambda f, s, n: examine(f, s, 2))
    monkeypatch.setattr("moe_teach.plots.style.display", lambda *a, **k: shown.append(a[0]))

    clinic.show("A")
    clinic.show("health")

    assert "case A" in shown[0]["text/plain"] and "Chart of health." in shown[1]["text/plain"]
    assert all(bundle["image/png"].startswith(b"\x89PNG") for bundle in shown)


def test_several_patients_are_shown_on_one_sheet(monkeypatch):
    shown = []
    monkeypatch.setattr("moe_teach.course.clinic.examine", lambda f, s, n: examine(f, s, 2))
    monkeypatch.setattr("moe_teach.plots.style.display", lambda *a, **k: shown.append(a[0]))

    clinic.compare("AG")

    (bundle,) = shown
    assert all(f"Chart of case {case}." in bundle["text/plain"] for case in "AG")


def test_the_loss_falls_in_the_ill_as_in_the_healthy_and_repeats_itself():
    for word in ("healthy", "loss-not-added", "residual-twice"):
        losses = task_losses(FAULTS[word], seed=1, n_steps=12)
        assert losses[-1] < losses[0]
        assert losses == task_losses(FAULTS[word], seed=1, n_steps=12)
