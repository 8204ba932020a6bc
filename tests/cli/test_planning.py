import json

from mechshift.cli.main import main

DREAM = ["plan", "--pair", "dream-7b", "--tasks", "ioi", "--pool.num-examples", "100"]
GPU = ["--dtype", "bfloat16", "--memory-gb", "80", "--matmul-tflops", "990"]


def test_a_plan_shows_its_tables_its_assumptions_and_what_to_give_to_run(capsys):
    assert main([*DREAM, *GPU]) == 0
    shown = capsys.readouterr().out
    for words in (
        "935,747 edges",
        "canvases",
        "backward",
        "gradients",
        "weights GB",
        "- speed: 40% of",
    ):
        assert words in shown
    assert "Give mechshift run: --attribution.batch-size" in shown.splitlines()[-1]


def test_a_pair_is_planned_on_its_own_tasks_with_its_controls_before_it_is_fetched(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MECHSHIFT_CACHE", str(tmp_path))
    assert main(["plan", "--pair", "smollm2", "--json", *GPU]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["num_edges"] == 123_211
    assert {(load["task"], load["model"]) for load in plan["tasks"]} == {
        (task, model)
        for task in ("ioi", "greater-than")
        for model in ("arm", "mdm", "arm-full", "mdm-causal", "arm-continued", "mdm-other-seed")
    }
    assert not any(tmp_path.iterdir())


def test_a_plan_as_json_holds_every_number(capsys):
    assert main([*DREAM, *GPU, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["num_edges"] == 935747
    assert plan["seconds"] == sum(stage["seconds"] for stage in plan["stages"])
    assert plan["options"].startswith("--attribution.batch-size ")
    assert plan["machine"]["memory"] == 80 * 10**9
    peaks = [peak for stage in plan["stages"] for peak in stage["work"]["peaks"]]
    assert max(peak["total_bytes"] for peak in peaks) in (
        peak["total_bytes"] for peak in plan["memory"]
    )


def test_many_devices_have_a_time_memory_bytes_and_what_is_lost(capsys):
    assert main([*DREAM, *GPU, "--devices", "8", "--machines", "4"]) == 0
    shown = capsys.readouterr().out
    for words in ("On 4 x 8 devices: about", "GB over the network", "% loading", "% waiting"):
        assert words in shown
    assert main([*DREAM, *GPU, "--devices", "8", "--machines", "4", "--json"]) == 0
    fleet = json.loads(capsys.readouterr().out)["fleet"]
    assert fleet["num_workers"] == 32
    assert fleet["seconds"] == fleet["loading"] + sum(one["seconds"] for one in fleet["stages"])


def test_what_does_not_fit_is_one_line_and_exit_status_2(capsys):
    assert main([*DREAM, "--memory-gb", "40", "--matmul-tflops", "67"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.strip().splitlines()) == 1
    assert "may be filled (80% of 40.00 GB free): use --dtype bfloat16" in shown.err
