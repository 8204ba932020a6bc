"""What a run needs installed, and under which licences it may be passed on.

python tests/test_dependencies.py (`make licences`) prints the list.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement

PERMISSIVE = (
    *("Apache", "MIT", "BSD", "0BSD", "ISC", "PSF", "CNRI-Python", "Zlib", "CC0", "BSL-1.0"),
    "MPL-2.0",  # of tqdm: changes to its own files stay open
)
"""Licences under which a program of any licence may use a package, by their first letters."""

OF_NVIDIA = ("nvidia-", "cuda-")
"""torch's builds for GPUs bring these, under terms of their own; ours for tests is without."""


def needed(name, found=None):
    """Every package that a run needs, by name, extras aside."""
    found = {} if found is None else found
    if name in found:
        return found
    found[name] = distribution(name)
    for line in found[name].requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(re.sub(r"[-_.]+", "-", requirement.name).lower(), found)
    return found


def licence(package):
    """What a package says of itself: an expression, else its classifiers, else a first line."""
    metadata = package.metadata
    classifiers = [
        one.rpartition(" :: ")[2].removesuffix(" License").removesuffix(" Software")
        for one in metadata.get_all("Classifier") or ()
        if one.startswith("License :: OSI Approved :: ")
    ]
    stated = (metadata.get("License") or "").strip().splitlines()[:1]
    return metadata.get("License-Expression") or " AND ".join(classifiers or stated)


def unusual(text):
    """The licences in a text that are not known to be permissive; of alternatives one is enough."""
    missing = [
        [one for one in re.split(r" AND ", choice) if not one.strip(" ()").startswith(PERMISSIVE)]
        for choice in re.split(r" OR ", text)
    ]
    return min(missing, key=len) if text else ["none stated"]


def test_all_that_a_run_needs_has_a_permissive_licence():
    packages = {n: p for n, p in needed("mechshift").items() if not n.startswith(OF_NVIDIA)}
    assert len(packages) > 20
    assert {n: licence(p) for n, p in packages.items() if unusual(licence(p))} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("MIT", []),
        ("Apache-2.0 OR BSD-2-Clause", []),
        ("GPL-3.0-only OR MIT", []),
        ("GPL-3.0-only AND MIT", ["GPL-3.0-only"]),
        ("", ["none stated"]),
    ],
)
def test_a_licence_that_is_not_permissive_is_found(text, found):
    assert unusual(text) == found


def test_a_requirement_that_is_not_installed_is_found(monkeypatch):
    monkeypatch.setattr(
        type(distribution("mechshift")), "requires", property(lambda _: ["no-such-package>=1"])
    )
    with pytest.raises(PackageNotFoundError):
        needed("mechshift")


if __name__ == "__main__":
    for name, package in sorted(needed("mechshift").items()):
        print(f"{name:<24} {package.version:<14} {licence(package)}")
