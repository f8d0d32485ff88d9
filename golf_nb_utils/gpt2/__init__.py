"""Notebook 02: GPT-2 itself, from OpenAI's checkpoint to a model that writes.

Read in this order: model (the network), cross_entropy (its loss), tokenizer, sampling (text out of
it), steering (text that keeps to a grammar); then how the weights come: transfer (one file over
HTTP), download (the seven files), convert (names and layout), tensorflow_io (TensorFlow in a
process of its own), checkpoints (files to models and back), huggingface (to and from transformers),
gguf (to llama.cpp and Ollama).
"""
