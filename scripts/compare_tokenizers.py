#!/usr/bin/env python3
"""Compares Baton's tokenizer with Hugging Face tokenizers, for development (pip install 'tokenizers>=0.20,<0.23').

Makes at least --bytes of mixed text from a seed: words and characters of many scripts, the repository's own source, random Unicode, and
the places where tokenizers differ (spaces, digits, contractions, special tokens). Encodes and decodes all of it with both; decodes
random ids, too. Prints bytes, seed and differences for each tokenizer; exits 1 where there is one.

Needs the target tokenizer_tool and a folder of Hugging Face tokenizers (default ../shared/tokenizers). tokenizers 0.23 is refused: it no longer
skips special tokens that are marked "normalized" when it decodes.
"""

import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys

import tokenizers
from importlib.metadata import version

ROOT = pathlib.Path(__file__).resolve().parent.parent

WORDS = {
    "english": "the of and a prefill decode token it's don't we'll I'M they've cache Block request's STREAM latency",
    "german": "und der die Größe Straße für über Schlüssel Äpfel weiß Übertragung Zwischenspeicher ẞ",
    "french": "l'été où déjà garçon c'est qu'il aujourd'hui élève naïve œuvre",
    "spanish": "el niño mañana ¿qué ¡hola corazón también pingüino",
    "polish": "źdźbło żółć ćma łódź ręka się",
    "vietnamese": "tiếng Việt được những người không một của",
    "turkish": "İstanbul ışık çocuk değil ğüş",
    "russian": "привет мир ёлка быстрый запрос Ответ",
    "ukrainian": "ґанок їжак є привіт",
    "greek": "καλημέρα κόσμε ΟΔΟΣ όχι σοφός",
    "hebrew": "שלום עולם לְהִתְרָאוֹת",
    "arabic": "مرحبا بالعالم السَّلَامُ عَلَيْكُمْ ١٢٣",
    "hindi": "नमस्ते दुनिया क्षत्रिय १२३४",
    "bengali": "নমস্কার পৃথিবী ৪২",
    "tamil": "வணக்கம் உலகம் தமிழ்",
    "thai": "สวัสดี ชาวโลก ๑๒๓",
    "chinese": "你好 世界 缓存 令牌 解码 預填充 龍",
    "japanese": "こんにちは 世界 トークン キャッシュ がぎぐげご ﾊﾝｶｸ",
    "korean": "안녕하세요 세계 한국어 값 가나다",
    "georgian": "გამარჯობა მსოფლიო",
    "armenian": "բարեւ աշխարհ",
    "amharic": "ሰላም ልዑል",
}
RANGES = [
    (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x58F),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x700, 0x74F), (0x900, 0x97F), (0x980, 0x9FF), (0xA00, 0xA7F), (0xB80, 0xBFF), (0xC00, 0xC7F),
    (0xD00, 0xD7F), (0xD80, 0xDFF), (0xE00, 0xE7F), (0xE80, 0xEFF), (0xF00, 0xFFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1780, 0x17FF), (0x1800, 0x18AF), (0x1E00, 0x1EFF), (0x1F00, 0x1FFF),
    (0x2000, 0x206F), (0x2070, 0x20CF), (0x2100, 0x218F), (0x2190, 0x23FF), (0x2460, 0x25FF), (0x2600, 0x27BF), (0x2E80, 0x2FDF),
    (0x3000, 0x30FF), (0x3100, 0x318F), (0x3200, 0x33FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF), (0xAC00, 0xD7AF),
    (0xF900, 0xFAFF), (0xFB00, 0xFDFF), (0xFE00, 0xFE6F), (0xFF00, 0xFFEF), (0x10000, 0x100FF), (0x10300, 0x1034F),
    (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1FAFF), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1F),
]
SPACES = [" ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u2009", "\u3000", "\u0085", "\u180e", "\u200b", "\v", "\f"]
ODD = ["'s", "'S", "'\u017f", "'LL", "'ve", "\u2019s", "12345678", "3.14159", "x=1;", "!!!", "...", "<s>", "</s>", "<unk>", "<0x41>",
       "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<|endoftext|>", "\u2581", "\u2581\u2581", "\u0120", "\ufeff", "\u0000",
       "\U0001F468\u200D\U0001F469\u200D\U0001F467", "\U0001F1E9\U0001F1EA", "e\u0301", "\u0041\u030a", "\uac00\u11a8", "\u1100\u1161", "\u212b"]


def words_text(rng):
    words = WORDS[rng.choice(list(WORDS))].split()
    out = []
    for _ in range(rng.randint(5, 200)):
        out.append(rng.choice(words))
        out.append(rng.choice([" ", " ", " ", " ", ", ", ". ", "! ", "? ", "\n", "-", ": "]))
    return "".join(out)


def script_text(rng):
    low, high = rng.choice(RANGES)
    out = []
    for _ in range(rng.randint(5, 120)):
        out.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9))))
        out.append(rng.choice(SPACES) if rng.random() < 0.8 else rng.choice([",", ".", "\u3002", "'", "-"]))
    return "".join(out)


def any_code_point(rng):
    while True:
        c = rng.randrange(rng.choice([0x80, 0x800, 0x10000, 0x20000, 0x110000]))
        if not 0xD800 <= c <= 0xDFFF:
            return chr(c)


def random_text(rng):
    return "".join(any_code_point(rng) for _ in range(rng.randint(1, 300)))


def odd_text(rng):
    out = []
    for _ in range(rng.randint(1, 80)):
        kind = rng.random()
        if kind < 0.35:
            out.append(rng.choice(ODD))
        elif kind < 0.65:
            out.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 17]))
        elif kind < 0.8:
            out.append(rng.choice("abcXYZ0123456789_-+=/()[]{}<>#'\"") * rng.choice([1, 2, 3, 4, 40]))
        else:
            out.append(rng.choice(WORDS[rng.choice(list(WORDS))].split()))
    return "".join(out)


def source_texts():
    for pattern in ("src/**/*.?pp", "include/**/*.hpp", "test/**/*.?pp", "scripts/*", "cmake/*", "*.txt", "*.json", "LICENSE", "docs/**/*.md"):
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")


def make_texts(seed, size):
    rng = random.Random(seed)
    texts = ["", " ", "  ", "\n", "a", "\u2581", "a" * 5000, " " * 3000 + "x", "\n" * 2000, "ab" * 3000, "\U0001F999" * 500]
    code = []
    for text in source_texts():
        while text:
            length = rng.randint(200, 6000)
            code.append(text[:length])
            text = text[length:]
    rng.shuffle(code)
    budget = size // 5
    while code and budget > 0:
        budget -= len(code[-1].encode())
        texts.append(code.pop())
    makers = [words_text, script_text, random_text, odd_text]
    total = sum(len(t.encode()) for t in texts)
    while total < size:
        text = "".join(rng.choice(makers)(rng) for _ in range(rng.randint(1, 3)))
        texts.append(text)
        total += len(text.encode())
    return texts, total


def run_tool(tool, directory, mode, frames):
    data = b"".join(struct.pack("<I", len(f)) + f for f in frames)
    out = subprocess.run([tool, str(directory), mode], input=data, stdout=subprocess.PIPE, check=True).stdout
    answers, at = [], 0
    while at < len(out):
        (length,) = struct.unpack_from("<I", out, at)
        answers.append(out[at + 4 : at + 4 + length])
        at += 4 + length
    if len(answers) != len(frames):
        sys.exit(f"{tool}: {len(frames)} frames in, {len(answers)} out")
    return answers


def load_reference(path):
    """Hugging Face's tokenizer. It refuses a merge "a b" where a half holds a space; such a file is rewritten with pairs."""
    try:
        return tokenizers.Tokenizer.from_file(str(path)), ""
    except Exception as error:  # the binding raises bare Exception
        if "Merges text file invalid" not in str(error):
            raise
    data = json.loads(path.read_text(encoding="utf-8"))
    vocab = data["model"]["vocab"]
    pairs = []
    for merge in data["model"]["merges"]:
        splits = [(merge[:i], merge[i + 1 :]) for i, c in enumerate(merge) if c == " "]
        splits = [s for s in splits if s[0] in vocab and s[1] in vocab and s[0] + s[1] in vocab]
        pairs.append(splits[0])
    data["model"]["merges"] = pairs
    return tokenizers.Tokenizer.from_str(json.dumps(data)), " (its merges rewritten as pairs for the reference)"


def pack(ids):
    return struct.pack(f"<{len(ids)}i", *ids)


def unpack(frame):
    return list(struct.unpack(f"<{len(frame) // 4}i", frame))


def report(kind, expected, actual, inputs, show):
    wrong = [i for i, (e, a) in enumerate(zip(expected, actual)) if e != a]
    for i in wrong[:show]:
        at = next((k for k, (e, a) in enumerate(zip(expected[i], actual[i])) if e != a), min(len(expected[i]), len(actual[i])))
        print(f"  {kind} differs for {inputs[i][:60]!r} at {at}: reference {expected[i][at : at + 8]!r}, ours {actual[i][at : at + 8]!r}")
    return len(wrong)


def compare(tool, directory, texts, seed, show):
    reference, note = load_reference(directory / "tokenizer.json")
    reference.no_truncation()
    reference.no_padding()
    rng = random.Random(seed + 1)
    frames = [t.encode() for t in texts]
    differences = {}
    for special, mode in ((False, "encode"), (True, "encode-special")):
        expected = [reference.encode(t, add_special_tokens=special).ids for t in texts]
        actual = [unpack(a) for a in run_tool(tool, directory, mode, frames)]
        differences[mode] = report(mode, expected, actual, texts, show)
    size = reference.get_vocab_size()
    id_lists = expected + [[rng.randrange(size) for _ in range(rng.randint(0, 60))] for _ in range(3000)]
    low = [[rng.randrange(min(size, 600)) for _ in range(rng.randint(0, 60))] for _ in range(3000)]  # bytes and their tokens
    id_lists += low
    for skip, mode in ((False, "decode"), (True, "decode-skip")):
        expected_texts = [reference.decode(ids, skip_special_tokens=skip) for ids in id_lists]
        actual_texts = [a.decode() for a in run_tool(tool, directory, mode, [pack(ids) for ids in id_lists])]
        differences[mode] = report(mode, expected_texts, actual_texts, id_lists, show)
    total = sum(differences.values())
    cases = len(texts) * 2 + len(id_lists) * 2
    print(f"{directory.name}{note}: {cases - total}/{cases} equal; differences: "
          + ", ".join(f"{name} {count}" for name, count in differences.items()))
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tool", default=str(ROOT / "build/test/text/tokenizer_tool"))
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/tokenizers")
    parser.add_argument("--names", nargs="*", default=["llama2", "llama3", "qwen2"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=1_300_000)
    parser.add_argument("--show", type=int, default=5, help="differences to print for each kind")
    args = parser.parse_args()
    if tuple(int(p) for p in version("tokenizers").split(".")[:2]) >= (0, 23):
        sys.exit("tokenizers 0.23 decodes special tokens wrongly: pip install 'tokenizers>=0.20,<0.23'")
    texts, size = make_texts(args.seed, args.bytes)
    print(f"seed {args.seed}, {size} bytes in {len(texts)} texts, reference tokenizers {version('tokenizers')}")
    wrong = sum(compare(args.tool, args.data / name, texts, args.seed, args.show) for name in args.names)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
