"""The explorer room: the page. It imports the model and training rooms and Gradio; nobody imports it but app.py."""
