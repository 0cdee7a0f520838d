"""From ArcFace vectors to the prompt embeddings of the denoiser (Arc2Face, arXiv 2403.11641, section 3).

The prompt is "photo of a id person"; the token embedding of "id" is replaced by the unit-length face embedding,
zero-padded to the encoder's width, and the fine-tuned CLIP text encoder does the rest.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from arc2face.errors import EmbeddingError, IncompatibleWeightsError
from arc2face.types import EMBEDDING_SIZE

PROMPT = "photo of a id person"
PLACEHOLDER = "id"


def encode_identities(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, embeddings: Tensor) -> Tensor:
    """Prompt embeddings (N, L, D) for face embeddings (N, 512), which are used as given (pass unit vectors).

    L is the tokenizer's length (77), D the encoder's width. Raises EmbeddingError for another shape, and
    IncompatibleWeightsError when the tokenizer has no single token "id" or the encoder is narrower than 512.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != EMBEDDING_SIZE:
        raise EmbeddingError(f"Face embeddings must have shape (N, {EMBEDDING_SIZE}), not {tuple(embeddings.shape)}.")
    width = encoder.config.hidden_size
    if width < EMBEDDING_SIZE:
        raise IncompatibleWeightsError(f"The text encoder is {width} wide; at least {EMBEDDING_SIZE} is needed.")
    ids = token_ids(tokenizer, PROMPT).to(encoder.device)  # -> (1, L)
    position = placeholder_position(tokenizer, ids)
    padded = functional.pad(embeddings, (0, width - EMBEDDING_SIZE)).to(encoder.device, encoder.dtype)
    with injected(encoder, position, padded):
        return hidden_states(encoder, ids.expand(len(embeddings), -1))


def encode_text(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, text: str) -> Tensor:
    """Prompt embeddings (1, L, D) of plain text; the empty text is the unconditional prompt of guidance."""
    return hidden_states(encoder, token_ids(tokenizer, text).to(encoder.device))


def token_ids(tokenizer: CLIPTokenizer, text: str) -> Tensor:
    """(1, L) int64, padded to the tokenizer's length."""
    encoded = tokenizer(
        text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return encoded.input_ids


def placeholder_position(tokenizer: CLIPTokenizer, ids: Tensor) -> int:
    """Where the "id" token stands in (1, L) token ids."""
    wanted = tokenizer.encode(PLACEHOLDER, add_special_tokens=False)
    places = (ids[0] == wanted[0]).nonzero().flatten().tolist() if len(wanted) == 1 else []
    if len(places) != 1:
        raise IncompatibleWeightsError(
            f'The tokenizer does not know "{PLACEHOLDER}" as one token of "{PROMPT}"; it is not the one of SD 1.5.'
        )
    return int(places[0])


def hidden_states(encoder: CLIPTextModel, ids: Tensor) -> Tensor:
    """Final-layer-normed hidden states (N, L, D). No attention mask, as in training: padding is attended to."""
    with torch.no_grad():
        return encoder(input_ids=ids).last_hidden_state


@contextmanager
def injected(encoder: CLIPTextModel, position: int | slice, rows: Tensor) -> Generator[None]:
    """Replace the token embeddings at `position` by `rows` for the body; the table itself is not touched.

    `rows`: (N, D) for one position, (N, L, D) for a slice.
    """

    def replace(module: nn.Module, args: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, position] = rows
        return output

    handle = encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
