"""What a run is made of: the model's shape, the tokenizer and the training settings, each field with its sentence.

The sentences are the help texts of the page and of the command line.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, get_args, get_type_hints

from model.config import ConfigError, GPTConfig
from training.cleaning import Cleaning

TokenizerKind = Literal["char", "word", "words", "bpe", "gpt2"]
Cut = Literal["blocks", "documents"]
Schedule = Literal["cosine", "linear", "constant"]
OptimizerKind = Literal["adamw", "muon"]
Precision = Literal["auto", "float32", "bfloat16"]
Compile = Literal["auto", "always", "never"]
Sharding = Literal["none", "fsdp"]
LogTo = Literal["", "tensorboard", "trackio", "both"]


def _doc(help: str, default: Any) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Raises ConfigError for settings that cannot work, naming the field and what to use."""

    steps: int = _doc("Number of updates of the weights.", 1000)
    batch_size: int = _doc("Stretches of text in one step.", 24)
    accumulate: int = _doc("Batches of that size added up in one step, in the memory of one.", 1)
    optimizer: OptimizerKind = _doc("adamw; or muon: Muon for the matrices in the blocks, AdamW for the rest.", "adamw")
    learning_rate: float = _doc("Size of AdamW's updates at their largest.", 2e-3)
    muon_learning_rate: float = _doc("Size of Muon's updates at their largest; on the same schedule.", 0.03)
    muon_momentum: float = _doc("Muon's memory of the gradient, 0 to below 1; short runs want less of it.", 0.95)
    final_lr_share: float = _doc("Learning rate at the last step, as a share of the largest.", 0.1)
    warmup_steps: int = _doc("Steps in which the learning rate rises from 0 to its largest.", 50)
    schedule: Schedule = _doc("How the learning rate falls afterwards: cosine, linear, or constant.", "cosine")
    cooldown_share: float = _doc("Last share of the steps in which it falls; before, it stays at its largest.", 1.0)
    weight_decay: float = _doc("How strongly AdamW pulls the matrices towards 0.", 0.1)
    beta1: float = _doc("AdamW's memory of the gradient, 0 to below 1.", 0.9)
    beta2: float = _doc("AdamW's memory of the squared gradient, 0 to below 1.", 0.99)
    grad_clip: float = _doc("Longest gradient allowed (its norm); longer ones are scaled down. 0 = no limit.", 1.0)
    val_fraction: float = _doc("Last share of the text, kept aside to measure on. 0 = train on everything.", 0.1)
    eval_every: int = _doc("Steps between two measurements on the held-out text.", 100)
    eval_tokens: int = _doc("Tokens of held-out text in one measurement.", 16_384)
    sample_every: int = _doc("Steps between two samples of what the model writes. 0 = none.", 100)
    sample_tokens: int = _doc("Length of a sample in tokens.", 160)
    sample_prompt: str = _doc("What samples begin with; empty = as the texts begin.", "")
    sample_temperature: float = _doc("Temperature of samples; other than 0.8, the page decodes with it too.", 0.8)
    sample_top_k: int = _doc("Samples draw from so many likeliest tokens; 0 = from all.", 0)
    teacher: str = _doc("Checkpoint of a larger model with the same vocabulary to learn from (distillation).", "")
    teacher_share: float = _doc("Share of the teacher in the loss, 0 to 1; the text itself has the rest.", 0.5)
    teacher_temperature: float = _doc("Temperature at which teacher and student are compared.", 2.0)
    embeddings_from: str = _doc("Checkpoint whose embedding rows are copied for the tokens that both know.", "")
    until_val_loss: float | None = _doc("Stop as soon as the validation loss is at or below this.", None)
    save_every_s: float = _doc("Seconds after which the run's state is written at the latest; 0: at evaluations.", 10.0)
    snapshots_mb: int = _doc("Room for weights kept through training, in MB; 0 = none are kept.", 64)
    seed: int = _doc("Fixes the first weights, the order of the data and the samples.", 1337)
    device: str = _doc("auto, cpu, cuda or mps.", "auto")
    precision: Precision = _doc(
        "Numbers of the matrix products: float32, bfloat16, or auto: the latter where the machine has it.", "float32"
    )
    compile: Compile = _doc(
        "torch.compile: never, always, or auto: on CUDA, once it is clear that what is left is worth the compiling.",
        "auto",
    )
    sharding: Sharding = _doc(
        "Under torchrun: none (each process holds all weights) or fsdp (weights and optimizer shared out).", "none"
    )
    log_to: LogTo = _doc("Also log for other tools: tensorboard, trackio, or both; empty = no.", "")
    threads: int = _doc("CPU threads; 0 follows the cores that are really free.", 0)

    def __post_init__(self) -> None:
        rules = (
            ("steps", self.steps >= 1, "at least 1"),
            ("batch_size", 1 <= self.batch_size <= 4096, "from 1 to 4096 (24 is a good start)"),
            ("accumulate", 1 <= self.accumulate <= 65_536, "from 1 to 65,536 (1 = no accumulation)"),
            ("learning_rate", 0 < self.learning_rate <= 1, "above 0 and at most 1 (0.001 is usual)"),
            ("muon_learning_rate", 0 < self.muon_learning_rate <= 1, "above 0 and at most 1 (0.03 is usual)"),
            ("muon_momentum", 0 <= self.muon_momentum < 1, "from 0 to below 1 (0.95 is usual)"),
            ("final_lr_share", 0 <= self.final_lr_share <= 1, "from 0 to 1"),
            ("warmup_steps", self.warmup_steps >= 0, "0 or more"),
            ("cooldown_share", 0 < self.cooldown_share <= 1, "above 0 and at most 1 (1 = from the warm-up on)"),
            ("weight_decay", 0 <= self.weight_decay <= 10, "from 0 to 10 (0.1 is usual)"),
            ("beta1", 0 <= self.beta1 < 1, "from 0 to below 1 (0.9 is usual)"),
            ("beta2", 0 <= self.beta2 < 1, "from 0 to below 1 (0.99 is usual)"),
            ("grad_clip", self.grad_clip >= 0, "0 (off) or more (1.0 is usual)"),
            ("val_fraction", 0 <= self.val_fraction <= 0.5, "from 0 to 0.5 (0.1 is usual)"),
            ("eval_every", self.eval_every >= 1, "at least 1"),
            ("eval_tokens", self.eval_tokens >= 2, "at least 2"),
            ("sample_every", self.sample_every >= 0, "0 (none) or more"),
            ("sample_tokens", 1 <= self.sample_tokens <= 10_000, "from 1 to 10,000"),
            ("sample_temperature", 0 <= self.sample_temperature <= 10, "from 0 (always the likeliest) to 10"),
            ("sample_top_k", self.sample_top_k >= 0, "0 (all) or more"),
            ("teacher_share", 0 <= self.teacher_share <= 1, "from 0 to 1 (0.5 is usual)"),
            ("teacher_temperature", 0 < self.teacher_temperature <= 100, "above 0 and at most 100 (2 is usual)"),
            ("save_every_s", 0 <= self.save_every_s <= 86_400, "from 0 (at evaluations) to 86,400 seconds"),
            ("snapshots_mb", 0 <= self.snapshots_mb <= 1_000_000, "from 0 (none) to 1,000,000"),
            ("seed", 0 <= self.seed < 2**63, "a whole number from 0"),
            ("threads", 0 <= self.threads <= 1024, "0 (automatic) or the number of threads"),
        )
        for name, fine, meaning in rules:
            if not fine:
                raise ConfigError(f"{name} is {getattr(self, name)}; use {meaning}.")
        choices = {"schedule": Schedule, "optimizer": OptimizerKind, "precision": Precision}
        for name, kinds in (choices | {"compile": Compile, "sharding": Sharding, "log_to": LogTo}).items():
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(kinds))}.")
        if self.until_val_loss is not None and not self.val_fraction:
            raise ConfigError(
                "until_val_loss needs held-out text: set val_fraction to 0.1, or leave until_val_loss out."
            )

    @property
    def sampling(self) -> dict[str, float]:
        """The settings that its texts want to be decoded with, where they are not the usual ones."""
        chosen = {"temperature": self.sample_temperature, "top_k": self.sample_top_k}
        usual = {f.name: f.default for f in fields(self)}
        return chosen if list(chosen.values()) != [usual["sample_temperature"], usual["sample_top_k"]] else {}

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        begin = max(self.warmup_steps, round(self.steps * (1 - self.cooldown_share)))
        done = min(1.0, max(0.0, (step - begin) / max(1, self.steps - begin)))
        fall = 0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1 - done
        return self.learning_rate * (self.final_lr_share + (1 - self.final_lr_share) * fall)


@dataclass(frozen=True)
class Recipe:
    """All that a run needs besides its text.

    model: GPTConfig fields without vocab_size, which follows from the text; vocab_size: for the tokenizer that can
    choose one (bpe).
    """

    tokenizer: TokenizerKind = _doc("How the text is cut into tokens.", "char")
    vocab_size: int = _doc("Entries of an own BPE.", 512)
    cut: Cut = _doc("blocks: a window over one stream; documents: each a sequence of its own, with an end.", "blocks")
    start_mark: bool = _doc("Documents also begin with the end-of-text token, so that beginnings are learnt.", True)
    max_documents: int = _doc("Train on so many documents (or lines) from the beginning; 0 = all.", 0)
    cleaning: Cleaning = field(default_factory=Cleaning)
    model: Mapping[str, Any] = field(default_factory=dict)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        for name, kinds in (("tokenizer", TokenizerKind), ("cut", Cut)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(get_args(kinds))}.")
        if not 2 <= self.vocab_size <= 200_000:
            raise ConfigError(f"vocab_size is {self.vocab_size}; use from 2 to 200,000 (512 suits a small text).")
        if self.max_documents < 0:
            raise ConfigError(f"max_documents is {self.max_documents}; use 0 (all) or more.")
        self.model_config(self.vocab_size)  # refuse an impossible shape before any text is read

    def model_config(self, vocab_size: int) -> GPTConfig:
        """The GPTConfig for a vocabulary of this size. Raises ConfigError."""
        return GPTConfig.from_dict({**self.model, "vocab_size": vocab_size})

    def with_changes(self, changes: Mapping[str, Any]) -> Recipe:
        """A copy with fields of any of the three parts replaced by name. Raises ConfigError for an unknown name."""
        changes = {str(name): value for name, value in changes.items()}
        shape = {f.name for f in fields(GPTConfig)} - {"vocab_size"}
        train = {f.name for f in fields(TrainConfig)}
        clean = {f.name for f in fields(Cleaning)}
        own = {f.name for f in fields(Recipe)} - {"model", "train", "cleaning"}
        if unknown := sorted(set(changes) - shape - train - own - clean):
            known = sorted(shape | train | own | clean)
            near = [(name, difflib.get_close_matches(name, known, 1, 0.7)) for name in unknown]
            meant = [f"{name} (did you mean {found[0]}?)" if found else name for name, found in near]
            raise ConfigError(f"unknown setting {', '.join(meant)}; known are {', '.join(known)}.")
        for part, names in ((GPTConfig, shape), (TrainConfig, train), (Recipe, own), (Cleaning, clean)):
            changes |= {k: typed(part, k, v) for k, v in changes.items() if k in names}
        model = {**self.model, **{k: v for k, v in changes.items() if k in shape}}
        if "width" in changes and "mlp_width" not in changes:
            model.pop("mlp_width", None)  # 4 x the new width, not 4 x the old one
        return replace(
            self,
            model=model,
            train=replace(self.train, **{k: v for k, v in changes.items() if k in train}),
            cleaning=replace(self.cleaning, **{k: v for k, v in changes.items() if k in clean}),
            **{k: v for k, v in changes.items() if k in own},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "model": dict(self.model)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote, now or in an earlier version. Raises ConfigError."""
        try:
            first = {name: values[name] for name in ("tokenizer", "vocab_size", "model")}
            later = {name: values[name] for name in ("cut", "start_mark", "max_documents") if name in values}
            cleaning = Cleaning(**values.get("cleaning", {}))
            return cls(**first, **later, cleaning=cleaning, train=TrainConfig(**values["train"]))
        except (KeyError, TypeError) as error:
            raise ConfigError(f"this recipe is not complete or has an unknown field ({error}).") from error


def typed(cls: type, name: str, value: Any) -> Any:
    """A value as a dataclass field has it: whole numbers where it has numbers. Raises ConfigError for another kind."""
    hint = get_type_hints(cls)[name]
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(kind for kind in kinds if kind is not type(None))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in _KINDS and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"{name} is {value!r}; give {_KINDS[kind]}.")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
