#!/usr/bin/env python3
"""Compares Baton's forward pass with Hugging Face transformers, family by family, for development (pip install torch transformers peft safetensors).

Makes a tiny random model of every family that Baton runs, with transformers' own code (and of one a LoRA adapter with peft's) and in float32, lets `baton serve` (float32) and transformers (double)
each continue three prompts by --tokens greedy tokens, and compares the log probability of every token. Prints the largest difference of
each family; exits 1 where one is above --tolerance.

Needs build/baton (or --baton), which also writes the tokenizer (`baton synth`).
"""

import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import peft
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB = 1000
COMMON = dict(
    vocab_size=VOCAB, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
)
EXPERTS = dict(num_experts_per_tok=2)
PROMPTS = [[5], [7, 300, 12, 999, 41, 41, 8], [(i * i * 7 + i * 13 + 5) % VOCAB for i in range(150)]]


def longrope(original: int, pairs: int) -> dict:
    return dict(rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=original, partial_rotary_factor=pairs / 8,
                short_factor=[1 + 0.1 * i for i in range(pairs)], long_factor=[1 + 0.5 * i for i in range(pairs)])


# The class, its configuration, and what is else about it: flags of `baton serve`, other prompts, an adapter.
FAMILIES = {
    "Llama": ("Llama", {}),
    "Llama with an adapter": ("Llama", {}, dict(adapter=dict(
        r=8, lora_alpha=6, use_rslora=True, rank_pattern={"v_proj": 3},
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))),
    "Llama, biases, tied": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "Mistral": ("Mistral", dict(head_dim=24, sliding_window=None)),
    "Mixtral": ("Mixtral", dict(num_local_experts=5, sliding_window=None, **EXPERTS)),
    "Mistral, a window": ("Mistral", dict(head_dim=24, sliding_window=20)),
    "Qwen 2, a window above": ("Qwen2", dict(use_sliding_window=True, sliding_window=33, max_window_layers=1)),
    "Gemma 3": ("Gemma3Text", dict(head_dim=32, sliding_window=24, query_pre_attn_scalar=20, sliding_window_pattern=3,
                                   rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                                                        sliding_attention=dict(rope_type="default", rope_theta=1e4)))),
    "gpt-oss": ("GptOss", dict(head_dim=16, sliding_window=24, num_local_experts=5, pad_token_id=0, rope_parameters=dict(
        rope_type="yarn", factor=8.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0, truncate=False, rope_theta=150000.0), **EXPERTS)),
    "GLM 4.5": ("Glm4Moe", dict(
        head_dim=16, attention_bias=True, use_qk_norm=True, n_routed_experts=8, n_shared_experts=2, moe_intermediate_size=48, n_group=4, topk_group=2,
        routed_scaling_factor=1.5, first_k_dense_replace=1, rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5), **EXPERTS)),
    "Granite": ("Granite", dict(embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=2.0, attention_multiplier=0.125)),
    "Phi 3": ("Phi3", dict(sliding_window=None, pad_token_id=0)),
    "Phi 3 with an adapter": ("Phi3", dict(sliding_window=None, pad_token_id=0), dict(adapter=dict(
        r=4, lora_alpha=8, target_modules=["qkv_proj", "gate_up_proj", "down_proj"]))),
    # transformers changes its divisors within a sequence: prompts on one side of the original length.
    "Phi 4-mini, short contexts": ("Phi3", dict(sliding_window=None, pad_token_id=0, tie_word_embeddings=True, rope_parameters=longrope(256, 6)),
                                   dict(flags=["--max-context", "256"])),
    "Phi 4-mini, long contexts": ("Phi3", dict(sliding_window=None, pad_token_id=0, tie_word_embeddings=True, rope_parameters=longrope(128, 6)),
                                  dict(prompts=PROMPTS[2:])),
    "Seed-OSS": ("SeedOss", dict(head_dim=16, attention_bias=True, attention_out_bias=False, pad_token_id=0)),
    "SmolLM 3": ("SmolLM3", dict(no_rope_layers=[1, 0, 1], use_sliding_window=False, pad_token_id=0)),
    "Qwen 2": ("Qwen2", dict(use_sliding_window=False, rope_theta=1e6)),
    "Qwen 3": ("Qwen3", dict(head_dim=32)),
    "Qwen 3 MoE": ("Qwen3Moe", dict(head_dim=32, num_experts=7, moe_intermediate_size=48, norm_topk_prob=True, **EXPERTS)),
    "Qwen 3 MoE, some layers dense": (
        "Qwen3Moe", dict(head_dim=32, num_experts=7, moe_intermediate_size=48, norm_topk_prob=False, mlp_only_layers=[1], **EXPERTS)),
}


def make_model(name: str, fields: dict, directory: pathlib.Path, baton: str):
    """A model of the family, saved beside a tokenizer of its vocabulary."""
    subprocess.run([baton, "synth", directory, "--vocab", str(VOCAB), "--hidden", "32", "--heads", "1", "--kv-heads", "1", "--head-dim", "32",
                    "--ffn", "32", "--layers", "1", "--context", "512"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for stale in ("config.json", "model.safetensors"):
        (directory / stale).unlink()
    torch.manual_seed(1)
    config = getattr(transformers, name + "Config")(**{**COMMON, **fields})
    model = getattr(transformers, name.removesuffix("Text") + "ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:  # all ones otherwise, which would hide a norm that is left out
                parameter.uniform_(0.5, 1.5)
            elif parameter_name.endswith(("bias", "sinks")):  # likewise zeros
                parameter.uniform_(-0.5, 0.5)
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith("e_score_correction_bias"):
                buffer.uniform_(-0.5, 0.5)
    model.save_pretrained(directory)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the others do not take doubles
    return model.double()


def add_adapter(model, fields: dict, directory: pathlib.Path):
    torch.manual_seed(2)
    adapted = peft.get_peft_model(model.float(), peft.LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **fields))
    adapted.save_pretrained(directory)
    return adapted.double()


def by_transformers(model, prompt: list[int], tokens: int) -> list[float]:
    ids, logprobs = list(prompt), []
    with torch.no_grad():
        for _ in range(tokens):
            scores = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
            ids.append(int(scores.argmax()))
            logprobs.append(float(scores.max()))
    return logprobs


def by_baton(url: str, model: str, prompt: list[int], tokens: int) -> list[float]:
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 0, "ignore_eos": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["choices"][0]["logprobs"]["token_logprobs"]


def serve(baton: str, directory: pathlib.Path, flags: list[str], log):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = subprocess.Popen([baton, "serve", "--model", directory, "--served-model-name", "tiny", "--port", str(port),
                               "--kv-memory", "16M", *flags], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(200):
        if daemon.poll() is not None:
            raise RuntimeError(f"baton serve ended with {daemon.returncode}; its log is {log.name}")
        try:
            with urllib.request.urlopen(url + "/health/ready", timeout=5):
                return daemon, url
        except OSError:
            time.sleep(0.05)
    daemon.kill()
    raise RuntimeError("baton serve was not ready after 10 s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baton", default=str(ROOT / "build/baton"))
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--tolerance", type=float, default=3e-4)
    parser.add_argument("--tensor-parallel", default="1")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}; {arguments.tokens} greedy tokens for each prompt")
    wrong = 0
    for title, (name, fields, *more) in FAMILIES.items():
        more = more[0] if more else {}
        with tempfile.TemporaryDirectory() as temporary, open(pathlib.Path(temporary) / "log", "w", encoding="utf-8") as log:
            directory = pathlib.Path(temporary) / "model"
            model = make_model(name, fields, directory, arguments.baton)
            flags = ["--tensor-parallel", arguments.tensor_parallel, *more.get("flags", [])]
            if "adapter" in more:
                model = add_adapter(model, more["adapter"], directory / "adapter")
                flags += ["--lora", f"adapted={directory}/adapter"]
            daemon, url = serve(arguments.baton, directory, flags, log)
            try:
                worst = 0.0
                for prompt in more.get("prompts", PROMPTS):
                    ours = by_baton(url, "adapted" if "adapter" in more else "tiny", prompt, arguments.tokens)
                    theirs = by_transformers(model, prompt, arguments.tokens)
                    if len(ours) != len(theirs):
                        raise RuntimeError(f"{len(ours)} tokens instead of {len(theirs)}")
                    worst = max([worst] + [abs(a - b) for a, b in zip(ours, theirs)])
            finally:
                daemon.terminate()
                daemon.wait(timeout=20)
        wrong += worst > arguments.tolerance
        print(f"{title:32} largest difference of a log probability {worst:.1e}{'   TOO LARGE' if worst > arguments.tolerance else ''}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
