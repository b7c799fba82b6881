"""A tiny random Llama as a GGUF file: no download, real attention, real KV cache. What it says is noise; what it costs is
real."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloudbandit.core.errors import need

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT = 6, 384, 6, 1024, 4096
FIRST_TOKEN, LAST_TOKEN = 10, 250
"""Plain tokens, free of special meaning."""


def write(
    path: Path, *, layers: int = LAYERS, width: int = WIDTH, heads: int = HEADS, hidden: int = HIDDEN, seed: int = 0
) -> None:
    """Write the model; the same arguments give the same bytes.

    Raises:
        MissingExtraError: the package gguf is not installed.
    """
    gguf = need("gguf", "openvino", "writing a model file")
    # A byte vocabulary in GPT-2's alphabet, with one merge: the loader wants one.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shifted = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(shifted)}
    tokens = ["<s>", "</s>", "<unk>", *(letters[b] for b in range(256)), "ab"]
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    rng = np.random.default_rng(seed)

    def random(name: str, *shape: int) -> None:
        writer.add_tensor(name, (0.02 * rng.standard_normal(shape)).astype(np.float16))

    random("token_embd.weight", len(tokens), width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    random("output.weight", len(tokens), width)
    for i in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(width, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            random(f"blk.{i}.{name}.weight", width, width)
        random(f"blk.{i}.ffn_gate.weight", hidden, width)
        random(f"blk.{i}.ffn_up.weight", hidden, width)
        random(f"blk.{i}.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
