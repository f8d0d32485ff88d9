"""Notebook 03: fine-tuning, on one device or several, in memory that is there, and resumable.

Read in this order: batches, step, loop, history, state, workers, torchrun, lora, memory.
"""
