"""GPT-2 fine-tuned to turn the scores of a golf swing into coaching, one module per step of the way."""
