"""The page: its look, its tabs and the parts they share. Knows Gradio; knows neither the API nor the command line."""
