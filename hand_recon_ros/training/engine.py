"""What all trainings share: optimiser, schedule, moving average of the weights, checkpoints, logs and the loop."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from ..config import ConfigError, setting
from ..runtime.model_files import replacing


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Settings of every recipe; those of one training override defaults and add their own."""

    out: str = setting("out/train", "folder for checkpoints, logs and the result")
    seed: int = setting(0, "of weights and samples", low=0)
    batch: int = setting(16, "samples of a step, all processes together", low=1)
    learning_rate: float = setting(1e-3, "its maximum", low=0.0)
    weight_decay: float = setting(0.01, "of AdamW", low=0.0)
    warm_up: int = setting(100, "steps until the learning rate is at its maximum", low=0)
    clip: float = setting(1.0, "largest norm of the gradient; 0: not clipped", low=0.0)
    average: float = setting(0.998, "decay of the moving average of the weights", low=0.0, high=1.0)
    precision: str = setting("fp32", "of the arithmetic", choices=("fp32", "bf16", "fp16"))
    threads: int = setting(1, "CPU threads of the training process", low=1)
    seconds: float = setting(
        0.0, "time for the steps, also of a resumed run; the learning rate then falls to 0 in this time; 0: no limit",
        low=0.0,
    )  # fmt: skip
    validate_every: int = setting(250, "steps between validations", low=1)
    checkpoint_every: int = setting(100, "steps between checkpoints", low=1)


def rate_factor(step: int, warm_up: int, steps: int, time_spent: float = 0.0) -> float:
    """Factor on the learning rate at a step of ``steps``: linear warm-up, then half a cosine. It is at least as far as
    the share ``time_spent`` of the time that the training has."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = max((step - warm_up) / max(1, steps - warm_up), time_spent)
    return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def train_and_export(make: Callable[[], Trainer]) -> dict[str, Any]:
    """Make a trainer, train to the end and export the result; returns the command's report."""
    begin = time.perf_counter()
    trainer = make()
    figures = trainer.run()
    exported = trainer.export()
    return {
        "out": str(trainer.out), "exported": str(exported or ""), "steps": trainer.step,
        "seconds": round(time.perf_counter() - begin, 1),
        "samples": trainer.step * trainer.options.batch,
        "validation": {name: round(value, 4) for name, value in figures.items()},
    }  # fmt: skip


class Trainer(abc.ABC):
    """One training run; its state is in ``<out>/checkpoint.pt``.

    A run that is resumed ends like one that was not stopped: a step's batch must be a function of the recipe and the
    step's number alone.

    Attributes:
        model: as prepared by the accelerator.
        average: moving average of its weights by name.
        steps: of the whole run; step: number of those that are done.
        history: figures of all validations.
    """

    name: str
    """Of the network; its weights are written to ``<out>/<name>.safetensors``."""

    def __init__(self, options: TrainingOptions, steps: int, resume: bool = False) -> None:
        """Raises ConfigError where ``out`` has a run and ``resume`` is not set, or a run of another recipe."""
        self.options, self.steps, self.out = options, steps, Path(options.out)
        self._earlier, self._begin, self._time_spent = 0.0, time.monotonic(), 0.0
        torch.set_num_threads(options.threads)
        set_seed(options.seed)
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(mixed_precision="no" if options.precision == "fp32" else options.precision)
        model = self.make_model()
        self.optimizer: Any = torch.optim.AdamW(
            self.parameter_groups(model), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_factor(step, options.warm_up, steps, self._time_spent)
        )
        self.model: Any = None
        self.model, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.average = {name: value.detach().clone() for name, value in self.plain_model.state_dict().items()}
        self.step = 0
        self.history: list[dict[str, float]] = []
        if resume:
            self._load()
        elif self._checkpoint.exists():
            raise ConfigError(f"{self._checkpoint} is of an earlier run: go on with --resume, or choose another out")

    @abc.abstractmethod
    def make_model(self) -> torch.nn.Module:
        """The network with its initial weights."""

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """The trained parameters, as the optimiser takes them."""
        return [{"params": [parameter for parameter in model.parameters() if parameter.requires_grad]}]

    @abc.abstractmethod
    def batches(self, last: int) -> Iterable[Any]:
        """Batches of this process for the steps from ``step`` to ``last``."""

    @abc.abstractmethod
    def loss(self, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss of a batch, and its terms by name."""

    @abc.abstractmethod
    def figures(self) -> dict[str, float]:
        """Figures of the validation by name, with the model's current weights."""

    @abc.abstractmethod
    def export(self) -> Path | None:
        """Write the averaged weights for the pipeline, in the main process; None where nothing is written."""

    @property
    @abc.abstractmethod
    def decisive(self) -> dict[str, Any]:
        """Settings that decide the result; a run is resumed only with the same ones."""

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the file of weights, beside the step."""
        return {}

    def progress(self, terms: dict[str, float]) -> dict[str, str]:
        """Terms of a step that are shown beside the progress bar."""
        return {"loss": f"{terms['loss']:.3f}"}

    def draw(self, writer: Any) -> None:  # noqa: B027
        """Add pictures of the last validation to a TensorBoard log; not every training has some."""

    @property
    def plain_model(self) -> Any:
        """The network itself."""
        return self.accelerator.unwrap_model(self.model)

    def run(self, until: int = 0) -> dict[str, float]:
        """Train to the end, or to step ``until``; returns the last validation's figures."""
        options, main = self.options, self.accelerator.is_main_process
        self._begin = time.monotonic()
        last = min(until or self.steps, self.steps)
        with self._writer() as writer, _progress_bar(self.step, last, main) as bar:
            for batch in self.batches(last):
                terms = self._update(batch)
                self.step += 1
                bar.update(1)
                if self.step % 10 == 0:
                    bar.set_postfix(self.progress(terms))
                    self._log(writer, "train", terms)
                ends = self.step == last or self._time_spent >= 1.0
                if self.step % options.validate_every == 0 or ends:
                    figures = self.validate()
                    self.history.append({"step": self.step, **figures})
                    self._log(writer, "val", figures)
                    if writer is not None:
                        self.draw(writer)
                    text = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
                    if main:
                        bar.write(f"step {self.step}: {text}", file=sys.stderr)
                if self.step % options.checkpoint_every == 0 or ends:
                    self.save()
                if ends:
                    break
        self._earlier = self._seconds()
        return self.history[-1] if self.history else {}

    def _seconds(self) -> float:
        """Seconds of the steps of this run and of those that it goes on with."""
        return self._earlier + time.monotonic() - self._begin

    def _share_of_time(self) -> float:
        """Share of the time for the steps that is spent, the same in all processes; 0 without a limit."""
        if self.options.seconds <= 0:
            return 0.0
        share = torch.tensor(self._seconds() / self.options.seconds, device=self.accelerator.device)
        return float(self.accelerator.reduce(share, "mean"))

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights."""
        model = self.plain_model
        current = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            return {name: float(value) for name, value in self.figures().items()}
        finally:
            model.load_state_dict(current)

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a file of their own."""
        if not self.accelerator.is_main_process:
            return
        from safetensors.torch import save_file

        state = {
            "recipe": self.decisive, "step": self.step, "history": self.history, "seconds": self._seconds(),
            "model": self.plain_model.state_dict(), "average": self.average,
            "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
        }  # fmt: skip
        # A run may be killed at any moment.
        with replacing(self._checkpoint) as scratch:
            torch.save(state, scratch)
        weights = {name: value.contiguous() for name, value in self.average.items()}
        with replacing(self.out / f"{self.name}.safetensors") as scratch:
            save_file(weights, scratch, {**self.metadata, "step": str(self.step)})

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def _update(self, batch: Any) -> dict[str, float]:
        self.model.train()
        loss, terms = self.loss(batch)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        if self.options.clip > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        self._time_spent = self._share_of_time()
        self.schedule.step()
        decay = min(self.options.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.plain_model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.average[name].copy_(value)  # a counter
        return {"loss": float(loss.detach()), **{name: float(term) for name, term in terms.items()}}

    def share_of_batch(self) -> slice:
        """This process's samples of every step's batch.

        Raises ConfigError for a batch that is no multiple of the number of processes.
        """
        processes, batch = self.accelerator.num_processes, self.options.batch
        share, rest = divmod(batch, processes)
        if rest:
            raise ConfigError(f"batch {batch} cannot be shared evenly by {processes} processes")
        first = batch * self.accelerator.process_index // processes
        return slice(first, first + share)

    def averaged(self, model: torch.nn.Module) -> Any:
        """A network of the same architecture with the averaged weights, on the CPU, in evaluation mode."""
        model.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        return model.eval()

    def _load(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        for name, value in self.decisive.items():
            if state["recipe"].get(name, value) != value:
                raise ConfigError(f"{self._checkpoint} was made with {name} {state['recipe'][name]}, not {value}")
        self.plain_model.load_state_dict(state["model"])
        self.average = {name: value.to(self.accelerator.device) for name, value in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.history, self._earlier = state["step"], state["history"], state.get("seconds", 0.0)

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Any]:
        if not self.accelerator.is_main_process:
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.out / "log"), purge_step=self.step) as writer:
            yield writer

    def _log(self, writer: Any, part: str, values: dict[str, float]) -> None:
        if writer is not None:
            for name, value in values.items():
                writer.add_scalar(f"{part}/{name}", value, self.step)


@contextlib.contextmanager
def _progress_bar(start: int, end: int, shown: bool) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=end, initial=start, unit="step", file=sys.stderr, disable=not shown, smoothing=0.1) as bar:
        yield bar
