"""The tabs of the page, one module each. They never import one another; app.py is where they meet."""
