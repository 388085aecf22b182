"""The training room: corpora, the loop, the trainer and the folder of runs. No gradio, no plotly."""
