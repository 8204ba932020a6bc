"""Every kind of file or text that mechshift reads from outside, with the function that reads it.

`make fuzz` and the suite damage these by the same list. Good files are made in a folder of one's
own, with the embedded tokenizer and models of a few hundred weights; the records of a run, where
one is given, are copied from it. A file under a hash is sealed again after it was damaged, so that
its reader gets to see it.

Not in the list: the GGUF file and the wheel of `mechshift pairs get`, which are pinned by a hash.
"""

import contextlib
import io
import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import polars as pl
import torch
import tyro
from filelock import FileLock
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.ablation import AblationRun, AblationSettings
from mechshift.artifacts import MANIFEST_NAME, file_hash, write_artifact
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.circuits import ScoredGraph, formats, select_top_edges
from mechshift.cli.words import check_words
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings
from mechshift.errors import ConfigError
from mechshift.evaluation import AlternativeRuns
from mechshift.flat_records import read_record, record_files
from mechshift.graph import Graph
from mechshift.input_files import read_json
from mechshift.locks import HOLDER_NAME, LOCK_NAME, hold_folder
from mechshift.models import (
    ModelSource,
    load_language_model,
    load_tokenizer,
    read_shape,
    without_reports,
)
from mechshift.models.folders import resolve_folder, weights_hash
from mechshift.models.supply.packed import pack_checkpoints, unpack_checkpoint
from mechshift.models.supply.whole_folder import SOURCE_NAME, provide_folder
from mechshift.models.tokenizers import tokenizer_from_parent
from mechshift.posttraining import PosttrainConfig, tiny_tokenizer
from mechshift.posttraining.journal import Journal
from mechshift.posttraining.text_corpus import build_text_corpus, is_text_file
from mechshift.posttraining.training_folder import RECIPE_NAME, TrainingFolder
from mechshift.posttraining.training_state import Progress, load_state, save_state
from mechshift.run import (
    AlternativesSettings,
    AttributionSettings,
    EvaluationSettings,
    ExplanationSettings,
    PairOptions,
    RunSettings,
    SweepSettings,
    TrajectorySettings,
)
from mechshift.run.analysis import AnalysisPlan
from mechshift.run.checkpoints import find_checkpoints
from mechshift.run.folders import SCORES
from mechshift.run.planning import MachineOptions
from mechshift.run.records import CircuitRuns, ComponentReadings, Solved, TaskPools
from mechshift.run.store import (
    pool_manifests,
    scored_graph,
    scored_members,
    scored_metric,
    scored_settings,
    stage_settings,
    stored_comparison_settings,
)
from mechshift.semantics import EndpointModel, SemanticsSettings
from mechshift.semantics.explanations import Explanations, one_line, read_activations
from mechshift.semantics.text_models import load_local_model
from mechshift.tasks import PoolConfig, load_task_file, load_tasks, make_task
from mechshift.testing import ARCHITECTURES, planted_pair, random_language_model
from mechshift.topics.registry import TOPICS
from mechshift.topics.topic import MemberResults, SweepPoint

FILES = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Outside:
    """A file from outside, and who reads it."""

    name: str
    form: str
    """How it is damaged (`mutations.FORMS`)."""
    path: Path
    """Where it stands, undamaged."""
    read: Callable[[], object]
    """Everything that mechshift does to know whether it can go on with the file."""
    share: float = 1.0
    """Of all inputs, against that of the others; slow readers get fewer."""
    seal: Callable[[], None] = lambda: None
    """Called once the damaged file stands in its place."""


def outside_files(folder: Path, run: Path | None = None) -> list[Outside]:
    """All of them, with good files of each kind in a new folder.

    Args:
        folder: must not exist.
        run: a finished run folder, whose records are read too; it is copied.
    """
    folder.mkdir(parents=True)
    with without_reports(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, on transformers' names
        return list(_kinds(folder, run))


def _kinds(folder: Path, run: Path | None) -> Iterator[Outside]:
    kinds = (tasks_and_texts, circuits, artifacts, trainings, models, endpoints, options)
    for kind in kinds:
        yield from kind(folder / kind.__name__)
    if run is not None:
        yield from records_of_run(folder / "run", run)


def tasks_and_texts(folder: Path) -> Iterator[Outside]:
    folder.mkdir()
    tokenizer = tiny_tokenizer()
    lines = [
        {
            "prompt": f"When {one} and {other} went to the {place}, {other} gave a book to",
            "corrupted_prompt": f"When {one} and {other} went to the {place}, {one} gave a book to",
            "target": f" {one}",
            "distractor": f" {other}",
            **more,
        }
        for one, other, place, more in (
            ("Mary", "John", "store", {"split": "held-out", "spans": {"IO": "Mary"}}),
            ("Tom", "James", "park", {"cluster": 7, "id": "a", "template": "gift"}),
            ("John", "Mary", "park", {"suffix": ".", "corrupted_suffix": "."}),
        )
    ]
    lines[2] |= {"causal_prompt": "Then", "corrupted_causal_prompt": "Now"}
    task = _written(folder / "own.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    yield Outside(
        name="task file",
        form="lines",
        path=task,
        read=lambda: load_task_file(task).check(tokenizer, quiet=True),
        share=12,
    )
    first = lines[0]
    name = _written(folder / "name.txt", "own-task.v2")
    yield Outside(
        name="name of a task", form="text", path=name, read=lambda: make_task(_text(name), [first])
    )
    names = _written(folder / "names.txt", f"ioi {task}")
    yield Outside(
        name="names of tasks",
        form="text",
        path=names,
        read=lambda: load_tasks(tuple(_text(names).split())),
    )
    texts = {
        "texts.txt": "It was late. John went to the store and gave a book to Mary.\n" * 8,
        "texts.jsonl": "".join(f'{{"text": "He went to the park {i}."}}\n' for i in range(8)),
        "dialogues.jsonl": '{"prompt": "He went to", "response": " the park."}\n' * 4,
    }
    for file, content in texts.items():
        path = _written(folder / file, content)

        def read(path: Path = path) -> None:
            if is_text_file(str(path)):
                for kind in ("arm", "mdm"):
                    build_text_corpus(str(path), tokenizer, kind, num_rows=0, context_length=8)

        form = "text" if file.endswith(".txt") else "lines"
        yield Outside(name=file, form=form, path=path, read=read, share=2)


def circuits(folder: Path) -> Iterator[Outside]:
    folder.mkdir()
    graph = Graph(num_layers=2, num_heads=2, num_key_value_groups=2)
    grouped = Graph(num_layers=2, num_heads=2, num_key_value_groups=1)
    for name, suffix, one, more in (
        ("mib", "json", graph, {"d_model": 8}),
        ("graphml", "graphml", grouped, {}),
        ("safetensors", "safetensors", grouped, {}),
    ):
        scores = np.linspace(-1, 1, one.num_edges).astype(np.float32)
        form = {"graphml": "xml"}.get(suffix, suffix)
        for content, value in (
            ("scores", ScoredGraph(graph=one, scores=scores)),
            ("circuit", select_top_edges(one, scores, 9)),
        ):
            path = folder / f"{content}.{suffix}"
            getattr(formats, f"write_{name}_{content}")(path, value, **more)
            read = partial(getattr(formats, f"read_{name}_{content}"), path)
            yield Outside(name=f"{suffix} {content}", form=form, path=path, read=read, share=4)


def artifacts(folder: Path) -> Iterator[Outside]:
    """A record, a table and a text of no run, and what a lock says of its holder."""
    folder.mkdir()
    scores = folder / "scores"
    record = record_files(planted_pair("moved", num_examples=4).arm)
    table = pl.DataFrame({"task": ["ioi", None], "value": [0.5, 1.0], "n": [1, 2]})
    write_artifact(
        scores, stage="scores", config={}, inputs={}, **vars(record) | {"tables": {"t": table}}
    )
    yield from _files_of(
        scores, lambda: read_record(EdgeScores, scores, stage=SCORES), "stored scores", share=2
    )
    held = folder / "held"
    held.mkdir()
    said = {"host": "here", "process": 1, "since": "2026-01-01 00:00:00+00:00"}
    holder = _written(held / HOLDER_NAME, json.dumps(said))

    def refused() -> None:
        with FileLock(held / LOCK_NAME), hold_folder(held):
            raise AssertionError("held twice")

    yield Outside(name="holder of a lock", form="json", path=holder, read=refused)


def trainings(folder: Path) -> Iterator[Outside]:
    """Recipe, log, state, and the checkpoints that a trajectory follows."""
    folder.mkdir()
    training = TrainingFolder(out=folder / "going-on")
    recipe = {"parent": "here", "parent_weights": "0", "config": asdict(PosttrainConfig())}
    training.begin(recipe)
    path = training.model / RECIPE_NAME
    yield Outside(
        name="recipe of a training that goes on",
        form="json",
        path=path,
        read=lambda: training.check_recipe(recipe),
        share=2,
    )
    lines = "".join(f'{{"step": {step}, "loss": 0.5, "rate_share": 0.1}}\n' for step in range(8))
    log = _written(training.log, lines)
    yield Outside(
        name="log of a training",
        form="lines",
        path=log,
        read=lambda: Journal(log, PosttrainConfig(), num_steps_done=5),
        share=2,
    )
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(3)).sum().backward()
    optimizer.step()
    progress = Progress(step=4, losses=(0.5,), generator=torch.Generator().get_state())
    save_state(training.state, module, [optimizer], progress, is_main=True)
    (state,) = training.state.iterdir()
    yield from _files_of(
        state,
        lambda: load_state(training.state, module, [optimizer]),
        "state of a training",
        share=0.3,
    )
    arm, mdm = _micro_model(folder / "arm"), folder / "mdm"
    begun = {"parent_weights": weights_hash(arm), "config": {"num_steps": 4, "objective": "mdm"}}
    shutil.copytree(arm, mdm)
    _change_weights(mdm)
    checkpoint = mdm / "checkpoints" / "step-000002"
    shutil.copytree(arm, checkpoint)
    recipe_path = _written(mdm / RECIPE_NAME, json.dumps(begun))
    entry = PairOptions(arm=str(arm), mdm=str(mdm)).entry()
    for name, path, share in (
        ("recipe of a checkpoint's training", recipe_path, 1),
        ("config of a checkpoint", checkpoint / "config.json", 0.5),
    ):
        read = partial(find_checkpoints, entry)
        yield Outside(name=name, form="json", path=path, read=read, share=share)


def models(folder: Path) -> Iterator[Outside]:
    """Configurations of each class, and all files of one small model, its parts and adapters."""
    folder.mkdir()
    for name in ARCHITECTURES:
        config = random_language_model(name).module.config
        path = folder / name / "config.json"
        config.architectures = [ARCHITECTURES[name][1].__name__]
        config.save_pretrained(path.parent)
        read = partial(read_shape, path.parent)
        yield Outside(name=f"config of {name}", form="json", path=path, read=read, share=0.5)
    llada = _written(folder / "llada" / "config.json", json.dumps(LLADA))
    yield Outside(
        name="config of LLaDA",
        form="json",
        path=llada,
        read=lambda: read_shape(llada.parent),
        share=0.5,
    )

    arm = _micro_model(folder / "arm")
    _change_weights(_copied(arm, folder / "step" / "step-000001"))
    (packed,) = pack_checkpoints(arm, folder / "step", folder / "packed")

    def unpack() -> None:
        shutil.rmtree(folder / "unpacked", ignore_errors=True)
        unpack_checkpoint(packed, arm, arm, folder / "unpacked")

    yield Outside(name="packed checkpoint", form="safetensors", path=packed, read=unpack, share=0.5)

    said = {"made": "from", "hash": "0" * 64}
    source = _written(folder / "fetched" / SOURCE_NAME, json.dumps(said))
    yield Outside(
        name="source of a folder",
        form="json",
        path=source,
        read=lambda: provide_folder(source.parent, said, lambda _: None),
    )

    parent = tiny_tokenizer()
    bare = folder / "bare"
    _written(bare / "vocab.json", json.dumps(parent.get_vocab()))
    _written(bare / "added_tokens.json", json.dumps({"<new>": len(parent)}))
    added = {str(len(parent)): {"content": "<new>", "special": True}}
    _written(
        bare / "tokenizer_config.json",
        json.dumps({"added_tokens_decoder": added, "mask_token": {"content": "<new>"}}),
    )
    for name in ("vocab.json", "added_tokens.json", "tokenizer_config.json"):
        yield Outside(
            name=f"{name} of a child",
            form="json",
            path=bare / name,
            read=partial(tokenizer_from_parent, parent, bare),
            share=0.3,
        )
    # Older folders have it, and transformers reads it.
    _written(arm / "special_tokens_map.json", json.dumps({"pad_token": {"content": "<pad>"}}))
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        yield Outside(
            name=name,
            form="json",
            path=arm / name,
            read=partial(load_tokenizer, str(arm)),
            share=0.2,
        )

    whole = partial(load_language_model, name="whole", kind="mdm", attention="full", shift=True)
    single = _copied(arm, folder / "single")
    forms = {"config.json": "json", "model.safetensors": "safetensors", "tokenizer.json": "json"}
    forms["generation_config.json"] = "json"
    for name, form in forms.items():
        yield Outside(
            name=f"{name} of a model that is loaded",
            form=form,
            path=single / name,
            read=partial(whole, single),
            share=0.1,
        )
    yield Outside(
        name="config of a model that explains",
        form="json",
        path=single / "config.json",
        read=partial(load_local_model, single),
        share=0.1,
    )
    parts = folder / "parts"
    LlamaForCausalLM.from_pretrained(arm).save_pretrained(parts, max_shard_size=20_000)
    parent.save_pretrained(parts)
    index = parts / "model.safetensors.index.json"
    yield Outside(
        name="index of weights",
        form="json",
        path=index,
        read=partial(weights_hash, parts),
        share=2,
    )
    yield Outside(
        name="index of a model that is loaded",
        form="json",
        path=index,
        read=partial(whole, parts),
        share=0.1,
    )
    adapter = folder / "adapter"
    torch.manual_seed(0)
    settings = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    with contextlib.redirect_stdout(io.StringIO()):
        get_peft_model(LlamaForCausalLM.from_pretrained(arm), settings).save_pretrained(adapter)
    adapted = ModelSource(path=str(arm), adapter=str(adapter))
    for name, form in (
        ("adapter_config.json", "json"),
        ("adapter_model.safetensors", "safetensors"),
    ):
        yield Outside(
            name=name, form=form, path=adapter / name, read=partial(whole, adapted), share=0.1
        )
    hub = _written(folder / "hub.txt", "owner/name-7b")
    yield Outside(
        name="path of a model",
        form="text",
        path=hub,
        read=lambda: resolve_folder(_text(hub), None),
        share=0.5,
    )


def endpoints(folder: Path) -> Iterator[Outside]:
    """Address, key and replies of a text model, the last from a server in this process."""
    folder.mkdir()
    address = _written(folder / "address.txt", "http://127.0.0.1:9/v1/chat")
    yield Outside(
        name="address of an endpoint",
        form="text",
        path=address,
        # Nobody listens at port 9, and an odd address may be anybody's: nothing is sent.
        read=lambda: EndpointModel(base_url=_text(address), model="m"),
    )
    key = _written(folder / "key.txt", "sk-0123456789")

    def send_key() -> None:
        os.environ["MECHSHIFT_FUZZ_KEY"] = _text(key).replace("\0", "") or "x"
        _complete(OK, api_key_variable="MECHSHIFT_FUZZ_KEY")

    yield Outside(name="key of an endpoint", form="text", path=key, read=send_key, share=0.3)
    reply = folder / "reply.http"
    reply.write_bytes(OK)
    yield Outside(
        name="reply of an endpoint",
        form="text",
        path=reply,
        read=lambda: _complete(reply.read_bytes()),
        share=0.5,
    )
    guesses = _written(folder / "guesses.txt", "Here it is: [0, 3.5, 10] and no more.")

    def read_guesses() -> None:
        text = guesses.read_bytes().decode(errors="replace")
        read_activations(text, 3)
        one_line(text)

    yield Outside(name="guesses of a text model", form="text", path=guesses, read=read_guesses)


def options(folder: Path) -> Iterator[Outside]:
    """Settings of each command, as values of the declared types, and as words of a command line."""
    folder.mkdir()
    for made in (
        *(PairOptions(), PoolConfig(), AttributionSettings(), EvaluationSettings()),
        *(ComparisonSettings(), SemanticsSettings(), AblationSettings(), SweepSettings()),
        *(AlternativesSettings(), MachineOptions(), PosttrainConfig()),
        ExplanationSettings(endpoint="http://localhost:9/v1", model="m"),
    ):
        kind = type(made)
        path = _written(folder / f"{kind.__name__}.json", json.dumps(asdict(made)))
        read = partial(read_json, path, kind, error=ConfigError)
        yield Outside(name=kind.__name__, form="json", path=path, read=read, share=0.7)
    for kind, words in (
        (RunSettings, "--tasks ioi --pool.num-examples 10 --ablation.kinds heads --level 0.9"),
        (PosttrainConfig, "--mixture ioi 1.5 10 --num-steps 9 --learning-rate 1e-3 --no-shift"),
        (TrajectorySettings, "--tasks ioi --steps 32 --pool.seed 4 --skip flow"),
    ):
        path = _written(folder / f"{kind.__name__}.words", json.dumps(words.split()))
        yield Outside(
            name=f"words of {kind.__name__}",
            form="json",
            path=path,
            read=partial(_from_words, kind, path),
            share=0.05,
        )


def records_of_run(folder: Path, run: Path) -> Iterator[Outside]:
    """One folder of each stage and topic of a run, and what later stages read of manifests."""
    shutil.copytree(run, folder)
    task = next(iter(pool_manifests(folder)))
    for kind, path in _records(folder, task):
        stage = read_json(path / MANIFEST_NAME, dict[str, Any], error=ConfigError)["stage"]
        read = partial(read_record, kind, path, stage=stage)
        name = str(path.relative_to(folder))
        yield from _files_of(path, read, name, share=0.2)

    def settings() -> None:
        pool_manifests(folder)
        stage_settings(folder, task)
        stored_comparison_settings(folder, task)
        for member in scored_members(folder, task):
            scored_settings(folder, task, member)
            scored_metric(folder, task, member)
            scored_graph(folder, task, member)

    for stage in ("pool", "scores", "comparison", "faithfulness", "semantics"):
        path = next((folder / stage / task).rglob(MANIFEST_NAME), folder)
        yield Outside(
            name=f"settings in {path.relative_to(folder)}",
            form="json",
            path=path,
            read=settings,
            share=0.2,
        )


def _records(run: Path, task: str) -> Iterator[tuple[type, Path]]:
    """Type and folder of each kind of record that a run holds."""
    kinds: Mapping[str, type] = {
        f"pool/{task}": TaskPools,
        f"scores/{task}/mdm": EdgeScores,
        f"flow/{task}/mdm": PositionFlow,
        f"semantics/{task}/mdm": ComponentReadings,
        f"faithfulness/{task}/mdm": CircuitRuns,
        f"ablation/{task}/mdm": AblationRun,
        f"comparison/{task}/mdm": Comparison,
        f"comparison/{task}/arm-full": CircuitShift,
        f"controls/{task}/arm-full": Solved,
        f"alternatives/{task}/mdm": AlternativeRuns,
        f"explanations/{task}/mdm": Explanations,
        f"sweep/{task}/1/shift": SweepPoint,
        f"quantities/{task}/mdm": MemberResults,
        "analysis": AnalysisPlan,
        **{
            f"conclusions/{task}/{topic.name}": topic.record_type
            for topic in TOPICS
            if topic.record_type is not None
        },
    }
    for place, kind in kinds.items():
        if (run / place / MANIFEST_NAME).is_file():
            yield kind, run / place


def _files_of(
    folder: Path, read: Callable[[], object], name: str, *, share: float
) -> Iterator[Outside]:
    """Each file of a folder with a manifest; all but that are sealed again."""

    def seal(file: str) -> None:
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
        manifest["files"][file] = file_hash(folder / file)
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")

    forms = {".json": "json", ".safetensors": "safetensors", ".parquet": "bytes"}
    for path in sorted(folder.iterdir()):
        sealed = {} if path.name == MANIFEST_NAME else {"seal": partial(seal, path.name)}
        yield Outside(
            name=f"{path.name} of {name}",
            form=forms[path.suffix],
            path=path,
            read=read,
            share=share,
            **sealed,
        )


LLADA = {
    **{"architectures": ["LLaDAModelLM"], "d_model": 16, "n_layers": 2, "n_heads": 2},
    **{"mlp_hidden_size": 24, "max_sequence_length": 64, "rms_norm_eps": 1e-5},
    **{"rope_theta": 1e4, "weight_tying": False, "n_kv_heads": 2, "embedding_size": 32},
    **{"block_type": "llama", "activation_type": "silu", "layer_norm_type": "rms", "rope": True},
    **{"alibi": False, "attention_layer_norm": False, "input_emb_norm": False},
    **{"include_bias": False, "include_qkv_bias": False, "scale_logits": False},
    **{"vocab_size": 32, "mask_token_id": 31},
}

BODY = json.dumps({"choices": [{"message": {"content": "It fires on names."}}]})
OK = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()


def _complete(reply: bytes, **more: str) -> str:
    """Ask an endpoint that answers each request with these bytes."""

    def answer(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=answer, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        try:
            return EndpointModel(base_url=url, model="m", timeout=1.0, **more).complete("Why?")
        finally:
            server.shutdown(socket.SHUT_RDWR)  # where no request was sent
            thread.join()


def _from_words(kind: type, path: Path) -> None:
    """Settings as the command line makes them; argparse ends the process with status 2."""
    words = [str(word) for word in read_json(path, list[Any], error=ConfigError)]
    check_words(words)
    silent = io.StringIO()
    with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent):
        try:
            tyro.cli(kind, args=words)
        except SystemExit as end:
            if end.code not in (0, 2):
                raise


def _micro_model(folder: Path) -> Path:
    """A random Llama of 16 dimensions with the embedded tokenizer."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64)
    tokens = dict(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=None)
    LlamaForCausalLM(LlamaConfig(**sizes, **heads, **tokens, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _change_weights(folder: Path) -> None:
    """Other weights of the same shapes."""
    module = LlamaForCausalLM.from_pretrained(folder)
    for parameter in module.parameters():
        parameter.data.add_(0.01 * torch.randn(parameter.shape))
    module.save_pretrained(folder)


def _copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _text(path: Path) -> str:
    """As a command line gives it: bytes that are no UTF-8 are half characters."""
    return path.read_bytes().decode("utf-8", "surrogateescape")
