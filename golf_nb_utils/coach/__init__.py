"""Notebook 04 and the app: verified feedback behind the app's interface, the panel, and the server.

Read in this order: generators, packing, ollama, cards, panel. The server: server, batching, asked,
protocol, limits, metrics, thumbs, openapi.
"""
