"""Exercise 15.2: wrong answers with what they must be told, and other right ones."""

from moe_teach.chapters.ch15_serving.schedulers import scheduler
from moe_teach.chapters.ch15_serving.serve import EXERCISE


@EXERCISE.wrong(stage="the rules", says="as soon as one")
def a_batch_at_a_time(read, requests, n_slots, budget):
    return scheduler("waits for the batch")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="share it")
def every_prompt_its_own_budget(read, requests, n_slots, budget):
    return scheduler("a budget for everybody")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="which is for prompts")
def counts_every_token_of_a_step(read, requests, n_slots, budget):
    return scheduler("answers use the budget")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="Prompts are read whole")
def reads_whole_prompts(read, requests, n_slots, budget):
    return scheduler("no budget")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="who came last")
def takes_the_last_first(read, requests, n_slots, budget):
    return scheduler("last come first")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="shortest prompt")
def takes_short_prompts_first(read, requests, n_slots, budget):
    return scheduler("shortest first")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="those who speak")
def prompts_hold_everybody_up(read, requests, n_slots, budget):
    return scheduler("prompts before answers")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="admitted last")
def reads_the_newest_prompt_first(read, requests, n_slots, budget):
    return scheduler("newest prompt first")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="one step later")
def keeps_a_slot_for_a_step(read, requests, n_slots, budget):
    return scheduler("slots free a step late")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="before they have arrived")
def does_not_look_at_the_clock(read, requests, n_slots, budget):
    return scheduler("no clock")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="one request", says="too many or too few")
def gives_one_token_too_many(read, requests, n_slots, budget):
    return scheduler("one token too many")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="one request", says="but of the text in its slot")
def speaks_before_it_has_read(read, requests, n_slots, budget):
    return scheduler("speaks too early")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="one pass a step", says="more or less often")
def a_pass_for_each_text(read, requests, n_slots, budget):
    return scheduler("one pass a text")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="the rules", says="leaves out the step")
def rests_after_its_prompt(read, requests, n_slots, budget):
    return scheduler("rests after the prompt")(read, requests, n_slots, budget)


@EXERCISE.wrong(stage="several requests", says="but of the text in its slot")
def goes_on_where_the_last_text_ended(read, requests, n_slots, budget):
    n_read: dict[int, int] = {}

    def shifted(pieces):
        moved = []
        for slot, start, ids in pieces:
            before = n_read.get(slot, 0) if start == 0 else start
            n_read[slot] = before + len(ids)
            moved.append((slot, before + 1 if start == 0 and before else start, ids))
        return read(moved)

    return scheduler("plain")(shifted, requests, n_slots, budget)


@EXERCISE.wrong(stage="one request", says="without any piece")
def reads_even_if_there_is_nothing(read, requests, n_slots, budget):
    read([])
    return scheduler("plain")(read, requests, n_slots, budget)


@EXERCISE.right
def the_highest_slot_first(read, requests, n_slots, budget):
    return scheduler("highest slot first")(read, requests, n_slots, budget)


@EXERCISE.right
def pieces_in_another_order(read, requests, n_slots, budget):
    return scheduler("pieces turned round")(read, requests, n_slots, budget)
