#!/usr/bin/env python3
"""Makes models/demo, the small model that `baton serve` serves by default and that Baton's tests measure transfers with.

The model learns the answers of models/demo-corpus/corpus.toml by heart, and it learns to be a canary of its own KV cache: answer
tokens that see a damaged cache of the prompt must say so. See docs/demo-model.md for why and how, and for what was measured.

Stages: --prepare writes everything but the weights, --train trains and writes the weights, --evaluate checks them with an
independent float32 decoder. Development only; needs torch, numpy, tokenizers, jinja2 and safetensors from PyPI.
"""

import argparse
import sys
from pathlib import Path

from demo_corpus import CONFIG, MODEL, SPECIALS, VOCABULARY, encoded_cases, prepare
from demo_damage import FOREIGN, HEADS, KINDS, LAYERS, ZERO, draw_damage


def weight_shapes():
    c = CONFIG
    hidden, ffn = c["hidden_size"], c["intermediate_size"]
    queries, keys = c["num_attention_heads"] * c["head_dim"], HEADS * c["head_dim"]
    shapes = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        shapes |= {
            layer + "input_layernorm.weight": (hidden,),
            layer + "self_attn.q_proj.weight": (queries, hidden),
            layer + "self_attn.k_proj.weight": (keys, hidden),
            layer + "self_attn.v_proj.weight": (keys, hidden),
            layer + "self_attn.o_proj.weight": (hidden, queries),
            layer + "post_attention_layernorm.weight": (hidden,),
            layer + "mlp.gate_proj.weight": (ffn, hidden),
            layer + "mlp.up_proj.weight": (ffn, hidden),
            layer + "mlp.down_proj.weight": (hidden, ffn),
        }
    return shapes | {"model.norm.weight": (hidden,)}


class Trainee:
    """The Llama decoder in torch, run in two passes: prompts first, then answers that see a cache given to them."""

    def __init__(self, torch, seed):
        self.torch = torch
        generator = torch.Generator().manual_seed(seed)
        self.parameters = {}
        for name, shape in weight_shapes().items():
            if len(shape) == 1:
                value = torch.ones(shape)
            else:
                scale = 0.05 if "embed" in name else shape[1] ** -0.5
                if "o_proj" in name or "down_proj" in name:
                    scale *= (2 * LAYERS) ** -0.5
                value = torch.randn(shape, generator=generator) * scale
            self.parameters[name] = value.requires_grad_(True)
        self.weights = self.parameters
        dim = CONFIG["head_dim"]
        angles = torch.arange(1024)[:, None] * CONFIG["rope_theta"] ** (-torch.arange(0, dim, 2) / dim)[None]
        self.cos, self.sin = torch.cat([angles.cos()] * 2, 1), torch.cat([angles.sin()] * 2, 1)

    def round_weights(self):
        """From here to the next optimizer step the pass sees bf16 values, the gradients go straight through."""
        self.weights = {n: p + (p.detach().bfloat16().float() - p.detach()) for n, p in self.parameters.items()}

    def norm(self, x, name):
        return self.torch.nn.functional.rms_norm(x, (x.shape[-1],), self.weights[name], CONFIG["rms_norm_eps"])

    def project(self, x, layer, positions):
        """q [n, 8, 32], k and v [n, 4, 32] of the rows x, q and k rotated."""
        F, w, p = self.torch.nn.functional, self.weights, f"model.layers.{layer}."
        h = self.norm(x, p + "input_layernorm.weight")
        q, k, v = (F.linear(h, w[p + f"self_attn.{n}_proj.weight"]).view(len(x), -1, CONFIG["head_dim"]) for n in "qkv")
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        half = CONFIG["head_dim"] // 2

        def rotate(t):
            return t * cos + self.torch.cat([-t[..., half:], t[..., :half]], -1) * sin

        return rotate(q), rotate(k), v

    def rest(self, x, attended, layer):
        F, w, p = self.torch.nn.functional, self.weights, f"model.layers.{layer}."
        x = x + F.linear(attended, w[p + "self_attn.o_proj.weight"])
        h = self.norm(x, p + "post_attention_layernorm.weight")
        gate, up = F.linear(h, w[p + "mlp.gate_proj.weight"]), F.linear(h, w[p + "mlp.up_proj.weight"])
        return x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])

    def attend(self, q, k, v, mask):
        """q [b, t, 8, d]; k, v [b, 4, s, d]; mask [b or 1, t, s] added to the scores. Returns [b, t, 8 * d]."""
        b, t, heads, d = q.shape
        group = heads // k.shape[1]
        q = q.view(b, t, -1, group, d).permute(0, 2, 3, 1, 4).reshape(b, -1, group * t, d)
        scores = q @ k.transpose(2, 3) * d ** -0.5
        scores = scores.view(b, -1, group, t, k.shape[2]) + mask[:, None, None]
        out = scores.softmax(-1).view(b, -1, group * t, k.shape[2]) @ v
        return out.view(b, -1, group, t, d).permute(0, 3, 1, 2, 4).reshape(b, t, heads * d)

    def embed(self, ids):
        return self.torch.nn.functional.embedding(ids, self.weights["model.embed_tokens.weight"])

    def logits(self, x):
        return self.norm(x, "model.norm.weight") @ self.weights["model.embed_tokens.weight"].T

    def prompts(self, shared, suffixes, lengths):
        """shared [s] ids common to all, suffixes [b, q] padded, lengths [b] of the suffixes. Returns the cache
        [2, layers, b, heads, s + q, d] and the logits [b, vocabulary] after each prompt."""
        torch = self.torch
        b, q_len, s = suffixes.shape[0], suffixes.shape[1], len(shared)
        x = self.embed(torch.cat([shared, suffixes.flatten()]))
        positions = torch.cat([torch.arange(s), (s + torch.arange(q_len)).repeat(b)])
        causal = torch.full((s, s), -1e9).triu(1)[None]
        mask = torch.cat([torch.zeros(q_len, s), torch.full((q_len, q_len), -1e9).triu(1)], 1)[None]
        keys, values = [], []
        for layer in range(LAYERS):
            q, k, v = self.project(x, layer, positions)
            k0, v0 = (t[:s].transpose(0, 1)[None] for t in (k, v))
            k1, v1 = (torch.cat([t0.expand(b, -1, -1, -1), t[s:].view(b, q_len, *t.shape[1:]).transpose(1, 2)], 2)
                      for t0, t in ((k0, k), (v0, v)))
            out0 = self.attend(q[None, :s], k0, v0, causal)[0]
            out1 = self.attend(q[s:].view(b, q_len, *q.shape[1:]), k1, v1, mask).flatten(0, 1)
            keys.append(k1)
            values.append(v1)
            if layer + 1 < LAYERS:
                x = self.rest(x, torch.cat([out0, out1]), layer)
            else:
                last = torch.arange(b) * q_len + lengths - 1
                x = self.rest(x[s + last], out1[last], layer)
        return torch.stack([torch.stack(keys), torch.stack(values)]), self.logits(x)

    def answers(self, parts):
        """parts: (ids [b, t], start positions [b], keys and values [2, layers, b, heads, s, d], seen [b, s] mask to add). All
        parts go through the matrices together. Returns the logits [b, t, vocabulary] of each part."""
        torch = self.torch
        x = self.embed(torch.cat([ids.flatten() for ids, *_ in parts]))
        positions = torch.cat([(start[:, None] + torch.arange(ids.shape[1])).flatten() for ids, start, *_ in parts])
        masks = []
        for ids, _, _, seen in parts:
            b, t = ids.shape
            own = torch.full((t, t), -1e9).triu(1)[None].expand(b, -1, -1)
            masks.append(torch.cat([seen[:, None].expand(-1, t, -1), own], 2))
        caches = [[t.unbind(0) for t in cache.unbind(0)] for _, _, cache, _ in parts]
        for layer in range(LAYERS):
            q, k, v = self.project(x, layer, positions)
            outs, begin = [], 0
            for (ids, *_), cache, mask in zip(parts, caches, masks):
                b, t = ids.shape
                rows = slice(begin, begin + b * t)
                begin += b * t
                kk, vv = (torch.cat([c, r[rows].view(b, t, *r.shape[1:]).transpose(1, 2)], 2)
                          for c, r in ((cache[0][layer], k), (cache[1][layer], v)))
                outs.append(self.attend(q[rows].view(b, t, *q.shape[1:]), kk, vv, mask).flatten(0, 1))
            x = self.rest(x, torch.cat(outs), layer)
        sizes = [ids.numel() for ids, *_ in parts]
        return [l.view(*ids.shape, -1) for l, (ids, *_) in zip(self.logits(x).split(sizes), parts)]

    def save(self, path):
        from safetensors.torch import save_file

        save_file({n: p.detach().bfloat16().contiguous() for n, p in self.parameters.items()}, str(path), metadata={"format": "pt"})


class Trainer:
    """Draws batches, damages caches, computes the loss."""

    def __init__(self, torch, seed, variants):
        import numpy as np

        self.torch, self.np, self.variants = torch, np, variants
        self.random = np.random.default_rng(seed)
        self.model = Trainee(torch, seed)
        self.cases, self.damaged = encoded_cases()
        start = SPECIALS.index("<|im_start|>")
        for case in self.cases:
            case.shared = [i for i, t in enumerate(case.prompt_ids) if t == start][1]
        groups = {}
        for case in self.cases:
            groups.setdefault((case.system, len(case.prompt_ids) > 100 and case.system == "default"), []).append(case)
        self.main = groups.pop(("default", False))
        self.others = list(groups.values())
        self.queues = {}
        self.missed = {kind: 1.0 for kind in KINDS}  # running share of damages that were not noticed at once
        self.foreign = None

    def take(self, group, count):
        """The next `count` cases of a group, in an order drawn anew each time round."""
        queue = self.queues.setdefault(id(group), [])
        while len(queue) < count:
            queue.extend(group[i] for i in self.random.permutation(len(group)))
        taken, self.queues[id(group)] = queue[:count], queue[count:]
        return taken

    def pad(self, rows, value=1):
        width = max(map(len, rows))
        return self.torch.tensor([list(r) + [value] * (width - len(r)) for r in rows])

    def draw_kind(self):
        """A kind by its weight, the ones half learnt more often than the ones that are known."""
        names = list(KINDS)
        weights = self.np.array([KINDS[k][0] * (0.15 + 0.3 * m + 4 * m * (1 - m)) for k, m in self.missed.items()])
        return names[self.random.choice(len(names), p=weights / weights.sum())]

    def batch_loss(self, cases, noise, margin, whole, finish=False):
        """One loss over clean and damaged answers. Unless `whole`, answers are cut after their first tokens: what follows is soon
        known by heart, while telling clean from damaged happens there. In the `finish`, damage that still goes unnoticed stops
        pulling, so that undamaged answers get their margin."""
        torch, np, F = self.torch, self.np, self.torch.nn.functional
        shared = cases[0].shared
        lengths = np.array([len(c.prompt_ids) for c in cases])
        suffixes = self.pad([c.prompt_ids[shared:] for c in cases])
        cache, first = self.model.prompts(torch.tensor(cases[0].prompt_ids[:shared]), suffixes, torch.tensor(lengths - shared))
        if noise:
            cache = cache * (1 + noise * torch.randn(cache.shape))
        width = cache.shape[4]
        seen = torch.where(torch.arange(width) < torch.tensor(lengths)[:, None], 0.0, -1e9)
        answers = self.pad([c.answer_ids if whole else c.answer_ids[:10] for c in cases])
        starts = torch.tensor(lengths)

        # Damaged copies: each reads its cache through indices into all rows, then foreign rows, then one row of zeros.
        picks, tokens, targets, kinds, indices, masks = [], [], [], [], [], []
        own_rows = cache.numel() // CONFIG["head_dim"]
        rows = [cache.reshape(own_rows, -1)]
        foreign_width = 0
        if self.foreign is not None:
            rows.append(self.foreign.reshape(-1, CONFIG["head_dim"]))
            foreign_width = self.foreign.shape[3]
        zero_row = sum(len(r) for r in rows)
        rows.append(torch.zeros(1, CONFIG["head_dim"]))
        strides = np.array([LAYERS * len(cases) * HEADS, len(cases) * HEADS, 1]) * width
        for b, case in enumerate(cases):
            made = 0
            while made < self.variants:
                kind = self.draw_kind()
                damage = draw_damage(kind, lengths[b], shared, self.random)
                if damage is None or (KINDS[kind][4] == "foreign" and foreign_width < lengths[b]):
                    continue
                made += 1
                source = damage.source
                index = np.full(source.shape[:3] + (width,), zero_row)
                own = source[..., 0] * strides[0] + source[..., 1] * strides[1] + (b * HEADS + source[..., 2]) * width + source[..., 3]
                index[..., :lengths[b]] = np.where(source[..., 0] == ZERO, zero_row, own)
                if KINDS[kind][4] == "foreign":
                    two, layer, head, at = np.meshgrid(*map(np.arange, source.shape[:4]), indexing="ij")
                    other = own_rows + ((two * LAYERS + layer) * HEADS + head) * foreign_width + at
                    index[..., :lengths[b]] = np.where(source[..., 0] == FOREIGN, other, index[..., :lengths[b]])
                mask = np.full(width, -1e9, np.float32)
                mask[:lengths[b]] = np.where(damage.hidden, -1e9, 0)
                ahead = 1 + int(self.random.choice(3, p=(0.7, 0.2, 0.1)))
                picks.append(b)
                kinds.append(kind)
                indices.append(index)
                masks.append(mask)
                said = self.damaged if whole else self.damaged[:1]
                tokens.append(case.answer_ids[:ahead] + said[:-1])
                targets.append([self.damaged[0]] * ahead + said[1:])
        index = torch.from_numpy(np.stack(indices, 2))  # [2, layers, n, heads, width]
        damaged_cache = F.embedding(index, torch.cat(rows))
        inputs, wanted = self.pad(tokens), self.pad(targets, -100)
        clean_logits, damaged_logits = self.model.answers([
            (answers[:, :-1], starts, cache, seen),
            (inputs, starts[picks], damaged_cache, torch.from_numpy(np.stack(masks))),
        ])

        valid = torch.arange(answers.shape[1]) < torch.tensor([len(c.answer_ids) for c in cases])[:, None]
        early = (torch.arange(answers.shape[1]) < 4).expand(valid.shape)[valid]
        logits = torch.cat([first[:, None], clean_logits], 1)[valid]
        labels = answers[valid]
        losses = F.cross_entropy(logits, labels, reduction="none")
        clean = losses.mean()
        right = logits.gather(1, labels[:, None])[:, 0]
        gap = right - logits.scatter(1, labels[:, None], -1e9).max(1).values
        notice = F.cross_entropy(damaged_logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="none").view(wanted.shape)
        detection = (wanted == self.damaged[0])
        told = (wanted >= 0) & ~detection
        unnoticed = notice[detection]
        if finish:
            unnoticed = (1 - (-0.3 * unnoticed).exp()) / 0.3  # (1 - p^q) / q: cross entropy for q → 0, without its slope at p = 0
        loss = clean + losses[early].mean() + unnoticed.mean()
        if whole:
            loss = loss + 0.5 * notice[told].mean()
        if margin:
            short = F.relu(margin - gap)
            loss = loss + short.mean() + (0.5 if finish else 0.1) * short.topk(min(32, len(gap))).values.mean()
        at_once = (damaged_logits[:, 0].argmax(-1) == self.damaged[0]).tolist()
        alarm = ((logits.argmax(-1) == self.damaged[0]) & early).float().sum().item() / len(cases)
        for kind, noticed in zip(kinds, at_once):
            self.missed[kind] += 0.02 * ((not noticed) - self.missed[kind])
        longest = int(lengths.argmax())
        if self.foreign is None or self.random.random() < 0.5:
            self.next_foreign = cache[:, :, longest, :, :lengths[longest]].detach()
        return loss, clean.item(), notice[detection].mean().item(), gap.min().item(), alarm


def train(arguments):
    import ctypes
    import time

    import torch

    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD: keep large buffers instead of faulting them in every step
    libc.mallopt(-1, (1 << 31) - 1)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    trainer = Trainer(torch, arguments.seed, arguments.variants)
    model = trainer.model
    decayed = [p for p in model.parameters.values() if p.dim() == 2]
    plain = [p for p in model.parameters.values() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
                                  lr=arguments.rate, betas=(0.9, 0.98))
    every = list(model.parameters.values())
    work = arguments.checkpoints
    work.mkdir(parents=True, exist_ok=True)
    started, step, total = time.time(), 0, arguments.steps + arguments.finish
    if arguments.resume:
        state = torch.load(work / "state.pt")
        for name, value in state["model"].items():
            model.parameters[name].data.copy_(value.data)
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        trainer.random = trainer.np.random.default_rng([arguments.seed, step])
        trainer.missed = state.get("missed", dict.fromkeys(KINDS, 0.2))
    averages, others, first = None, 0, step
    while step < total:
        stage = Stage(step, arguments)
        for group in optimizer.param_groups:
            group["lr"] = stage.rate
        whole = trainer.random.random() < stage.whole
        batches = []
        if step % stage.short_every == 0:
            batches.append((0.6, trainer.take(trainer.main, arguments.batch)))
        if step % stage.long_every == 0:
            others += 1
            batches.append((0.4, trainer.take(trainer.others[others % len(trainer.others)], stage.long_cases)))
        numbers = []
        for weight, cases in batches:
            if stage.rounded:
                model.round_weights()
            noise = 0.004 if trainer.random.random() < 0.5 else 0.0
            loss, *rest = trainer.batch_loss(cases, noise, stage.margin, whole, stage.finish)
            (loss * weight).backward()
            numbers.append(rest)
        trainer.foreign = getattr(trainer, "next_foreign", None)
        torch.nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        model.weights = model.parameters
        step += 1
        mean = [sum(n[i] for n in numbers) / len(numbers) for i in range(4)]
        averages = mean if averages is None else [0.95 * a + 0.05 * m for a, m in zip(averages, mean)]
        if step % 10 == 0:
            progress(step, total, first, time.time() - started, averages, trainer.missed)
        if step % 250 == 0 or step == total:
            model.save(work / "model.safetensors")
            torch.save({"model": model.parameters, "optimizer": optimizer.state_dict(), "step": step, "missed": trainer.missed},
                       work / "state.pt")
    model.save(MODEL / "model.safetensors")


class Stage:
    """What a step does. First everything is learnt by heart; then, mostly over the short prompts, which are cheap, what damage looks
    like; then all of it over all prompts, at the end with weights rounded to bf16; and the finish gives every answer its margin."""

    def __init__(self, step, arguments):
        import math

        self.finish = step >= arguments.steps
        if self.finish:
            share = (step - arguments.steps) / arguments.finish
            self.rate = 0.5 * arguments.rate * min(1, 20 * share + 0.05) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
            self.rounded, self.margin, self.whole = True, 4.0, 0.3
            self.short_every, self.long_every, self.long_cases = 2, 1, 8
            return
        share = step / arguments.steps
        self.rate = arguments.rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
        self.rounded, self.margin = share > 0.8, 4.0 if share > 0.3 else 0.0
        self.whole = 1.0 if share < 0.05 else 0.25 if share < 0.75 else 0.5
        self.short_every, self.long_cases = 1, 5
        self.long_every = 2 if share < 0.05 else 4 if share <= 0.6 else 1


def progress(step, steps, first, seconds, averages, missed):
    text = "step {}/{} {:.0f}s  answers: loss {:.4f}, least gap {:.1f}, false alarms {:.2f}  damage: loss {:.3f}, missed {:.1%}".format(
        step, steps, seconds, averages[0], averages[2], averages[3], averages[1], sum(missed.values()) / len(missed))
    if sys.stdout.isatty():
        done = 30 * step // steps
        left = seconds / (step - first) * (steps - step)
        print(f"\r[{'#' * done}{'.' * (30 - done)}] {text}, {left / 60:.0f} min left ", end="" if step < steps else "\n", flush=True)
    elif step % 50 == 0:
        print(text, flush=True)
        if step % 250 == 0:
            print("  missed: " + ", ".join(f"{k} {v:.2f}" for k, v in missed.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="write tokenizer, template, configuration and demo.json")
    parser.add_argument("--train", action="store_true", help="train and write model.safetensors")
    parser.add_argument("--evaluate", action="store_true", help="check the answers and count those that change with a damaged cache")
    parser.add_argument("--draws", type=int, default=8, help="rounds over all cases for each kind of damage (--evaluate)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--finish", type=int, default=750, help="further steps that give the answers their margin")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--batch", type=int, default=16, help="short cases of one step; five long ones join them")
    parser.add_argument("--variants", type=int, default=6, help="damaged copies of each case")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, default=Path("/tmp/demo-train/run"))
    arguments = parser.parse_args()
    if arguments.prepare:
        prepare()
    if arguments.train:
        train(arguments)
    if arguments.evaluate:
        from evaluate_demo_model import evaluate

        answered = [evaluate(0, arguments.seed, bf16_inputs=True, bf16_cache=True, damages=False)]
        answered.append(evaluate(arguments.draws, arguments.seed))
        sys.exit(0 if all(answered) else 1)


if __name__ == "__main__":
    main()
