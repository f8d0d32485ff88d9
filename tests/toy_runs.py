"""Training runs of a second: a GPT-2 of 23 tokens, random records, and `train` with what a test does not care about filled in."""

import functools
from dataclasses import asdict, dataclass

import torch
from safetensors.torch import save_file

from golf_nb_utils.files import sha256_file, write_json
from golf_nb_utils.gpt2.model import GPTModel, init_weights
from golf_nb_utils.host import Devices
from golf_nb_utils.settings import GPTConfig, TrainConfig
from golf_nb_utils.training import loop
from golf_nb_utils.training.batches import Batches

GPT = GPTConfig(n_vocab=23, n_ctx=16, n_embd=16, n_head=2, n_layer=2)


class Toy(list):
    """Random records as InstructionDataset has them: (token ids, number of prompt tokens)."""

    def __init__(self, n_records, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(n_records):
            length = int(torch.randint(4, 13, (), generator=generator))
            self.append(([*torch.randint(22, (length,), generator=generator).tolist(), 22], 2))

    @property
    def lengths(self):
        return [len(ids) for ids, _ in self]


def loader(n_records=24, batch_size=4, seed=0, order=1):
    return Batches(Toy(n_records, seed), batch_size, 22, "all", order)


@dataclass(frozen=True)
class GivenBatches:
    """The same batches in every epoch, in place of `Batches`."""

    batches: list
    batch_size: int = 4

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return self.epoch(0)

    def epoch(self, number, start=0):
        return iter(self.batches[start:])


def batch_of(lengths, seed=0):
    """Input ids and targets of rows with that many labelled positions."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(23, (len(lengths), 11), generator=generator)
    targets = ids[:, 1:].clone()
    for row, length in enumerate(lengths):
        targets[row, length:] = -100
    return ids[:, :-1], targets


def fresh_model(seed=1):
    model = GPTModel(GPT)
    init_weights(model, seed)
    return model


def base_folder(folder, seed=1):
    """The folder of a base model, `fresh_model(seed)`, with what it takes to load it."""
    write_json(folder / "hparams.json", asdict(GPT))
    save_file(fresh_model(seed).state_dict(), folder / "model.safetensors")
    sha256 = sha256_file(folder / "model.safetensors")
    sidecar = {"sha256": sha256, "index_sha256": "", "config": asdict(GPT), "tensors": {}}
    write_json(folder / "model.safetensors.json", sidecar)
    return folder


def random_model(config, seed=0):
    """A GPTModel with every parameter drawn at random, so that no part of it is idle."""
    model = GPTModel(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale_of_norm = "ln_" in name and name.endswith("weight")
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2 + scale_of_norm)
    return model


def weights_of(model):
    return torch.cat([parameter.detach().cpu().flatten() for parameter in model.parameters()])


def cpu(dtype=torch.float32, n_replicas=0):
    return Devices(torch.device("cpu"), tuple(range(n_replicas)), ("cpu",), dtype, "a test")


def train(
    folder,
    model=None,
    train_loader=None,
    val_loader=None,
    devices=None,
    identity=None,
    calls=None,
    checkpoint_folder=None,
    sample_steps=(),
    **settings,
):
    """Train with the states in `folder`/states and the log beside them; return (model, history).

    24 records in batches of 4 are 6 steps an epoch; `calls` are train's own arguments, `settings` those of TrainConfig.
    """
    model = model or fresh_model()
    settings = {
        "epochs": 2,
        "learning_rate": 3e-3,
        "eval_freq": 5,
        "eval_batches": 2,
        "save_every_minutes": 0.0,
    } | settings
    batches = {"train": train_loader or loader(), "val": val_loader or loader(8, seed=9)}
    identity = {"data": "abc"} if identity is None else identity
    setup = loop.Setup(
        TrainConfig(**settings), devices or cpu(), folder / "states", folder / "log.jsonl", identity,
        checkpoint_folder=checkpoint_folder, sample_steps=sample_steps,
    )  # fmt: skip
    history = loop.train(model, batches, setup, **{"on_step": lambda *_: None} | (calls or {}))
    return model, history


def recorded_scalers(monkeypatch, **settings):
    """Let `training` use its GradScaler with other settings, and return the list that will hold it."""
    made, original = [], torch.amp.GradScaler

    @functools.wraps(original)
    def make(*arguments, **given):
        made.append(original(*arguments, **settings | given))
        return made[-1]

    monkeypatch.setattr(torch.amp, "GradScaler", make)
    return made
