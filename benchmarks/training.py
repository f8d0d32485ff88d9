"""Training throughput of `tiny`, side by side with transformers' GPT2LMHeadModel on the same batches, in one process.

    python benchmarks/training.py            prints a Markdown table; benchmarks/results/ holds recorded ones

Both models have the same shape, weights drawn alike, AdamW, autocast and batches; tokens are real ones, without padding.
"""

import argparse
import platform
import time
from contextlib import nullcontext
from itertools import islice
from tempfile import TemporaryDirectory

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from golf_nb_utils import environment, examples
from golf_nb_utils.config import GPT_CONFIGS, DataConfig, TrainConfig
from golf_nb_utils.dataset import InstructionDataset, make_loader
from golf_nb_utils.knowledge import load_knowledge
from golf_nb_utils.model import GPTModel, init_weights
from golf_nb_utils.prompts import format_example
from golf_nb_utils.tokenizer import learn_bpe, load_tokenizer
from golf_nb_utils.training import LossInReplica, make_optimizer, mean_loss


def tokens_per_second(step, batches) -> float:
    """Time `step` on all batches but the first two, which warm it up."""
    n_tokens, seconds = 0, 0.0
    for index, (input_ids, targets) in enumerate(batches):
        started = time.perf_counter()
        step(input_ids, targets)
        if index >= 2:
            seconds += time.perf_counter() - started
            n_tokens += int((targets != -100).sum())
    return n_tokens / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    steps = parser.parse_args().steps
    config, train_config = GPT_CONFIGS["tiny"], TrainConfig.for_size("tiny")
    devices = environment.detect_devices()
    knowledge = load_knowledge(environment.knowledge_folder())
    with TemporaryDirectory() as folder:
        learn_bpe([format_example(record) for record in examples.vocabulary_records(knowledge)], config.n_vocab, folder)
        tokenizer = load_tokenizer(folder)
    records = examples.generate_records(knowledge, DataConfig(n_examples=1000))["train"]
    dataset = InstructionDataset(records, tokenizer, config.n_ctx)
    loader = make_loader(dataset, train_config.batch_size, tokenizer.eot_token, "all", seed=1)
    batches = list(islice(loader, steps + 2))

    ours = GPTModel(config)
    init_weights(ours, seed=1)
    ours.to(devices.device)
    module = LossInReplica(ours, devices.dtype)
    our_optimizer = make_optimizer(ours, train_config)

    def our_step(input_ids, targets):
        mean_loss(module, input_ids.to(devices.device), targets.to(devices.device)).backward()
        our_optimizer.step()
        our_optimizer.zero_grad()

    peer = GPT2LMHeadModel(GPT2Config(
        vocab_size=config.n_vocab, n_positions=config.n_ctx, n_embd=config.n_embd, n_layer=config.n_layer, n_head=config.n_head,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )).to(devices.device)  # fmt: skip
    peer_optimizer = torch.optim.AdamW(peer.parameters(), lr=1e-3)

    def peer_step(input_ids, targets):
        labels = torch.full_like(input_ids, -100)
        labels[:, 1:] = targets[:, :-1]
        autocast = torch.autocast(devices.device.type, devices.dtype) if devices.dtype is not torch.float32 else nullcontext()
        with autocast:
            loss = peer(input_ids.to(devices.device), attention_mask=(input_ids != tokenizer.eot_token).long(), labels=labels).loss
        loss.backward()
        peer_optimizer.step()
        peer_optimizer.zero_grad()

    rates = {"golf_nb_utils": tokens_per_second(our_step, batches), "transformers": tokens_per_second(peer_step, batches)}
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {devices.dtype}")
    print(f"{config}, batch {train_config.batch_size}, {steps} steps\n")
    print("| loop | tokens/s | ratio |\n| --- | ---: | ---: |")
    for name, rate in rates.items():
        print(f"| {name} | {rate:,.0f} | {rate / rates['transformers']:.2f} |")


if __name__ == "__main__":
    main()
