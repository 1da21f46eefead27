"""Exercise 12.6: marketplaces that lose something, and others that do not."""

from moe_teach.chapters.ch12_specialise_and_compose.my_marketplace import EXERCISE, plain_swap


class _Market:
    """A marketplace that remembers for each module where it stands and what it replaced."""

    def __init__(self, state, swap=plain_swap):
        self.state, self.swap, self.shelf = state, swap, {}

    def installed(self):
        return list(self.shelf)

    def install(self, name, layer, expert, module):
        if name in self.shelf:
            raise ValueError(f"{name} is installed already.")
        self.state, old = self.swap(self.state, layer, expert, module)
        self.shelf[name] = (layer, expert, old)

    def above(self, name):
        later = self.installed()[self.installed().index(name) + 1 :]
        return [one for one in later if self.shelf[one][:2] == self.shelf[name][:2]]

    def remove(self, name):
        if name not in self.shelf or self.above(name):
            raise ValueError(f"{name} cannot be removed.")
        layer, expert, old = self.shelf.pop(name)
        self.state, _ = self.swap(self.state, layer, expert, old)


@EXERCISE.wrong(stage="any order", says="took the others along")
class PutsTheWholeStateBack(_Market):
    def install(self, name, layer, expert, module):
        before = self.state
        super().install(name, layer, expert, module)
        self.shelf[name] = (layer, expert, before)

    def remove(self, name):
        if name not in self.shelf:
            raise ValueError(f"{name} is not there.")
        self.state = self.shelf.pop(name)[2]


@EXERCISE.wrong(stage="one on another", says="another one stands on")
class RemovesFromUnderOthers(_Market):
    def above(self, name):
        return []


@EXERCISE.wrong(stage="refusals", says="No ValueError for a name that is installed")
class OverwritesANameInSilence(_Market):
    def install(self, name, layer, expert, module):
        kept = self.shelf.pop(name, None)
        super().install(name, layer, expert, module)
        self.shelf[name] = kept or self.shelf[name]


@EXERCISE.wrong(stage="refusals", says="should name what is in")
class ListsBeforeItIsIn(_Market):
    def install(self, name, layer, expert, module):
        if name in self.shelf:
            raise ValueError(f"{name} is installed already.")
        self.shelf[name] = (layer, expert, {})
        self.state, old = self.swap(self.state, layer, expert, module)
        self.shelf[name] = (layer, expert, old)


@EXERCISE.wrong(stage="in and out", says="After the removal, `installed()`")
class ForgetsToTakeItOffTheList(_Market):
    def remove(self, name):
        if name not in self.shelf or self.above(name):
            raise ValueError(f"{name} cannot be removed.")
        layer, expert, old = self.shelf[name]
        self.state, _ = self.swap(self.state, layer, expert, old)


@EXERCISE.wrong(stage="in and out", says="has no `installed`")
class KeepsNoList:
    def __init__(self, state, swap=plain_swap):
        self.state = state

    def install(self, name, layer, expert, module):
        pass

    def remove(self, name):
        pass


@EXERCISE.wrong(stage="in and out", says="was opened a moment ago")
class KeepsOneShelfForAll(_Market):
    shelf_of_all = {}  # noqa: RUF012 - the mistake

    def __init__(self, state, swap=plain_swap):
        super().__init__(state, swap)
        self.shelf = self.shelf_of_all


@EXERCISE.wrong(stage="in and out", says="has changed")
class WritesIntoTheGivenState(_Market):
    def install(self, name, layer, expert, module):
        given = self.state
        super().install(name, layer, expert, module)
        given.update(self.state)
        self.state = given


@EXERCISE.wrong(stage="in and out", says="was never asked")
class SwapsInItsOwnWay(_Market):
    def __init__(self, state, swap=plain_swap):
        super().__init__(state, plain_swap)


@EXERCISE.wrong(stage="in and out", says="After the removal, blocks.1.ffn")
class PutsTheModuleBack(_Market):
    def install(self, name, layer, expert, module):
        super().install(name, layer, expert, module)
        self.shelf[name] = (layer, expert, module)


@EXERCISE.wrong(stage="any order", says="in another order")
class ListsByTheAlphabet(_Market):
    def installed(self):
        return sorted(self.shelf)


@EXERCISE.wrong(stage="one on another", says="After this refusal")
class TakesItOffTheListFirst(_Market):
    def remove(self, name):
        if name not in self.shelf:
            raise ValueError(f"{name} is not there.")
        is_below = self.above(name)
        layer, expert, old = self.shelf.pop(name)
        if is_below:
            raise ValueError(f"{name} is below another one.")
        self.state, _ = self.swap(self.state, layer, expert, old)


@EXERCISE.wrong(stage="in and out", says="A name that had been removed was refused")
class NeverTakesANameAgain(_Market):
    def __init__(self, state, swap=plain_swap):
        super().__init__(state, swap)
        self.ever = set()

    def install(self, name, layer, expert, module):
        if name in self.ever:
            raise ValueError(f"{name} was here before.")
        super().install(name, layer, expert, module)
        self.ever.add(name)


@EXERCISE.wrong(stage="any order", says="each in its own slot, was refused")
class RemovesTheLastOnly(_Market):
    def above(self, name):
        return self.installed()[-1] != name


@EXERCISE.wrong(stage="one on another", says="A second module in one slot was refused")
class TakesOneModuleForASlot(_Market):
    def install(self, name, layer, expert, module):
        if any(place[:2] == (layer, expert) for place in self.shelf.values()):
            raise ValueError("The slot is taken.")
        super().install(name, layer, expert, module)


@EXERCISE.right
class KeepsADictionary(_Market):
    pass


@EXERCISE.right
class KeepsAPileForEachSlot:
    def __init__(self, state, swap=plain_swap):
        self.state, self.swap, self.piles, self.names = state, swap, {}, []

    def installed(self):
        return tuple(self.names)

    def install(self, name, layer, expert, module):
        if name in self.names:
            raise ValueError("That is there already.")
        self.state, old = self.swap(self.state, layer, expert, module)
        self.piles.setdefault((layer, expert), []).append((name, old))
        self.names.append(name)

    def remove(self, name):
        for place, pile in self.piles.items():
            if pile and pile[-1][0] == name:
                _, old = pile.pop()
                self.state, _ = self.swap(self.state, *place, old)
                self.names.remove(name)
                return
        raise ValueError("That is not on top of any pile.")
