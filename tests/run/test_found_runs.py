"""Run folders below a folder: found, listed whatever their state, and served to this machine."""

import http.client
import json
import os
import shutil
import socket
import struct
from contextlib import contextmanager
from threading import Thread

import polars as pl
import pytest

from mechshift.cli.main import main
from mechshift.errors import ArtifactError, ConfigError
from mechshift.page.browser import find_browser
from mechshift.run import open_run, open_runs, runs_server, write_index, write_tables
from mechshift.run.found_runs import NOT_FINISHED, find_runs


@pytest.fixture(scope="module")
def folder(small_run, tmp_path_factory):
    """A finished run, one deeper down, one that has begun, and what is no run."""
    folder = tmp_path_factory.mktemp("many")
    shutil.copytree(small_run, folder / "a run")
    for stage in ("analysis", "pool", "scores", "comparison", "conclusions", "quantities"):
        shutil.copytree(small_run / stage, folder / "deep" / "er" / "second" / stage)
    shutil.copytree(small_run / "report", folder / "deep" / "er" / "second" / "report")
    shutil.copytree(small_run / "pool", folder / "begun" / "pool")
    shutil.copytree(small_run / "pool", folder / "d1" / "d2" / "d3" / "too-deep" / "pool")
    shutil.copytree(small_run / "pool", folder / ".hidden" / "pool")
    (folder / "notes").mkdir()
    (folder / "linked").symlink_to(folder / "a run")
    return folder


def test_runs_are_found_three_folders_deep_and_no_link_is_followed(folder):
    assert list(find_runs([folder])) == ["a run", "begun", "deep/er/second"]
    assert list(find_runs([folder / "a run"])) == ["a run"]
    assert list(find_runs([folder / "a run", folder / "deep"])) == ["a run", "deep/er/second"]
    assert list(find_runs([folder, folder])) == [
        f"{folder.name}/{name}" for name in ("a run", "begun", "deep/er/second")
    ]
    with pytest.raises(ArtifactError, match="none is no folder; give one that holds runs"):
        find_runs([folder / "none"])
    with pytest.raises(ArtifactError, match="there is no run in"):
        open_runs(folder / "notes")


def test_a_listed_run_says_what_its_report_says(folder):
    listed = open_runs(folder)
    run = listed.runs[0]
    assert (run.name, run.arm_name, run.mdm_name, run.problem) == (
        "a run",
        "tiny-arm",
        "tiny-mdm",
        "",
    )
    assert [task.task for task in run.tasks] == ["ioi", "infilling"]
    opened = open_run(folder / "a run")
    of_run = listed.verdicts().filter(run="a run").drop("run", "arm", "mdm")
    assert of_run.equals(opened.verdicts().to_frame())
    result = opened.results("ioi")
    assert run.tasks[0].circuit_size == result.comparison.circuit_size
    assert run.tasks[0].num_clusters == result.comparison.num_clusters
    assert run.tasks[0].measured == {
        name: one.estimate for name, one in result.mdm.measured.items()
    }
    assert listed.runs[1].parent == run.parent != ""  # the other copy adjoins
    assert listed.runs[2].problem == NOT_FINISHED
    assert listed.to_frame()["run"].to_list() == ["a run", "deep/er/second", "begun"]


def break_verdicts(run):
    (run / "report" / "verdicts.json").write_text('{"rules": {}}', encoding="utf-8")


def break_manifest(run):
    (run / "report" / "manifest.json").write_text("{", encoding="utf-8")


def break_pool(run):
    (run / "pool" / "ioi" / "manifest.json").write_bytes(b"\xff")


def change_rules(run):
    path = run / "report" / "verdicts.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["rules"]["depth"] = "another one"
    path.write_text(json.dumps(stored), encoding="utf-8")


def measure_anew(run):
    path = run / "quantities" / "ioi" / "mdm" / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_verdicts, "key 'tasks' is missing"),
        (break_manifest, "not valid JSON"),
        (break_pool, "is not UTF-8"),
        (measure_anew, "older than its conclusions; run `mechshift report` again"),
    ],
)
def test_a_broken_run_is_a_line_and_the_others_are_shown(folder, tmp_path, damage, message):
    shutil.copytree(folder / "deep", tmp_path / "whole")
    shutil.copytree(folder / "deep", tmp_path / "broken")
    damage(tmp_path / "broken" / "er" / "second")
    whole, broken = open_runs(tmp_path).runs
    assert whole.tasks and not whole.problem
    assert message in broken.problem and "\n" not in broken.problem and not broken.tasks
    assert message.replace("'", "&#39;") in write_index([tmp_path]).read_text(encoding="utf-8")


def test_verdicts_of_other_rules_say_so(folder, tmp_path):
    shutil.copytree(folder / "deep", tmp_path / "old")
    change_rules(tmp_path / "old" / "er" / "second")
    (run,) = open_runs(tmp_path).runs
    assert run.tasks and "rules of another version" in run.note
    assert run.note in write_index([tmp_path]).read_text(encoding="utf-8")


def test_the_index_names_each_report_by_its_place_beside_it(folder, tmp_path, capsys):
    assert main(["index", str(folder), "--out", str(tmp_path / "site")]) == 0
    page = tmp_path / "site" / "index.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    beside = os.path.relpath(folder / "a run" / "report" / "report.html", page.parent)
    assert f'href="{beside.replace(" ", "%20")}"' in text
    table = pl.read_csv(page.with_name("runs-verdicts.csv"))
    assert table["run"].unique().sort().to_list() == ["a run", "deep/er/second"]
    assert pl.read_csv(page.with_name("runs-quantities.csv")).height > 0
    assert main(["index", str(folder), "--out", str(tmp_path / "site")]) == 0  # in its own place
    assert page.read_text(encoding="utf-8") == text


def test_the_index_takes_no_other_pages_place(folder, tmp_path, capsys):
    (tmp_path / "index.html").write_text("<p>my own</p>", encoding="utf-8")
    assert main(["index", str(folder), "--out", str(tmp_path)]) == 2
    assert "index.html is not a page of mechshift" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "<p>my own</p>"
    with pytest.raises(ConfigError, match="2 folders are given; say with --out where"):
        write_index([folder, tmp_path])


@contextmanager
def serving(folder):
    """A function: status, headers and body of a request to a running server."""
    with runs_server([folder], 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def ask(path, method="GET", host=None):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
            connection.putrequest(method, path, skip_host=True)
            for one in [f"127.0.0.1:{server.server_port}"] if host is None else host:
                connection.putheader("Host", one)
            connection.endheaders()
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, dict(answer.getheaders()), body

        try:
            yield ask, server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder) as made:
        yield made


def test_the_server_shows_the_page_and_the_files_of_reports(served, folder):
    ask, _ = served
    status, headers, body = ask("/")
    assert status == 200 and b'href="/runs/a%20run/report.html"' in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for name in ("report.html", "verdicts.json", "ioi-overlap.csv", "ioi-per-example.parquet"):
        status, headers, body = ask(f"/runs/deep/er/second/{name}")
        assert status == 200
        assert body == (folder / "a run" / "report" / name).read_bytes()
    assert ask("/runs/a%20run/report.html")[1]["Content-Type"] == "text/html; charset=utf-8"
    status, headers, body = ask("/runs/a%20run/verdicts.json", "HEAD")
    assert (status, body) == (200, b"") and int(headers["Content-Length"]) > 1000


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/runs/a%20run/../../../etc/passwd",
        "/runs/a%20run/..%2f..%2fpool%2fioi%2fmanifest.json",
        "/runs/a%20run/pool/ioi/manifest.json",
        "/runs/a%20run/manifest.json",
        "/runs/a%20run/",
        "/runs/begun/report.html",
        "/runs/.hidden/report.html",
        "/runs/linked/report.html",
        "/runs//report.html",
        "/runs/%00/report.html",
        "/runs/%ff/report.html",
        "/index.html",
    ],
)
def test_no_other_file_is_served(served, path):
    status, _, body = served[0](path)
    assert (status, body) == (404, b"Not Found")


def test_a_link_in_a_report_is_not_followed(folder, tmp_path):
    shutil.copytree(folder / "deep", tmp_path / "run")
    secret = tmp_path / "secret.csv"
    secret.write_text("secret", encoding="utf-8")
    report = tmp_path / "run" / "er" / "second" / "report"
    (report / "ioi-overlap.csv").unlink()
    (report / "ioi-overlap.csv").symlink_to(secret)
    with serving(tmp_path) as (ask, _):
        assert ask("/runs/run/er/second/ioi-overlap.csv")[0] == 404
        assert ask("/runs/run/er/second/ioi-depth.csv")[0] == 200


def test_only_requests_that_name_this_machine_are_answered(served):
    ask, port = served
    assert ask("/", host=[f"localhost:{port}"])[0] == 200
    for host in (
        [],
        ["evil.example"],
        [f"evil.example:{port}"],
        ["127.0.0.1"],
        [f"127.0.0.1:{port}", "evil.example"],
    ):
        status, _, body = ask("/", host=host)
        assert (status, body) == (421, b"Misdirected Request")


def test_a_reader_who_goes_away_is_no_error(served, capfd):
    ask, port = served
    with socket.create_connection(("127.0.0.1", port)) as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request = f"GET /runs/a%20run/report.html HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        gone.sendall(request.encode())
        gone.recv(100)
    assert ask("/")[0] == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_asked_for_but_reading(served, method):
    assert served[0]("/", method)[0] == 501


def test_a_port_that_is_taken_is_one_line(served, folder, capsys):
    assert main(["serve", str(folder), "--port", str(served[1])]) == 2
    assert "of 127.0.0.1 cannot be had" in capsys.readouterr().err
    assert main(["serve", str(folder), "--port", "99999"]) == 2
    assert "a port is a number from 0 to 65535, not 99999" in capsys.readouterr().err


def test_the_tables_of_a_run_are_written_in_every_format(small_run, tmp_path, capsys):
    assert main(["tables", str(small_run), "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    stems = {"verdicts", "numbers", "tests", "ioi-controls", "infilling-controls"}
    assert names == {f"{stem}.{end}" for stem in stems for end in ("tex", "md", "csv")}
    assert set(capsys.readouterr().out.split()) == {str(tmp_path / name) for name in names}
    run = open_run(small_run)
    table = pl.read_csv(tmp_path / "verdicts.csv")
    assert table["sentence"].to_list() == run.verdicts().to_frame()["sentence"].to_list()
    overlap = run.results("ioi").mdm.estimate("noise-free overlap")
    shown = f"{overlap.value:.2f} [{overlap.interval.low:.2f}, {overlap.interval.high:.2f}]"
    assert shown in (tmp_path / "numbers.tex").read_text(encoding="utf-8")
    only = write_tables(small_run, ["csv"], tmp_path / "only")
    assert {path.suffix for path in only} == {".csv"}


def test_the_figures_of_a_run_are_drawn_with_their_captions(small_run, tmp_path, capsys):
    try:
        find_browser()
    except ConfigError as none:
        pytest.skip(str(none))
    words = ["figures", str(small_run), "--out", str(tmp_path), "--format", "svg", "pdf"]
    assert main([*words, "--only", "ioi-depth", "glance", "overlap", "--quiet"]) == 0
    drawn = ("glance", "ioi-overlap", "ioi-depth", "infilling-overlap")
    names = {f"{stem}.{end}" for stem in drawn for end in ("svg", "pdf")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"captions.md"}
    assert len(capsys.readouterr().out.split()) == 9
    captions = (tmp_path / "captions.md").read_text(encoding="utf-8")
    assert captions.startswith("**glance** The pair at a glance: ")
    assert all(f"**{stem}** " in captions for stem in drawn)
    assert main([*words, "--only", "overlaps"]) == 2
    assert "no figure 'overlaps'; there are glance, ioi-" in capsys.readouterr().err
    assert main([*words, "--task", "chess"]) == 2
    assert "has no task 'chess'" in capsys.readouterr().err


def test_without_a_browser_figures_are_refused_before_the_run_is_read(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("mechshift.page.browser.PLACES", ())
    assert main(["figures", "no-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mechshift: figures are drawn by Chromium or Chrome, and none of")
