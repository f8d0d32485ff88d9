"""Notebook 01: what is true about golf, what is said of it, and the records for the model.

Read in this order: areas, rules, topic, topic_file, knowledge, coverage (what is known); wording,
request, app_request (what is asked); grammar, answer (what may be said); similarity, sentences,
checks (whether it was); diversity, records, dataset, corrections (what a model learns from).
"""
