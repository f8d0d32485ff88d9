"""Notebook 01: what is true about golf, what is said of it, and the records that a model learns from.

Read in this order: areas, rules, topic, topic_file, knowledge, wording, prompt, request, answer, checks, records, dataset, corrections.
"""
