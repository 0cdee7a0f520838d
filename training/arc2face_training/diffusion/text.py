"""The identity prompt: a CLIP tokenizer with a tiny vocabulary, and the text encoder with gradients.

Arc2Face (arXiv 2403.11641, section 3): "photo of a id person", the token embedding of "id" replaced by the face
embedding padded with zeros. The starter's context is 8 tokens: with 77 the one informative token drowns in padding.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from arc2face_training.common.errors import TrainingError

PROMPT = "photo of a id person"
MERGES = ("i d</w>", "o f</w>", "p h", "o t", "ot o</w>", "ph oto</w>", "p e", "r s", "o n</w>", "pe rs", "pers on</w>")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
CONTEXT = 8


def write_tokenizer(folder: Path, context: int = CONTEXT) -> None:
    """Write a CLIPTokenizer folder whose words photo, of, a, id, person are single tokens."""
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters), *(pair.replace(" ", "") for pair in MERGES), BOS, EOS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({word: k for k, word in enumerate(words)}, ensure_ascii=False), "utf-8"
    )
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n", "utf-8")
    special = {"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": EOS}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": context, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))


def vocabulary_size() -> int:
    """Number of tokens of `write_tokenizer`."""
    return 2 * 256 + len(MERGES) + 2


def make_encoder(width: int, layers: int, heads: int, inner: int, context: int = CONTEXT) -> CLIPTextModel:
    """A CLIP text encoder with random weights."""
    size = vocabulary_size()
    config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    return CLIPTextModel(config)


def whiten(encoder: CLIPTextModel, place: int, people: Tensor, components: int) -> None:
    """Start the first layer's MLP as a whitening of the identity embedding at position `place`.

    `people`: (P, K, 512) embeddings of length 1, K pictures of each of P people. A recogniser spends most of its
    512 numbers on a few directions; the others tell people apart just as well, and a random start hears them late.
    Direction i is scaled by b / (b + w), its variance between and within people, over sqrt(b). quick_gelu(z) -
    quick_gelu(-z) = z makes the MLP linear, pairs of units at a time. Attention starts silent.
    """
    layer: Any = encoder.encoder.layers[0]
    embeddings: Any = encoder.embeddings
    with torch.no_grad():
        nn.init.zeros_(layer.self_attn.out_proj.weight)
        nn.init.zeros_(layer.self_attn.out_proj.bias)
        rows = functional.pad(people, (0, encoder.config.hidden_size - people.shape[-1]))
        seen = layer.layer_norm2(rows + embeddings.position_embedding.weight[place])
        middle = seen.mean(1)
        centre = middle.mean(0)
        within = (seen - middle[:, None]).flatten(0, 1)
        _, _, directions = torch.linalg.svd(middle - centre, full_matrices=False)
        directions = directions[:components]
        b = ((middle - centre) @ directions.T).square().mean(0)
        w = (within @ directions.T).square().mean(0)
        rows = directions * (b / (b + w) / b.sqrt())[:, None]
        shift = -(rows @ centre)
        nn.init.zeros_(layer.mlp.fc2.bias)
        targets, _ = torch.linalg.qr(torch.randn(rows.shape[1], len(rows)))
        for sign, units in ((1.0, slice(0, len(rows))), (-1.0, slice(len(rows), 2 * len(rows)))):
            layer.mlp.fc1.weight[units] = sign * rows
            layer.mlp.fc1.bias[units] = sign * shift
            layer.mlp.fc2.weight[:, units] = sign * targets


class Prompts(nn.Module):
    """The text encoder as a differentiable map from identity embeddings to prompt embeddings."""

    def __init__(self, encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.encoder = encoder
        wanted = tokenizer.encode("id", add_special_tokens=False)
        length = tokenizer.model_max_length
        ids, empty = (tokenizer(t, padding="max_length", max_length=length).input_ids for t in (PROMPT, ""))
        if len(wanted) != 1 or ids.count(wanted[0]) != 1:
            raise TrainingError('The tokenizer does not keep "id" as one token; use the base model\'s own tokenizer.')
        self.place = ids.index(wanted[0])
        self.register_buffer("ids", torch.tensor(ids), persistent=False)
        self.register_buffer("empty", torch.tensor(empty), persistent=False)

    def forward(self, identity: Tensor, dropped: Tensor | None = None) -> Tensor:
        """(B, 512) of length 1 -> (B, L, D). Rows where `dropped` (B,) is True get the empty prompt instead."""
        width = self.encoder.config.hidden_size
        rows = functional.pad(identity, (0, width - identity.shape[1]))
        if dropped is None:
            dropped = torch.zeros(len(identity), dtype=torch.bool, device=identity.device)
        ids = torch.where(dropped[:, None], self.empty[None], self.ids[None])
        here = torch.zeros_like(ids, dtype=torch.bool)
        here[:, self.place] = ~dropped

        def inject(module: nn.Module, args: object, output: Tensor) -> Tensor:
            return torch.where(here[..., None], rows[:, None].to(output.dtype), output)

        handle = self.encoder.get_input_embeddings().register_forward_hook(inject)
        try:
            return self.encoder(input_ids=ids).last_hidden_state
        finally:
            handle.remove()


def _byte_letters() -> list[str]:
    """The printable stand-ins of the 256 bytes, in the order byte-level vocabularies list them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + k) for k in range(len(rest))]
