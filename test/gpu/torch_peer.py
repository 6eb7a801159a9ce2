"""The same shapes through PyTorch, for a figure beside ours: a Llama's decode step and prefill with random weights.

    python3 test/gpu/torch_peer.py [--copy-gbps N]

Tries eager, CUDA graphs, torch.compile and torch.compile with CUDA graphs, and prints the best of them. The KV cache is one contiguous
bf16 tensor a layer (no paging), attention is scaled_dot_product_attention, sampling is argmax: what a careful user of PyTorch writes.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F

SHAPE = dict(hidden=3072, layers=32, heads=32, kv_heads=8, dim=128, ffn=9216, vocab=128256)  # the 4B shape


class Layer:
    def __init__(self, s):
        def weight(out, inner):
            return (torch.rand(out, inner, device="cuda", dtype=torch.bfloat16) - 0.5) * (3.4 / inner**0.5)

        self.s = s
        self.qkv = weight((s["heads"] + 2 * s["kv_heads"]) * s["dim"], s["hidden"])
        self.out = weight(s["hidden"], s["heads"] * s["dim"])
        self.gate_up = weight(2 * s["ffn"], s["hidden"])
        self.down = weight(s["hidden"], s["ffn"])
        self.norm1 = torch.ones(s["hidden"], device="cuda", dtype=torch.bfloat16)
        self.norm2 = torch.ones(s["hidden"], device="cuda", dtype=torch.bfloat16)


def rotate(x, cos, sin):
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


def layer_forward(x, w, cache_k, cache_v, cos, sin, start, end, causal):
    """x [batch, tokens, hidden]; cache_k and cache_v [batch, kv_heads, context, dim]."""
    s = w.s
    batch, tokens, _ = x.shape
    h = F.rms_norm(x, (s["hidden"],), w.norm1, 1e-5)
    q, k, v = F.linear(h, w.qkv).split([s["heads"] * s["dim"], s["kv_heads"] * s["dim"], s["kv_heads"] * s["dim"]], dim=-1)
    q = rotate(q.view(batch, tokens, s["heads"], s["dim"]).transpose(1, 2), cos, sin)
    k = rotate(k.view(batch, tokens, s["kv_heads"], s["dim"]).transpose(1, 2), cos, sin)
    cache_k[:, :, start:end] = k
    cache_v[:, :, start:end] = v.view(batch, tokens, s["kv_heads"], s["dim"]).transpose(1, 2)
    attended = F.scaled_dot_product_attention(q, cache_k[:, :, :end], cache_v[:, :, :end], is_causal=causal, enable_gqa=True)
    x = x + F.linear(attended.transpose(1, 2).reshape(batch, tokens, -1), w.out)
    gate, up = F.linear(F.rms_norm(x, (s["hidden"],), w.norm2, 1e-5), w.gate_up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * up, w.down)


def median_seconds(call, rounds=12):
    for _ in range(2):
        call()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def graphed(call):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--copy-gbps", type=float, default=0)
    arguments = parser.parse_args()
    s = SHAPE
    torch.manual_seed(1)
    if not arguments.copy_gbps:
        source = torch.rand(1 << 30, device="cuda", dtype=torch.float32)
        target = torch.empty_like(source)
        arguments.copy_gbps = 2 * source.numel() * 4 / median_seconds(lambda: target.copy_(source)) / 1e9
        del source, target
    layers = [Layer(s) for _ in range(s["layers"])]
    table = (torch.rand(s["vocab"], s["hidden"], device="cuda", dtype=torch.bfloat16) - 0.5) * 0.06
    weights = 2 * (sum(w.qkv.numel() + w.out.numel() + w.gate_up.numel() + w.down.numel() for w in layers) + table.numel())
    compiled = torch.compile(layer_forward, dynamic=False)
    print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}, copy {arguments.copy_gbps:.0f} GB/s")
    with torch.inference_mode():
        for batch, context, tokens in ((1, 4096, 1), (30, 4250, 1), (64, 4096, 1), (1, 4000, 4000)):
            cache = torch.rand(2, s["layers"], batch, s["kv_heads"], context, s["dim"], device="cuda", dtype=torch.bfloat16)
            angles = torch.rand(1, 1, tokens, s["dim"] // 2, device="cuda")
            cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
            ids = torch.randint(0, s["vocab"], (batch, tokens), device="cuda")
            start = context - tokens

            def step(one_layer):
                x = F.embedding(ids, table)
                for i, w in enumerate(layers):
                    x = one_layer(x, w, cache[0, i], cache[1, i], cos, sin, start, context, tokens > 1)
                x = F.rms_norm(x[:, -1], (s["hidden"],), None, 1e-5)
                return F.linear(x, table).argmax(dim=-1)

            results = {}
            for name, make in (
                ("eager", lambda: lambda: step(layer_forward)),
                ("CUDA graph", lambda: graphed(lambda: step(layer_forward))),
                ("compile", lambda: lambda: step(compiled)),
                ("compile + CUDA graph", lambda: graphed(lambda: step(compiled))),
            ):
                try:
                    results[name] = median_seconds(make())
                except Exception as error:  # one way that fails leaves the others
                    print(f"  {name}: {type(error).__name__}: {str(error)[:120]}")
            best = min(results, key=results.get)
            shown = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in results.items())
            if tokens == 1:
                read = weights + cache.numel() * 2
                rate = f"{100 * read / results[best] / 1e9 / arguments.copy_gbps:.1f} % of copy"
            else:
                rate = f"{tokens / results[best]:.0f} tok/s"
            kind = "decode " if tokens == 1 else "prefill"
            print(f"  {kind} {batch:3d} x {context}: {results[best] * 1e3:8.3f} ms with {best}, {rate}  (ms: {shown})", flush=True)
            del cache
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
