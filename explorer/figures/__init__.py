"""Interactive figures for taking away: plotly, loaded when the first one is asked for."""
