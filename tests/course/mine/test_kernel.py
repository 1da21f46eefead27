"""A real kernel: the answer stands in three cells, the kernel is killed, and `mine` finds it."""

import pytest
from jupyter_client.manager import KernelManager

from moe_teach.course import registry
from moe_teach.course.learner.mine import parts, waiting

CELLS = [
    "from moe_teach.course import check, mine",
    "# what a rule looks at\nDIGIT, WORD, SIGN = 0, 2, 1",
    "%%time\ndef kind(token):\n    if token.isdigit():\n        return DIGIT\n"
    "    return WORD if any(c.isalnum() for c in token) else SIGN",
    "%matplotlib inline\ndef route_by_rule(tokens):\n    return [kind(t) for t in tokens]",
    'print(check("0.1", route_by_rule))',
]


class Session:
    """A kernel that says what a cell printed."""

    def __init__(self):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, cell):
        said = []

        def heard(message):
            content = message["content"]
            said.append(content.get("text", "") or "\n".join(content.get("traceback", [])))

        self.client.execute_interactive(cell, timeout=120, output_hook=heard)
        return "".join(said)

    def kill(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.mark.notebook
def test_an_answer_of_three_cells_outlives_its_kernel(monkeypatch):
    monkeypatch.setenv("MOE_TEACH_MINE", "background")
    first = Session()
    try:
        said = [first.run(cell) for cell in CELLS]
    finally:
        first.kill()
    assert 'On its way into your own package: `mine("0.1")`' in said[-1], said

    waiting.settle(registry.find_exercise("0.1"))
    second = Session()
    try:
        second.run(CELLS[0])
        got = second.run('f = mine("0.1"); print(f(["12", "ab", "?"]), f.__code__.co_filename)')
    finally:
        second.kill()
    file = parts.file_of(registry.find_exercise("0.1"))
    assert got.split() == ["[0,", "2,", "1]", str(file)]
    text = file.read_text()
    assert "DIGIT = 0" in text
    assert "get_ipython" not in text
