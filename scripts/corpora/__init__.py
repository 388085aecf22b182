"""Writers of the two generated sample corpora: simple tales and short posts."""
