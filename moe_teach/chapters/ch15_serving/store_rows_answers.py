"""Exercise 15.1: wrong answers with what they must be told, and other right ones."""

import torch

from moe_teach.chapters.ch15_serving.store_rows import EXERCISE


def _stored(keys, values, position, slots, new_keys, new_values):
    keys, values = keys.clone(), values.clone()
    keys[slots, position], values[slots, position] = new_keys, new_values
    return keys, values


def _grown(lengths, slots):
    return lengths + slots.bincount(minlength=len(lengths))


def _before(slots):
    return (slots[:, None] == slots).tril(-1).sum(-1)


@EXERCISE.wrong(stage="several rows of a text", says="`keys` is not what")
def every_row_at_the_same_place(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots]
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    return *stored, _grown(lengths, slots), torch.arange(keys.shape[1]) <= at[:, None]


@EXERCISE.wrong(stage="one row a text", says="`keys` is not what")
def one_place_too_far(keys, values, lengths, slots, new_keys, new_values):
    at = (lengths[slots] + _before(slots) + 1).clamp_max(keys.shape[1] - 1)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    return *stored, _grown(lengths, slots), torch.arange(keys.shape[1]) <= at[:, None]


@EXERCISE.wrong(stage="one row a text", says="`visible` is not what")
def does_not_see_itself(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    return *stored, _grown(lengths, slots), torch.arange(keys.shape[1]) < at[:, None]


@EXERCISE.wrong(stage="one row a text", says="`visible` is not what")
def sees_what_was_left_behind(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    visible = torch.ones(len(slots), keys.shape[1], dtype=torch.bool)
    return *stored, _grown(lengths, slots), visible


@EXERCISE.wrong(stage="several rows of a text", says="`visible` is not what")
def sees_the_later_rows_of_its_text(keys, values, lengths, slots, new_keys, new_values):
    at, grown = lengths[slots] + _before(slots), _grown(lengths, slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    return *stored, grown, torch.arange(keys.shape[1]) < grown[slots][:, None]


@EXERCISE.wrong(stage="one row a text", says="`lengths` is not what")
def every_slot_grows(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    return *stored, lengths + 1, torch.arange(keys.shape[1]) <= at[:, None]


@EXERCISE.wrong(stage="the four results", says="wrong shape")
def visible_by_slot(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    grown = _grown(lengths, slots)
    return *stored, grown, torch.arange(keys.shape[1]) < grown[:, None]


@EXERCISE.wrong(stage="the four results", says="no mask to add")
def visible_as_a_mask_to_add(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    later = torch.arange(keys.shape[1]) > at[:, None]
    mask = torch.zeros(later.shape).masked_fill(later, -torch.inf)
    return *stored, _grown(lengths, slots), mask


@EXERCISE.wrong(stage="the four results", says="wrong dtype")
def lengths_in_few_bits(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    visible = torch.arange(keys.shape[1]) <= at[:, None]
    return *stored, _grown(lengths, slots).int(), visible


@EXERCISE.wrong(stage="the four results", says="changed")
def writes_into_what_was_given(keys, values, lengths, slots, new_keys, new_values):
    at = lengths[slots] + _before(slots)
    keys[slots, at], values[slots, at] = new_keys, new_values
    return keys, values, _grown(lengths, slots), torch.arange(keys.shape[1]) <= at[:, None]


@EXERCISE.right
def one_after_the_other(keys, values, lengths, slots, new_keys, new_values):
    keys, values, lengths = keys.clone(), values.clone(), lengths.clone()
    visible = torch.zeros(len(slots), keys.shape[1], dtype=torch.bool)
    for row, slot in enumerate(slots):
        keys[slot, lengths[slot]], values[slot, lengths[slot]] = new_keys[row], new_values[row]
        lengths[slot] += 1
        visible[row, : lengths[slot]] = True
    return keys, values, lengths, visible


@EXERCISE.right
def counted_by_a_one_hot(keys, values, lengths, slots, new_keys, new_values):
    told = torch.nn.functional.one_hot(slots, len(lengths))
    ranks = (told.cumsum(0) * told).sum(-1)
    at = lengths[slots] + ranks - 1
    stored = _stored(keys, values, at, slots, new_keys, new_values)
    columns = torch.arange(keys.shape[1]).expand(len(slots), -1)
    return *stored, lengths + told.sum(0), columns < (at + 1)[:, None]
