"""What can go wrong with the KV cache of a prompt between two engines, as the demo model is trained and tested with.

A damage says, for one answer, where each row (layer, K or V, kv head, position) of the prompt's cache is read from instead of
its own place. The training gathers by it and the evaluation copies by it, so that both mean the same thing.
"""

from dataclasses import dataclass

import numpy as np
from demo_corpus import CONFIG

BLOCK = 16  # token positions of one KV block, the default of `baton serve --block-size`
LAYERS = CONFIG["num_hidden_layers"]
HEADS = CONFIG["num_key_value_heads"]
ZERO = -1  # the row reads as zeros
FOREIGN = -2  # the row reads the same place of another request's cache


@dataclass
class Damage:
    kind: str
    source: np.ndarray  # [2 (K, V), layers, heads, positions, 4]: K or V, layer, head and position read, or ZERO or FOREIGN
    hidden: np.ndarray  # [positions] bool: attention does not see the position at all


# kind: (region of layers, region of heads, region of positions, action). The weight says how often training draws it.
KINDS = {
    "block zeroed": (4, "all", "all", "block", "zero"),
    "block overwritten by another": (6, "all", "all", "block", "copy"),
    "block of another request": (6, "all", "all", "block", "foreign"),
    "last block swapped with another": (1, "all", "all", "last", "swap"),
    "block hidden": (2, "all", "all", "block", "hide"),
    "block keys zeroed": (1, "all", "all", "block", "zero-k"),
    "block values zeroed": (1, "all", "all", "block", "zero-v"),
    "block keys and values exchanged": (1, "all", "all", "block", "exchange"),
    "block keys off by one": (1, "all", "all", "block", "slip"),
    "layer zeroed": (2, "one", "all", "all", "zero"),
    "layer swapped with another": (2, "one", "all", "all", "layer"),
    "layer of one block zeroed": (4, "one", "all", "block", "zero"),
    "layer of one block swapped": (4, "one", "all", "block", "layer"),
    "layer of one block from another request": (0.5, "one", "all", "block", "foreign"),
    "head of all layers zeroed": (2, "all", "one", "all", "zero"),
    "head of all layers swapped": (2, "all", "one", "all", "head"),
    "head of one layer zeroed": (6, "one", "one", "all", "zero"),
    "head of one layer swapped": (3, "one", "one", "all", "head"),
    "head of all layers of one block zeroed": (2, "all", "one", "block", "zero"),
    "head of all layers of one block swapped": (2, "all", "one", "block", "head"),
    "head of one layer of one block zeroed": (3, "one", "one", "block", "zero"),
    "head of one layer of one block swapped": (3, "one", "one", "block", "head"),
    "token zeroed": (2, "all", "all", "token", "zero"),
    "layer of one token zeroed": (0.5, "one", "all", "token", "zero"),
}


def draw_damage(kind, length, own, random, where=None):
    """A damage of `kind` for a prompt of `length` tokens whose first `own` positions may be shared with other requests. `where`
    fixes the block. Returns None where the prompt is too short for it."""
    _, layers, heads, positions, action = KINDS[kind]
    blocks = -(-length // BLOCK)
    block = int(random.integers(blocks)) if where is None else where % blocks
    if action == "foreign":
        block = max(block, own // BLOCK)  # the shared blocks of another request are equal
    begin, end = block * BLOCK, min(block * BLOCK + BLOCK, length)
    source = identity_source(length).copy()
    hidden = np.zeros(length, bool)
    layer = slice(None) if layers == "all" else int(random.integers(LAYERS))
    head = slice(None) if heads == "all" else int(random.integers(HEADS))
    if positions == "all":
        where_ = slice(0, length)
    elif positions == "token":
        token = int(random.integers(begin, end))
        where_ = slice(token, token + 1)
    else:
        where_ = slice(begin, end)
    if isinstance(layer, int):
        layer = slice(layer, layer + 1)
    if isinstance(head, int):
        head = slice(head, head + 1)
    place = (slice(None), layer, head, where_)
    if action == "zero":
        source[place] = ZERO
    elif action == "zero-k":
        source[(0,) + place[1:]] = ZERO
    elif action == "zero-v":
        source[(1,) + place[1:]] = ZERO
    elif action == "exchange":
        source[place] = source[::-1][place].copy()
    elif action == "slip":
        if end - begin < 2:
            return None
        source[0, layer, head, where_] = np.roll(source[0, layer, head, where_], 1, axis=2)
    elif action == "foreign":
        source[place] = FOREIGN
    elif action == "hide":
        hidden[where_] = True
    elif action == "copy":
        if blocks < 3:
            return None
        full = blocks if length % BLOCK == 0 else blocks - 1
        other = (block + 1 + int(random.integers(full - 1))) % full if block < full else int(random.integers(full))
        source[place] = source[:, layer, head, other * BLOCK:other * BLOCK + end - begin].copy()
    elif action == "swap":
        if blocks < 2 or length % BLOCK == 0:
            return None
        block = int(random.integers(blocks - 1)) if where is None else where % (blocks - 1)
        begin, rest = block * BLOCK, length % BLOCK
        source[:, :, :, length - rest:] = identity_source(length)[:, :, :, begin:begin + rest]
        source[:, :, :, begin:begin + rest] = identity_source(length)[:, :, :, length - rest:]
        source[:, :, :, begin + rest:begin + BLOCK] = ZERO
    elif action in ("layer", "head"):
        axis = 1 if action == "layer" else 2
        count = LAYERS if action == "layer" else HEADS
        a = (layer if action == "layer" else head).start
        b = (a + 1 + int(random.integers(count - 1))) % count
        first, second = list(place), list(place)
        first[axis], second[axis] = a, b
        clean = identity_source(length)
        source[tuple(first)], source[tuple(second)] = clean[tuple(second)], clean[tuple(first)]
    return Damage(kind, source, hidden)


def identity_source(length, _cache={}):
    if length not in _cache:
        _cache[length] = np.stack(np.meshgrid(np.arange(2), np.arange(LAYERS), np.arange(HEADS), np.arange(length), indexing="ij"), -1)
    return _cache[length]
