"""Notebook 04 and the app: verified feedback behind the app's interface, and the panel.

Read in this order: generators, packing, ollama, cards, panel.
"""
