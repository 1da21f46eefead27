"""Where classes are held: Colab's list of versions, the image for hubs, the memory of a Binder."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from moe_teach.bench.memory.limit import memory_limit
from moe_teach.lab_check.memory import Watch

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("colab_versions", ROOT / "tools/colab_versions.py")
colab_versions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(colab_versions)

LISTED = """Python 3.13.1
absl-py==1.4.0
IPython==7.34.0
ipywidgets==7.7.1
-e git+https://somewhere/x#egg=y
torch @ https://somewhere/whl/cu126/torch-2.11.0%2Bcu126-cp313-cp313-linux_x86_64.whl#sha256=00
triton==3.6.0
google-colab @ file:///colabtools/dist/google_colab-1.0.0.tar.gz
"""


def test_colabs_own_list_becomes_exact_versions_of_what_the_course_asks_for() -> None:
    text = colab_versions.written(LISTED, colab_versions.wanted())

    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "(Python 3.13)" in text
    assert lines == ["ipython==7.34.0", "ipywidgets==7.7.1", "torch==2.11.0", "triton==3.6.0"]


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ("torch==2.11.0\nipywidgets==7.7.1", "no line like"),
        ("Python 3.13.1\nnumpy==2", "Colab has"),
    ],
)
def test_a_list_that_is_not_colabs_changes_nothing(tmp_path, capsys, listed, why) -> None:
    before = colab_versions.TARGET.read_bytes()
    (tmp_path / "list.txt").write_text(listed)

    assert colab_versions.main([str(tmp_path / "list.txt")]) == 2

    assert why in capsys.readouterr().err
    assert colab_versions.TARGET.read_bytes() == before


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.hub"])
def test_what_an_image_copies_is_there(name: str) -> None:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (.+)$", text, re.M)]

    assert copied
    assert [path for paths in copied for path in paths if not (ROOT / path).exists()] == []
    extras = re.search(r"\.\[([\w,]+)\]", text)[1].split(",")
    project = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)


def test_binder_starts_with_few_threads_and_hands_its_command_on() -> None:
    command = [ROOT / "start", "sh", "-c", 'echo "$OMP_NUM_THREADS $1"', "sh", "two words"]
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}

    for environment, said in ((plain, "2 two words\n"), ({**plain, "OMP_NUM_THREADS": "1"}, "1 ")):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(said)


def test_the_dev_container_is_the_image_for_hubs() -> None:
    folder = ROOT / ".devcontainer"
    build = json.loads((folder / "devcontainer.json").read_text())["build"]

    assert (folder / build["dockerfile"]).resolve() == ROOT / "Containerfile.hub"
    assert (folder / build["context"]).resolve() == ROOT


def test_a_watch_adds_up_the_processes_of_a_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    alone = Watch(tmp_path).now()
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n{os.getpid()}\n999999999\n")

    assert alone > 20_000_000
    assert 1.9 * alone < Watch(tmp_path).now() < 2.1 * alone


def test_a_group_says_where_it_counts_and_is_gone_afterwards() -> None:
    with memory_limit(10**9) as limit:
        assert (limit.folder is None) == ("cgroup v" not in limit.how)
        assert limit.folder is None or (limit.folder / "cgroup.procs").is_file()
    assert limit.folder is None or not limit.folder.exists()
