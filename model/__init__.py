"""The model room: a GPT whose every number can be looked at. Torch and tokenizers only."""

from model.checkpoint import Checkpoint, CheckpointError, open_checkpoint, save_checkpoint
from model.config import ConfigError, GPTConfig
from model.gpt import GPT
from model.tokenizer import Tokenizer
from model.trace import Trace, trace

__all__ = [
    "GPT",
    "Checkpoint",
    "CheckpointError",
    "ConfigError",
    "GPTConfig",
    "Tokenizer",
    "Trace",
    "open_checkpoint",
    "save_checkpoint",
    "trace",
]
