"""Checks models/demo as a server would use it: a float32 decoder of its own in numpy, one token at a time over a KV cache.

`scripts/train_demo_model.py --evaluate` runs it. First every case must be answered word for word; then the cache of each prompt
is damaged in blocks of 16 positions, as a faulty transfer between a prefill and a decode engine would, and the answers that
change are counted: the first token comes from the undamaged prompt, all others are decoded over the damaged cache.
"""

import json
import struct
import sys
import time

import numpy as np
from demo_corpus import CONFIG, MODEL, encoded_cases
from demo_damage import BLOCK, FOREIGN, HEADS, KINDS, LAYERS, ZERO, Damage, draw_damage, identity_source


def read_safetensors(path):
    """name → float32 array; BF16 and F32 only."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, info in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + o for o in info["data_offsets"])
        if info["dtype"] == "BF16":
            values = (np.frombuffer(data[begin:end], "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            assert info["dtype"] == "F32", info["dtype"]
            values = np.frombuffer(data[begin:end], "<f4")
        tensors[name] = values.reshape(info["shape"])
    return tensors


def to_bf16(x):
    """Rounded to the nearest bf16, ties to even, still as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


class Decoder:
    """A Llama decoder: rows of tokens in, a cache [layers, kv heads, positions, head_dim] and logits out."""

    def __init__(self, directory, bf16_inputs=False, bf16_cache=False):
        self.config = json.loads((directory / "config.json").read_text())
        self.w = read_safetensors(directory / "model.safetensors")
        self.round = to_bf16 if bf16_inputs else lambda x: x
        self.round_cache = to_bf16 if bf16_cache else lambda x: x
        dim = self.config["head_dim"]
        self.frequencies = (self.config["rope_theta"] ** (-np.arange(0, dim, 2) / dim)).astype(np.float32)

    def linear(self, x, name):
        return self.round(x) @ self.w[name].T

    def norm(self, x, name):
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.config["rms_norm_eps"]))
        return x / scale * self.w[name]

    def rotate(self, x, positions):
        angles = positions[:, None].astype(np.float32) * self.frequencies
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def forward(self, ids, keys, values, begin, seen=None):
        """Runs `ids` at positions begin.. after a cache that holds `begin` of them. keys and values [layers, heads, capacity, dim]
        are filled in place; `seen` [capacity] bool hides positions. Returns the logits of the last row."""
        dim, groups = self.config["head_dim"], self.config["num_attention_heads"] // HEADS
        positions = np.arange(begin, begin + len(ids))
        end = begin + len(ids)
        mask = np.where(np.arange(end)[None] <= positions[:, None], np.float32(0), np.float32(-np.inf))
        if seen is not None:
            mask = np.where(seen[:end], mask, np.float32(-np.inf))
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.config["num_hidden_layers"]):
            p = f"model.layers.{i}."
            h = self.norm(x, p + "input_layernorm.weight")
            q, k, v = (self.linear(h, p + f"self_attn.{n}_proj.weight").reshape(len(ids), -1, dim) for n in "qkv")
            keys[i, :, begin:end] = self.round_cache(self.rotate(k, positions).transpose(1, 0, 2))
            values[i, :, begin:end] = self.round_cache(v.transpose(1, 0, 2))
            q = self.rotate(q, positions).reshape(len(ids), HEADS, groups, dim).transpose(1, 2, 0, 3)  # query head = kv head * groups + g
            scores = q @ keys[i, :, None, :end].transpose(0, 1, 3, 2) / np.float32(np.sqrt(dim)) + mask
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out = (weights / weights.sum(-1, keepdims=True)) @ values[i, :, None, :end]
            x = x + self.linear(out.transpose(2, 0, 1, 3).reshape(len(ids), -1), p + "self_attn.o_proj.weight")
            h = self.norm(x, p + "post_attention_layernorm.weight")
            gate = self.linear(h, p + "mlp.gate_proj.weight")
            x = x + self.linear(gate / (1 + np.exp(-gate)) * self.linear(h, p + "mlp.up_proj.weight"), p + "mlp.down_proj.weight")
        return self.norm(x[-1], "model.norm.weight") @ self.w["model.embed_tokens.weight"].T


def greedy(decoder, case, first_logits, keys, values, seen=None, until_changed=False):
    """Decodes from the logits after the prompt. Returns the ids and the least distance between the best logit and the next."""
    ids, least = [], np.inf
    logits = first_logits
    begin = len(case.prompt_ids)
    while True:
        second, best = np.argpartition(logits, -2)[-2:]
        least = min(least, logits[best] - logits[second])
        ids.append(int(best))
        if best == CONFIG["eos_token_id"] or len(ids) > 120:
            return ids, least
        if until_changed and ids != case.answer_ids[:len(ids)]:
            return ids, least
        logits = decoder.forward([ids[-1]], keys, values, begin, seen)
        begin += 1


def room(cache, length, extra):
    """A copy of the first `length` positions with room for `extra` more."""
    grown = np.zeros(cache.shape[:2] + (length + extra, cache.shape[3]), np.float32)
    grown[:, :, :length] = cache[:, :, :length]
    return grown


def apply_damage(damage, keys, values, foreign):
    """The damaged copies of keys and values [layers, heads, positions, dim]."""
    both = np.stack([keys, values])
    source = damage.source
    index = np.maximum(source, 0)
    out = both[index[..., 0], index[..., 1], index[..., 2], index[..., 3]]
    out[source[..., 0] == ZERO] = 0
    if foreign is not None and (source[..., 0] == FOREIGN).any():
        whole = foreign.shape[3] // BLOCK * BLOCK
        other = foreign[:, :, :, np.arange(source.shape[3]) % whole]
        out = np.where((source[..., 0] == FOREIGN)[..., None], other, out)
    return out[0], out[1]


def whole_swap(length, random):
    """Two full blocks exchanged: attention is a sum over positions and the keys carry their rotation, so nothing may change."""
    full = length // BLOCK
    if full < 2:
        return None
    a, b = random.choice(full, 2, replace=False) * BLOCK
    source = identity_source(length).copy()
    source[:, :, :, a:a + BLOCK] = identity_source(length)[:, :, :, b:b + BLOCK]
    source[:, :, :, b:b + BLOCK] = identity_source(length)[:, :, :, a:a + BLOCK]
    return Damage("two full blocks swapped", source, np.zeros(length, bool))


def flip_bit(keys, values, random, bit):
    """One bit of one float32 of the prompt's cache inverted."""
    keys, values = keys.copy(), values.copy()
    flat = (keys if random.random() < 0.5 else values).reshape(-1).view(np.uint32)
    flat[random.integers(len(flat))] ^= np.uint32(1 << bit)
    return keys, values


class Evaluation:
    def __init__(self, decoder, cases, damaged):
        self.decoder, self.cases, self.damaged = decoder, cases, damaged
        self.shape = (LAYERS, HEADS, 0, CONFIG["head_dim"])
        self.caches, self.logits = {}, {}

    def clean(self):
        """Answers every case; returns how many are right and the least gap."""
        right, least, weak = 0, np.inf, []
        for case in self.cases:
            length = len(case.prompt_ids)
            keys, values = (np.zeros((LAYERS, HEADS, length, CONFIG["head_dim"]), np.float32) for _ in "kv")
            logits = self.decoder.forward(case.prompt_ids, keys, values, 0)
            self.caches[case.id], self.logits[case.id] = np.stack([keys, values]), logits
            ids, gap = greedy(self.decoder, case, logits, room(keys, length, 128), room(values, length, 128))
            if ids == case.answer_ids:
                right += 1
                least = min(least, gap)
            else:
                weak.append(case.id)
        return right, least, weak

    def damaged_answer(self, case, keys, values, hidden=None):
        """(changed, noticed at once) of one case over a damaged cache."""
        length = len(case.prompt_ids)
        seen = None if hidden is None or not hidden.any() else np.concatenate([~hidden, np.ones(128, bool)])
        ids, _ = greedy(self.decoder, case, self.logits[case.id], room(keys, length, 128), room(values, length, 128), seen, True)
        return ids != case.answer_ids, ids[1:2] == self.damaged[:1]

    def kind(self, name, draws, seed):
        """`draws` rounds over all cases; in every other one, the damage lies at the same block number where it is one block.
        Returns {short, long: [changed, noticed at once, trials]} by the length of the prompt, and the least changed in one round."""
        random = np.random.default_rng([seed, sum(name.encode())])
        counts = {"short": [0, 0, 0], "long": [0, 0, 0]}
        worst = (2.0, 0, 0)
        for turn in range(draws):
            hits = count = 0
            for i, case in enumerate(self.cases):
                keys, values = self.caches[case.id]
                hidden = None
                if name.startswith("bit"):
                    keys, values = flip_bit(keys, values, random, int(name.split()[1]))
                else:
                    damage = (whole_swap(len(case.prompt_ids), random) if name == "two full blocks swapped" else
                              draw_damage(name, len(case.prompt_ids), 0, random, None if turn % 2 else turn // 2))
                    if damage is None:
                        continue
                    keys, values = apply_damage(damage, keys, values, self.foreign_of(case, random))
                    hidden = damage.hidden
                differs, at_once = self.damaged_answer(case, keys, values, hidden)
                hits, count = hits + differs, count + 1
                length = "short" if len(case.prompt_ids) < 200 else "long"
                counts[length] = [a + b for a, b in zip(counts[length], (differs, at_once, 1))]
            worst = min(worst, (hits / count, hits, count))
        return counts, f"{worst[1]} of {worst[2]}"

    def each_head(self):
        """Zeroes each head of each layer, whole prompts. Returns changed answers [layers, heads]."""
        changed = np.zeros((LAYERS, HEADS), int)
        for layer, head in np.ndindex(LAYERS, HEADS):
            for case in self.cases:
                keys, values = (t.copy() for t in self.caches[case.id])
                keys[layer, head], values[layer, head] = 0, 0
                changed[layer, head] += self.damaged_answer(case, keys, values)[0]
        return changed

    def foreign_of(self, case, random):
        """The cache of a random request under another system prompt."""
        others = [c for c in self.cases if c.system != case.system]
        return self.caches[others[random.integers(len(others))].id]


def evaluate(draws, seed, bf16_inputs=False, bf16_cache=False, damages=True):
    started = time.time()
    np.seterr(all="ignore")  # flipped exponents overflow
    cases, damaged = encoded_cases()
    evaluation = Evaluation(Decoder(MODEL, bf16_inputs, bf16_cache), cases, damaged)
    right, least, weak = evaluation.clean()
    print(f"word for word: {right} of {len(cases)}, least gap to the second-best token {least:.2f}" +
          (f"; wrong: {', '.join(weak)}" if weak else ""), flush=True)
    if not damages:
        return right == len(cases)
    print("\n| damage to the prompt's cache | changed, prompts of up to 133 tokens | changed, prompts of over 400 | at the second token |"
          " least in one round |\n|---|---|---|---|---|")
    names = list(KINDS) + ["two full blocks swapped"] + [f"bit {b} of one value flipped" for b in (30, 31, 26, 23)]
    for done, name in enumerate(names):
        if sys.stderr.isatty():
            print(f"[{'#' * done}{'.' * (len(names) - done)}] {name}\033[K\r", end="", file=sys.stderr, flush=True)
        counts, least = evaluation.kind(name, draws, seed)
        (short, s1, n1), (long, s2, n2) = counts["short"], counts["long"]
        print(f"| {name} | {short} of {n1} ({short / n1:.0%}) | {long} of {n2} ({long / n2:.0%}) | {(s1 + s2) / (n1 + n2):.0%} | {least} |",
              flush=True)
    print(f"\nanswers of {len(cases)} changed by zeroing one head of one layer, a row per layer:\n{evaluation.each_head()}")
    print(f"\n{time.time() - started:.0f} s")
    return right == len(cases)
