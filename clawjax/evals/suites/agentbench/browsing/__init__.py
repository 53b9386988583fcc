"""The next step on a web page, with Mind2Web's measures."""
