"""GPT-2 fine-tuned to turn the scores of a golf swing into coaching: what four notebooks call.

Each notebook has its package: golf (01), gpt2 (02), training (03), evaluation, coach and show (04).
Beside them stands what all of them need; docs/parts.md has a sentence on every module.
"""
