"""The sentences that a visitor reads on the page, as far as Python puts them there."""

TITLE = "Glass GPT"
CORPUS = "1 Corpus"
TRAIN = "2 Train"
DECODE = "3 Decode"
ATTENTION = "4 Attention"

UPLOAD = (
    "### Your text\nUpload files, paste something, or take a text that comes with the app. It stays on this machine."
)
UPLOAD_SHARED = (
    "### Your text\nUpload files, paste something, or take a text that comes with the app. "
    "This server keeps it only while your page is open, or with your run once you train on it; "
    "only you can look into it."
)
FILE = "Files: text, CSV, JSON Lines, Parquet, ZIP"
PASTE = "Or paste a text"
PASTE_HINT = "Once upon a time…"
USE_PASTE = "Use this text"
EXAMPLE = "Or take one of these"
EXAMPLE_HUB = "from the Hugging Face Hub"
TO_TRAIN = "Next: train on it"

RECIPE = (
    "### What to train\nChoose a recipe and press Train. "
    "The main settings stand under it; the command line has them all."
)
PRESET = "Recipe"
NAME = "Name of the run"
NAME_HINT = "Name of the run"
TOKENIZER = "The text is cut into"
VOCABULARY = "Vocabulary"
TOKENIZER_HINT = "Characters and words are those of your text; a BPE joins pieces that often stand together."
VOCABULARY_HINT = "Entries of the byte-pair vocabulary that is learnt from your text."
ACTIVATIONS = (("GELU", "gelu"), ("GELU (tanh)", "gelu_tanh"), ("ReLU", "relu"))
TOKENIZERS = (
    ("Characters", "char"),
    ("Words", "word"),
    ("Words without blanks", "words"),
    ("Own BPE", "bpe"),
    ("GPT-2's BPE", "gpt2"),
)
CUT = "The model reads"
CUT_HINT = "A window that slides over one stream; or each document as a sequence of its own, with an end."
CUTS = (("Blocks of one stream", "stream"), ("Documents, each by itself", "documents"))
DOCUMENTS = "Documents"
START_MARK = "Learn how documents begin"
MAX_DOCUMENTS = "At most"
OPTIMIZER_HINT = "AdamW for all weights; or Muon for the matrices in the blocks, and AdamW for the rest."
POSITIONS = (("Learned", "learned"), ("Rotary", "rotary"))
OPTIMIZERS = (("AdamW", "adamw"), ("Muon", "muon"))
TAKE_EXAMPLE = "Use the text that goes with it: {}"
ANOTHER_MODEL = "Learn from another model"
NOBODY = "No model"
TEACHER = "Teacher"
DONOR = "Embeddings from"
TEACHER_SHARE = "Teacher's share"
TEACHER_TEMPERATURE = "Temperature"
START = "Train"
HIRE = "Train it on Hugging Face instead"
HIRE_SAY = (
    "The recipe above and your text, trained on hired hardware, with your account and at your expense. They go to a "
    "private repository of yours; when the job is over, bring the run here, and it is one of your runs."
)
HIRE_TOKEN = (
    "It needs the right to create repositories and write to them, and to start Jobs. This page holds it until it is "
    "reloaded and sends it with each request; the server passes it on to Hugging Face and keeps it nowhere. The job "
    "gets it as a secret, for its upload."
)
HIRING = {"title": HIRE, "say": HIRE_SAY, "token": HIRE_TOKEN, "page": "https://huggingface.co/settings/tokens"}
PREPARING = "Preparing the text…"
LEARNING = "Learning the vocabulary"
TO_DECODE = "Next: let it write"
TO_ATTENTION = "Next: look at its attention"
TO_CORPUS = "Begin again with a text of your own"

PROMPT = "Mira and the Red Kite\nMira had a red kite."
NO_TEXT = "There is no text to train on yet: upload one under Corpus, or take the tales that come with the app."
ANOTHER_CLEANING = "Another cleaning was asked for meanwhile."
EXAMPLE_MISSING = "This text is not in assets/corpora: get the whole repository, assets included."
BROKEN = "Something broke on the server. Its log has the details; nothing that you entered is lost."
