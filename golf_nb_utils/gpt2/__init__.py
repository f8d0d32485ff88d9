"""Notebook 02: GPT-2 itself, from OpenAI's checkpoint to a model that writes.

Read in this order: model, cross_entropy, tokenizer, convert, checkpoints, sampling; then transfer, download, tensorflow_io, huggingface.
"""
