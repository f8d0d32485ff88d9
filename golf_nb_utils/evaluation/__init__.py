"""Notebook 04: what the answers are worth, with intervals, beside baselines.

Read in this order: metrics, judging, statistics, changes, baselines, verbatim, words, copying.
"""
