"""Notebook 04 and the app: generators of verified feedback behind the app's interface, and the panel.

Read in this order: generators, cards, panel.
"""
