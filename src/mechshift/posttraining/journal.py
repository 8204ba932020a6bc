"""The journal of a training: what it prints and logs while it goes on.

`training_log.jsonl`: a line every so many steps with the mean loss, the share of the peak rates
and, for `mdm`, the probability that a later position is visible; and a line with the accuracy by
task. The same training writes the same bytes, so no times are in it. With `--tensorboard` the same
numbers are also written as TensorBoard events.

A line is on the disk before a state that counts its step as done. So a training that goes on finds
whole lines, and perhaps one that was cut short, which it writes again.
"""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from msgspec import Struct

from mechshift.disk import make_writable, write_whole
from mechshift.errors import PosttrainingError
from mechshift.input_files import parse_json
from mechshift.posttraining.annealing import annealing_ratio
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.optimizers import rate_share


class Journal:
    """The log of one training, in a file and perhaps in TensorBoard."""

    def __init__(
        self,
        path: Path | None,
        config: PosttrainConfig,
        *,
        num_steps_done: int = 0,
        losses: tuple[float, ...] = (),
        tensorboard: Path | None = None,
    ) -> None:
        """Go on with a log that may hold lines of steps that were lost; they are dropped.

        Args:
            path: of the file; None: nothing is written, as in all processes but the main one.
            config: the recipe.
            num_steps_done: steps that the training is resumed after.
            losses: of the steps since the last line.
            tensorboard: a folder for events.

        Raises:
            PosttrainingError: TensorBoard is not installed, or the log that is there is damaged.
        """
        self._path, self._config = path, config
        self.losses = list(losses)
        if path is not None and path.exists():
            write_whole(path, "".join(_kept_lines(path, num_steps_done)))
        self._events = None
        if path is not None and tensorboard is not None:
            self._events = _events(tensorboard, num_steps_done)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._events is not None:
            self._events.close()

    def record_step(self, step: int, loss: float) -> None:
        """Note the loss of a step, counted from 1, and write a line when one is due."""
        self.losses.append(loss)
        if step % self._config.log_every and step != self._config.num_steps:
            return
        numbers = {
            "loss": round(sum(self.losses) / len(self.losses), 5),
            "rate_share": round(rate_share(step - 1, self._config), 5),
        }
        if self._config.objective == "mdm":
            ratio = annealing_ratio(step - 1, self._config.annealing_steps)
            numbers["mask_ratio"] = round(ratio, 5)
        self.losses = []
        self._write({"step": step, **numbers})
        for name, value in numbers.items():
            self._event(name, value, step)

    def record_accuracy(self, step: int, accuracy: dict[str, float]) -> None:
        """Write a line with the accuracy by task after a step."""
        self._write({"step": step, "accuracy": accuracy})
        for task, share in accuracy.items():
            self._event(f"accuracy/{task}", share, step)

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write((json.dumps(line) + "\n").encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())

    def _event(self, name: str, value: float, step: int) -> None:
        if self._events is not None:
            self._events.add_scalar(name, value, step)


def _kept_lines(path: Path, num_steps_done: int) -> list[str]:
    """The whole lines of steps that are not lost.

    Raises:
        PosttrainingError: one of them is damaged.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()  # cut short by a kill or a full disk
    kept = []
    for number, line in enumerate(lines, start=1):
        read = parse_json(
            line,
            _Line,
            where=f"{path}, line {number}",
            error=PosttrainingError,
            advice="delete the line to go on without it",
        )
        if read.step <= num_steps_done:
            kept.append(line.decode("utf-8"))
    return kept


class _Line(Struct):
    """Parts of a line of the log that are read."""

    step: int


def check_tensorboard(folder: Path) -> None:
    """Refuse events that could not be written, before any wait.

    Raises:
        PosttrainingError: TensorBoard is not installed, or the folder cannot be written.
    """
    _writer_class()
    try:
        make_writable(folder)
    except OSError as error:
        raise PosttrainingError(
            f"cannot write TensorBoard's events in {folder}: {error.strerror or error}; choose"
            " another folder, or leave out --tensorboard."
        ) from error


def _events(folder: Path, num_steps_done: int) -> Any:
    return _writer_class()(str(folder), purge_step=num_steps_done + 1)


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise PosttrainingError(
            "TensorBoard is not installed; pip install tensorboard, or leave out --tensorboard."
        ) from None
    return SummaryWriter
