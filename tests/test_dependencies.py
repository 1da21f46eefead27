"""The package must install where learners are: Colab as it stands, Binder without CUDA."""

import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COLAB_PYTHON = "3.13"


def colab_versions() -> dict[str, Version]:
    """Read the recorded versions of a Colab machine."""
    lines = (ROOT / "tests/colab_versions.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pins
    }


def needed(requirements: list[str]) -> list[Requirement]:
    """Parse requirements, leaving out those that Colab's Python or platform does not need."""
    colab = {**default_environment(), "python_version": COLAB_PYTHON, "sys_platform": "linux"}
    parsed = map(Requirement, requirements)
    return [r for r in parsed if r.marker is None or r.marker.evaluate({**colab, "extra": ""})]


def replaced_on_colab(core: list[str]) -> list[str]:
    """Walk the core and what it brings; name each package of Colab that would be replaced.

    What Colab has is not walked further: it is there and it works. What Colab lacks would be
    installed, so its own requirements (as installed here) count too.
    """
    colab, queue, seen, clashes = colab_versions(), needed(core), set(), []
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name in colab:
            if not requirement.specifier.contains(colab[name]):
                clashes.append(f"{requirement} would replace {name} {colab[name]}")
        elif name not in seen:
            seen.add(name)
            try:
                queue += needed(requires(name) or [])
            except PackageNotFoundError:
                clashes.append(f"{name} is neither on Colab nor installed here to be looked at")
    return clashes


def test_the_core_installs_on_colab_without_replacing_anything() -> None:
    assert replaced_on_colab(PROJECT["dependencies"]) == []


@pytest.mark.parametrize("greedy", ["torch>=2.13", "ipywidgets>=8", "numpy>=2.2", "ipython>=8"])
def test_a_greedy_requirement_would_be_noticed(greedy: str) -> None:
    assert replaced_on_colab([greedy])


def test_colabs_python_is_supported() -> None:
    assert SpecifierSet(PROJECT["requires-python"]).contains(COLAB_PYTHON)


def test_the_core_is_small_and_free_of_what_only_authors_need() -> None:
    core = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}

    assert len(core) <= 11
    assert not core & {"jupyterlab", "jupytext", "transformers", "triton", "nbgrader", "pandas"}


def environment() -> tuple[list[str], list[str]]:
    """Read environment.yml: its conda lines and its pip lines."""
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return [x for x in lines if isinstance(x, str)], next(
        x["pip"] for x in lines if isinstance(x, dict)
    )


def test_the_binder_environment_repeats_no_version_but_pythons() -> None:
    conda, pip = environment()
    python = next(line for line in conda if line.startswith("python "))

    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["requires-python"])
    assert [line for line in conda if any(sign in line for sign in "<>=") and line != python] == []
    assert pip == ["--editable .[lab,kernels]"], "chapters 09 and 10 need Triton there too"


def test_the_binder_environment_stays_free_of_cuda() -> None:
    conda, _ = environment()

    assert "pytorch-cpu" in conda
    assert not any("cuda" in line or "gpu" in line for line in conda)


def pins() -> list[Requirement]:
    """Read the exact versions that CI tests; a name may have one for each kind of system."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_the_pins_that_ci_tests_are_exact_and_free_of_cuda() -> None:
    names = {pin.name for pin in pins()}

    assert all(str(pin.specifier).startswith("==") for pin in pins())
    assert not any(name.startswith(("nvidia", "cuda")) for name in names)
    assert not any("+" in str(pin.specifier) for pin in pins()), (
        "a local build such as +cpu exists in one place only"
    )


def test_the_pins_satisfy_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [
        Requirement(r) for group in (PROJECT["dependencies"], *extras.values()) for r in group
    ]

    for requirement in wanted:
        if requirement.name == "moe-teach":
            continue
        versions = [
            str(pin.specifier).removeprefix("==")
            for pin in pins()
            if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        ]
        assert versions, requirement
        assert all(map(requirement.specifier.contains, versions)), requirement
