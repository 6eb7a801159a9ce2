#!/usr/bin/env python3
"""Compares Baton's forward pass with Hugging Face transformers, family by family, for development (pip install torch transformers safetensors).

Makes a tiny random model of every family that Baton runs, with transformers' own code and in float32, lets `baton serve` (float32) and transformers (double)
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

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parent.parent
VOCAB = 1000
COMMON = dict(
    vocab_size=VOCAB, hidden_size=96, intermediate_size=160, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
)
EXPERTS = dict(num_experts_per_tok=2)
FAMILIES = {
    "Llama": ("Llama", {}),
    "Llama, biases, tied": ("Llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "Mistral": ("Mistral", dict(head_dim=24, sliding_window=None)),
    "Mixtral": ("Mixtral", dict(num_local_experts=5, sliding_window=None, **EXPERTS)),
    "Qwen 2": ("Qwen2", dict(use_sliding_window=False, rope_theta=1e6)),
    "Qwen 3": ("Qwen3", dict(head_dim=32)),
    "Qwen 3 MoE": ("Qwen3Moe", dict(head_dim=32, num_experts=7, moe_intermediate_size=48, norm_topk_prob=True, **EXPERTS)),
    "Qwen 3 MoE, some layers dense": (
        "Qwen3Moe", dict(head_dim=32, num_experts=7, moe_intermediate_size=48, norm_topk_prob=False, mlp_only_layers=[1], **EXPERTS)),
}
PROMPTS = [[5], [7, 300, 12, 999, 41, 41, 8], [(i * i * 7 + i * 13 + 5) % VOCAB for i in range(150)]]


def make_model(name: str, fields: dict, directory: pathlib.Path, baton: str):
    """A model of the family, saved beside a tokenizer of its vocabulary."""
    subprocess.run([baton, "synth", directory, "--vocab", str(VOCAB), "--hidden", "32", "--heads", "1", "--kv-heads", "1", "--head-dim", "32",
                    "--ffn", "32", "--layers", "1", "--context", "512"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for stale in ("config.json", "model.safetensors"):
        (directory / stale).unlink()
    torch.manual_seed(1)
    config = getattr(transformers, name + "Config")(**{**COMMON, **fields})
    model = getattr(transformers, name + "ForCausalLM")(config).float().eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "norm" in parameter_name:  # all ones otherwise, which would hide a norm that is left out
                parameter.uniform_(0.5, 1.5)
            elif parameter_name.endswith("bias"):  # likewise zeros
                parameter.uniform_(-0.5, 0.5)
    model.save_pretrained(directory)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the others do not take doubles
    return model.double()


def by_transformers(model, prompt: list[int], tokens: int) -> list[float]:
    ids, logprobs = list(prompt), []
    with torch.no_grad():
        for _ in range(tokens):
            scores = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), -1)
            ids.append(int(scores.argmax()))
            logprobs.append(float(scores.max()))
    return logprobs


def by_baton(url: str, prompt: list[int], tokens: int) -> list[float]:
    body = {"model": "tiny", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 0, "ignore_eos": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["choices"][0]["logprobs"]["token_logprobs"]


def serve(baton: str, directory: pathlib.Path, log):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    daemon = subprocess.Popen([baton, "serve", "--model", directory, "--served-model-name", "tiny", "--port", str(port),
                               "--kv-memory", "16M"], stdout=log, stderr=log)
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
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; {len(PROMPTS)} prompts, {arguments.tokens} greedy tokens each")
    wrong = 0
    for title, (name, fields) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as temporary, open(pathlib.Path(temporary) / "log", "w", encoding="utf-8") as log:
            directory = pathlib.Path(temporary) / "model"
            model = make_model(name, fields, directory, arguments.baton)
            daemon, url = serve(arguments.baton, directory, log)
            try:
                worst = 0.0
                for prompt in PROMPTS:
                    ours, theirs = by_baton(url, prompt, arguments.tokens), by_transformers(model, prompt, arguments.tokens)
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
